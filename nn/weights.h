// Weights files of this and other projects: what is in them under our names, into a model, and out again.
//
//     nn_weights *w;
//     MN_TRY(nn_weights_open(&w, "simmim_swin_base.safetensors", NN_WEIGHTS_AUTO));
//     nn_weights_report report;
//     MN_TRY(nn_weights_load(w, params, &(nn_weights_load_cfg){.prefix = "swin."}, &report));
//     ... report.loaded, report.line[i]: what was resized, is missing, was left out and why ...
//     MN_TRY(nn_weights_write(w, "timm.safetensors", NN_WEIGHTS_TIMM_SWIN));
//
// Files: safetensors, and PyTorch .pth (zip or legacy pickle, read without running anything from it). Values become
// fp32. Relative position tables of another window are resized on load (nn/bias_table.h).
// Errors: MN_ENOINPUT no such file, MN_EDATA damaged or of no known form, MN_ECONFIG what was asked does not fit.
// Threading: one thread per nn_weights.
#ifndef NN_WEIGHTS_H
#define NN_WEIGHTS_H

#include "nn/params.h"
#include "nn/weights_names.h"

typedef struct nn_weights nn_weights;
MN_MUST_CHECK mn_err nn_weights_open(nn_weights **out, const char *path, nn_weights_form form);
void nn_weights_close(nn_weights *w);

const char *nn_weights_path(const nn_weights *w);
nn_weights_form nn_weights_form_of(const nn_weights *w); // as found
const char *nn_weights_container(const nn_weights *w);   // "safetensors", "zip of pickle", "legacy pickle"

// Tensors that have a place with us, under our names, in byte order of the names.
typedef struct nn_weight {
    char name[sizeof((nn_param *)0)->name];
    mn_shape shape;
    int parts;          // tensors of the file it is put together from
    const char *stored; // type in the file: "F32", "BF16", ...
} nn_weight;
int nn_weights_count(const nn_weights *w);
const nn_weight *nn_weights_at(const nn_weights *w, int i);
int nn_weights_find(const nn_weights *w, const char *name); // index, -1 if absent
int64_t nn_weights_elements(const nn_weights *w);
MN_MUST_CHECK mn_err nn_weights_read(const nn_weights *w, int i, float *dst); // mn_count(shape) numbers

// Tensors of the file that have none, and why.
int nn_weights_dropped(const nn_weights *w);
const char *nn_weights_dropped_at(const nn_weights *w, int i, const char **why); // their name

// What happened on load, one line a tensor that was not simply copied: "missing head.expr.weight",
// "resized swin.layers.0...: 11 x 11 to 13 x 13". Freed by nn_weights_report_free.
typedef struct nn_weights_report {
    int loaded, resized; // of the model's tensors; resized ones are among the loaded
    int missing;         // wanted by the model, not in the file: keep their initial value
    int mismatched;      // in both, shapes differ: keep their initial value
    int unexpected;      // in the file under our name, not in the model
    int dropped;         // in the file, without a place with us
    char **line;
    int lines;
} nn_weights_report;
void nn_weights_report_free(nn_weights_report *r);

typedef struct nn_weights_load_cfg {
    const char *prefix; // NULL: all; else only the model's tensors whose names start so ("swin.")
    int strict;         // missing or mismatched tensors are an error (MN_ECONFIG) that names the first of them
} nn_weights_load_cfg;
// Into a model that is laid out; sets nn_param.loaded and copies masters to the work arena. The report is filled in any
// case and freed by the caller.
MN_MUST_CHECK mn_err nn_weights_load(const nn_weights *w, nn_params *ps, const nn_weights_load_cfg *cfg,
                                     nn_weights_report *report);

// Writes what is in w to a safetensors file under the names of `form` (fp32, atomically). Tensors that the form has no
// place for are left out; *left_out, if not NULL, gets their number. MN_ECONFIG when none has a place.
MN_MUST_CHECK mn_err nn_weights_write(const nn_weights *w, const char *path, nn_weights_form form, int *left_out);

// Two files, tensor by tensor, in byte order of the names.
typedef struct nn_weights_difference {
    const char *name;
    const nn_weight *a, *b; // NULL: not in that file
    double largest;         // largest |a - b|; NAN when the shapes differ or one is absent
    double relative;        // |a - b| / |b| in L2, likewise; 0 when both are zero
} nn_weights_difference;
typedef mn_err nn_weights_difference_fn(void *ctx, const nn_weights_difference *d);
MN_MUST_CHECK mn_err nn_weights_diff(const nn_weights *a, const nn_weights *b, nn_weights_difference_fn *each,
                                     void *ctx);

#endif
