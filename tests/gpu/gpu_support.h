// A device for tests of the CUDA side: the one that is linked into the test (over the CPU port), or with GPU_TEST=module
// in the environment the real one, through mien_cuda.so.
#ifndef GPU_SUPPORT_H
#define GPU_SUPPORT_H

#include "nn/device.h"

// Opens it, or fails the test; skips it when the real one is asked for and there is none. Ops that the module does not
// know (of tests) run on the CPU with copies of their operands.
const nn_device *gpu_open(void);
void gpu_close(const nn_device *d);
// Copies from the device, waiting for it.
void gpu_read(const nn_device *d, void *to, const void *from, size_t bytes);
int gpu_is_port(void);

#endif
