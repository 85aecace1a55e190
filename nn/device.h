// Where a plan's memory lives and its kernels run. The CPU is built in; the CUDA side is one loadable module
// (nn/device_cuda.h) whose device has its kernels in the order of nn/ops.def.
//
// What is put on a device runs in the order in which it was put there; on a CPU it has run when the call returns, on a
// GPU the host must `wait` (or ask an nn_mail) before it looks. Host memory that is copied from must stay as it is until
// then.
//
//     void *p; MN_TRY(d->alloc(d, &p, bytes, "the activations of the plan"));
//     MN_TRY(d->copy(d, p, host, bytes));
//     MN_TRY(d->wait(d));
//
// Threading: one thread per device.
#ifndef NN_DEVICE_H
#define NN_DEVICE_H

#include "nn/cuda_nccl.h"
#include "nn/op.h"
#include "nn/optim.h"

typedef struct nn_device nn_device;
typedef struct nn_recording nn_recording; // a captured graph
typedef struct nn_mark nn_mark;           // a point in the order of work

// One update of AdamW over the arenas, as nn/optim.c cuts them; all addresses are of the device.
typedef struct nn_adamw_chunk { // at most NN_ADAMW_CHUNK elements of one parameter
    int64_t offset, count;
    double lr_scale, decay;
} nn_adamw_chunk;
typedef struct nn_adamw {
    double beta1, beta2, eps;
    const nn_adamw_chunk *chunk;
    int64_t n_chunks;
    float *master;
    void *work; // bf16, or == master
    const float *grad;
    float *m, *v;
    double *square;                 // (n_chunks + NN_ADAMW_SCRATCH): scratch
    const nn_optim_step_args *args; // of this step
    nn_optim_result *result;        // holds the number of updates done before; is overwritten
    const double *loss;             // may be NULL
} nn_adamw;
enum { NN_ADAMW_CHUNK = 8192, NN_ADAMW_SCRATCH = 8 };

typedef struct nn_memory { // bytes of a GPU
    size_t held;           // by this program, as it asked for them (alloc)
    size_t free, total; // as the driver has it: libraries, code and recorded runs take some, others may share the GPU
} nn_memory;

struct nn_device {
    const char *name; // "cpu", "cuda"
    const char *id;   // of the GPU on its host: "0000:1b:00.0"; CPU: ""
    const char *text; // what a result depends on: "NVIDIA H100 80GB HBM3, CUDA 13.0, ..."; CPU: ""
    void *state;      // of the module
    void *stream;     // that kernels are given (nn_call.stream)
    int on_host;      // its memory is the program's memory, and work is done at once

    mn_err (*alloc)(const nn_device *d, void **out, size_t bytes, const char *what);
    void (*release)(const nn_device *d, void *p, size_t bytes);
    // Host memory that copies need not be staged for.
    mn_err (*host_alloc)(const nn_device *d, void **out, size_t bytes, const char *what);
    void (*host_release)(const nn_device *d, void *p, size_t bytes);

    mn_err (*copy)(const nn_device *d, void *to, const void *from, size_t bytes); // any direction
    mn_err (*fill)(const nn_device *d, void *p, int byte, size_t bytes);
    mn_err (*wait)(const nn_device *d); // until all has run. MN_EDEVICE: some of it failed
    const nn_kernels *(*kernels)(const nn_device *d, const nn_op *op);
    mn_err (*adamw)(const nn_device *d, const nn_adamw *a); // norm, decision, update
    mn_err (*narrow)(const nn_device *d, mn_bf16 *to, const float *from, int64_t n);

    // The rest is NULL on the CPU.
    // each (may be NULL): what is held, by what it is for.
    mn_err (*memory)(const nn_device *d, nn_memory *out, void (*each)(void *ctx, const char *what, size_t bytes),
                     void *ctx);
    // A second line of work beside the kernels, for the next batch: copy_ahead waits for nothing that is running.
    // join_ahead makes what follows wait for the copies put there so far; free_ahead makes later copies there wait for
    // what has been put on the device so far.
    mn_err (*copy_ahead)(const nn_device *d, void *to, const void *from, size_t bytes);
    mn_err (*join_ahead)(const nn_device *d);
    mn_err (*free_ahead)(const nn_device *d);
    mn_err (*wait_ahead)(const nn_device *d); // on the host, for the copies put there so far
    // A stream for sums over ranks: fork makes it wait for the kernels so far, join makes the kernels wait for it.
    void *side;
    mn_err (*fork)(const nn_device *d);
    mn_err (*join)(const nn_device *d);
    // On that stream: to bf16 (nearest even; NaN and infinities stay) and back.
    mn_err (*side_narrow)(const nn_device *d, mn_bf16 *to, const float *from, int64_t n);
    mn_err (*side_widen)(const nn_device *d, float *to, const mn_bf16 *from, int64_t n);
    // Called again and again while the host waits for the device; an error ends the wait with it. NULL: none.
    void (*set_idle)(const nn_device *d, mn_err (*idle)(void *ctx), void *ctx);
    mn_err (*nccl)(const nn_device *d, const nn_nccl **out); // MN_EDEVICE: what is missing
    // What is put between begin and end is not run but kept; replay runs it, any number of times.
    mn_err (*record_begin)(const nn_device *d);
    mn_err (*record_end)(const nn_device *d, nn_recording **out); // *out NULL: nothing usable
    mn_err (*replay)(const nn_device *d, nn_recording *r);
    void (*forget)(const nn_device *d, nn_recording *r);
    // A point behind what was put there so far, to be waited for. mark makes *m on first use.
    mn_err (*mark)(const nn_device *d, nn_mark **m);
    mn_err (*mark_wait)(const nn_device *d, nn_mark *m); // on the host
    void (*mark_free)(const nn_device *d, nn_mark *m);
};

const nn_device *nn_device_cpu(void);

#endif
