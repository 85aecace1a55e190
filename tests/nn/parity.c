// Parity at published sizes, and of any case by name:
//
//     parity              every published size, fp32 and bf16
//     parity simmim_tiny  one case
//
// One line per case and precision; exits with 1 when one is outside its tolerance.
#include "parity_support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int report(int i, mn_dtype dtype)
{
    parity_result r;
    int bf16 = dtype == MN_BF16;
    if (parity_run(i, dtype, &r) != MN_OK) {
        printf("%-26s %-4s FAIL %s\n", parity_name(i), mn_dtype_name(dtype), mn_errmsg());
        return 1;
    }
    int bad = r.missing[0] || !(r.output <= (bf16 ? 1.5 : 1e-4)) || !(r.gradient <= (bf16 ? 1.5 : 1e-3));
    printf("%-26s %-4s %s %s %.2e (%s), gradients %.2e (%s), %d + %d tensors%s%s\n", parity_name(i),
           mn_dtype_name(dtype), bad ? "FAIL" : "ok  ", bf16 ? "of autocast's error: outputs" : "outputs", r.output,
           r.worst_output, r.gradient, r.worst_gradient, r.outputs, r.gradients, r.missing[0] ? "; missing: " : "",
           r.missing);
    fflush(stdout);
    return bad;
}

int main(int argc, char **argv)
{
    int bad = 0, run = 0;
    for (int i = 0; i < parity_count(); i++) {
        if (argc > 1 ? strcmp(parity_name(i), argv[1]) != 0 : !parity_full(i)) continue;
        bad |= report(i, MN_F32) | report(i, MN_BF16);
        run++;
    }
    if (!run) fprintf(stderr, "parity: no case %s\n", argc > 1 ? argv[1] : "");
    return bad || !run;
}
