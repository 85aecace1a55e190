// Task heads on top of an encoder.
#include "nn/models.h"

nn_tensor *nn_head(nn_graph *g, nn_tensor *x, int64_t out, const char *name)
{
    nn_linear_cfg cfg = {.out = out, .init = NN_INIT_TRUNC_NORMAL, .init_scale = 0.02f};
    if (out < 1) return nn_graph_bad(g, "head.%s: %lld outputs", name, (long long)out);
    nn_scope_push(g, "head");
    x = nn_linear(g, x, &cfg, name);
    nn_scope_pop(g);
    return nn_cast(g, x, MN_F32); // (..., out): losses and metrics read fp32
}
