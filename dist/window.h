// Where gradients live: one segment per rank of the group, which every rank of the group can read and write, so that a
// sum needs no copies. With one rank per group (alone, or where memory cannot be shared) it is plain memory.
//
//     dist_window *w; MN_TRY(dist_window_new(&w, comm));
//     nn_layout_cfg layout = {.alloc = dist_window_alloc, .ctx = w, .tail = sizeof(dist_control)};
//     MN_TRY(nn_params_layout(params, graph, &layout));
//
// Threading: the thread of the communicator; the memory itself belongs to whoever computes gradients.
#ifndef DIST_WINDOW_H
#define DIST_WINDOW_H

#include "dist/comm.h"

typedef struct dist_window dist_window;

MN_MUST_CHECK mn_err dist_window_new(dist_window **out, dist_comm *c); // borrows c
void dist_window_free(dist_window *w);
// Collective, once per window, `bytes` equal on all ranks (else MN_ECONFIG). *out is this rank's segment, zeroed.
mn_err dist_window_alloc(void *window, size_t bytes, void **out);
size_t dist_window_bytes(const dist_window *w);
// Segment of a rank of the group, as this process sees it.
float *dist_window_segment(const dist_window *w, int group_rank);

#endif
