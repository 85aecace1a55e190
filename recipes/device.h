// Where a job computes: key `device` of its recipe. One rank per GPU, all ranks on the same kind.
// Threading: one thread.
#ifndef RECIPES_DEVICE_H
#define RECIPES_DEVICE_H

#include "dist/comm.h"
#include "nn/device.h"

// wanted: MIEN_AUTO takes GPUs when every rank has one, else the CPU and says why once; MIEN_CUDA fails with 69 instead.
// Ranks that would share a GPU, or of which only some have one, are refused. Collective; c may be NULL (one process).
MN_MUST_CHECK mn_err mien_device_open(dist_comm *c, int wanted, const nn_device **out);
// The same without a word: why is "" with a GPU, else what MIEN_AUTO would say.
MN_MUST_CHECK mn_err mien_device_find(dist_comm *c, int wanted, const nn_device **out, char why[256]);
void mien_device_close(const nn_device *d); // NULL and the CPU are fine

#endif
