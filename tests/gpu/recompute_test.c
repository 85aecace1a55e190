// Recomputation on the device, with the step recorded and replayed: the same bits.
#include "../nn/recompute_support.h"
#include "gpu_support.h"

#include <criterion/criterion.h>

static void compare_all(mn_dtype t)
{
    const nn_device *d = gpu_open();
    for (int i = 0; i < n_recompute_nets; i++)
        recompute_compare(&recompute_nets[i], t, d);
    gpu_close(d);
}

Test(gpu_recompute, same_bits_fp32)
{
    compare_all(MN_F32);
}

Test(gpu_recompute, same_bits_bf16)
{
    compare_all(MN_BF16);
}
