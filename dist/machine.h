// What this process runs on: recorded with runs and checkpoints, because bit-equal resume holds for it.
// Threading: any thread.
#ifndef DIST_MACHINE_H
#define DIST_MACHINE_H

#include "dist/comm.h"

// "avx512f avx512_bf16, 2 threads, oneDNN 2.6.3, Open MPI 4.1.4" into text, and the text of the device if it is not "".
void dist_machine_text(const char *device, char *text, size_t size);
// The same and host, processor, cores, ranks as one JSON object; returns text.
const char *dist_machine_json(const dist_comm *c, char *text, size_t size);
// The vector extensions that our kernels use and this processor has, strongest last; returns text.
const char *dist_machine_features(char *text, size_t size);
// "AMD EPYC ..." as the processor calls itself; returns text.
const char *dist_machine_processor(char *text, size_t size);

#endif
