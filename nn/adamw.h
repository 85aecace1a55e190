// The CPU's form of one update over the arenas (nn_device.adamw).
#ifndef NN_ADAMW_H
#define NN_ADAMW_H

#include "nn/device.h"

mn_err nn__adamw_cpu(const nn_device *d, const nn_adamw *a);

#endif
