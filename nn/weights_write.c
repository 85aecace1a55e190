// Weights out again, under the names of any form.
#include "nn/weights.h"

#include "nn/base/mem.h"
#include "nn/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PARTS = 3 };

_Static_assert(sizeof((nn_rename_match *)0)->name <= sizeof((nn_safetensor *)0)->name, "our names fit into theirs");

typedef struct output {
    nn_safetensor *tensor;
    float **data;
    size_t *bytes; // of what data owns; 0: it points into another's
    int n, left_out;
} output;

static void free_output(output *o)
{
    for (int i = 0; i < o->n; i++)
        if (o->bytes[i]) mn_large_free(o->data[i], o->bytes[i]);
    free(o->tensor);
    free(o->data);
    free(o->bytes);
}

// One tensor of ours becomes one of theirs, or several with equal shares of its rows.
static mn_err add(output *o, const nn_weights *w, int i, nn_weights_form form)
{
    nn_rename_match m[MAX_PARTS];
    const nn_weight *have = nn_weights_at(w, i);
    int parts = nn_rename_export(form, have->name, m, MAX_PARTS);
    size_t bytes;
    void *data;
    if (parts == 0) {
        o->left_out++;
        return MN_OK;
    }
    if (parts != m[0].parts || (parts > 1 && (have->shape.n < 1 || have->shape.d[0] % parts)))
        return mn_fail(MN_ECONFIG, "%s: '%s' cannot be divided into %d tensors", nn_weights_path(w), have->name, parts);
    MN_TRY(mn_mul_size((size_t)mn_count(have->shape) + 1, sizeof(float), &bytes));
    MN_TRY(mn_large_alloc(&data, bytes, have->name));
    for (int k = 0; k < parts; k++) {
        mn_shape shape = have->shape;
        if (parts > 1) shape.d[0] /= parts;
        nn_safetensor *t = &o->tensor[o->n];
        *t = (nn_safetensor){.dtype = NN_SAFETENSORS_F32, .shape = shape};
        memcpy(t->name, m[k].name, sizeof m[k].name);
        o->data[o->n] = (float *)data + m[k].part * mn_count(shape);
        o->bytes[o->n++] = k == 0 ? bytes : 0; // rows run in the order of the parts: the first is the start
    }
    return nn_weights_read(w, i, data);
}

mn_err nn_weights_write(const nn_weights *w, const char *path, nn_weights_form form, int *left_out)
{
    mn_err err = MN_OK;
    size_t most = (size_t)nn_weights_count(w) * MAX_PARTS + 1;
    output o = {.tensor = mn_calloc(most, sizeof *o.tensor),
                .data = mn_calloc(most, sizeof *o.data),
                .bytes = mn_calloc(most, sizeof *o.bytes)};
    const nn_safetensors_pair made_by[] = {{"format", "pt"}, {"producer", "mien " MIEN_VERSION}};
    for (int i = 0; i < nn_weights_count(w); i++)
        MN_TRY_OUT(err, add(&o, w, i, form));
    if (o.n == 0)
        MN_TRY_OUT(err, mn_fail(MN_ECONFIG, "%s: none of its %d tensors has a name in the form '%s'",
                                nn_weights_path(w), nn_weights_count(w), nn_weights_form_name(form)));
    MN_TRY_OUT(err, nn_safetensors_write(path, o.tensor, (const float *const *)o.data, o.n, made_by, 2));
    if (left_out) *left_out = o.left_out;
out:
    free_output(&o);
    return err;
}
