// One network at one size against its golden file: builds it, fills in the closed-form weights and inputs, runs forward
// and backward, compares outputs and all parameter gradients.
#ifndef PARITY_SUPPORT_H
#define PARITY_SUPPORT_H

#include "nn/graph.h"

typedef struct parity_case parity_case;

int parity_count(void);
const char *parity_name(int i); // golden file without its ending
int parity_full(int i);         // a published size: minutes, gigabytes

// Largest relative errors of a case (L2 norms per tensor), the names of the tensors they belong to, and how many were
// compared. In bf16 the errors are divided by those of PyTorch's autocast.
typedef struct parity_result {
    double output, gradient;
    char worst_output[160], worst_gradient[160];
    int outputs, gradients;
    char missing[160]; // a stored tensor that we do not have, or one of ours that is not stored; "" none
} parity_result;
MN_MUST_CHECK mn_err parity_run(int i, mn_dtype dtype, parity_result *result);

#endif
