// Recomputation: what a segment (nn_segment_begin) makes for itself alone is not kept from forward to backward. Before
// the first backward call of the segment those of its forward calls are run again whose values backward reads, or that
// these need. All they read is there: what other segments read is kept, parameters stay until the end of the run, and
// random numbers are a function of path and position, so the same bits come out.
//
// Collectives and calls that update a state are not run twice: their values are kept. So are all those of the last
// segment, whose backward begins while they would be alive anyway.
#include "nn/graph_internal.h"

#include "nn/base/mem.h"

#include <stdlib.h>

typedef struct choice {
    nn_graph *g;
    unsigned char *dropped; // by tensor id: not kept
    unsigned char *wanted;  // by tensor id: dropped, and needed in backward
    unsigned char *rerun;   // by forward step
} choice;

// That of the first backward call in one; 0: none.
static int last_segment(const nn_graph *g)
{
    for (int s = g->n_forward; s < g->n_steps; s++)
        if (g->step[s].node->segment) return g->step[s].node->segment;
    return 0;
}

static void drop(choice *c)
{
    nn_graph *g = c->g;
    int last = last_segment(g);
    for (int s = 0; s < g->n_forward; s++) {
        const nn_node *n = g->step[s].node;
        int once = n->op->flags & (NN_OP_COLLECTIVE | NN_OP_STATE);
        for (int k = 0; k < n->n_out; k++)
            c->dropped[n->out[k]->id] = n->segment && n->segment != last && !once;
    }
    for (int s = 0; s < g->n_forward; s++) {
        const nn_node *n = g->step[s].node;
        for (int k = 0; k < n->n_in; k++) {
            const nn_tensor *root = n->in[k] ? nn__root(n->in[k]) : NULL;
            if (root && root->src && root->src->segment != n->segment) c->dropped[root->id] = 0;
        }
    }
    c->dropped[nn__root(g->loss)->id] = 0;
    for (int i = 0; i < g->n_outputs; i++)
        c->dropped[nn__root(g->output[i].tensor)->id] = 0;
}

static void want(choice *c, nn_tensor *t)
{
    int id = nn__root(t)->id;
    c->wanted[id] |= c->dropped[id];
}

static void want_what_backward_reads(choice *c)
{
    const nn_graph *g = c->g;
    for (int s = g->n_forward; s < g->n_steps; s++) {
        const nn_node *n = g->step[s].node;
        for (int k = 0; k < n->n_in; k++)
            if (n->in[k] && n->op->bwd_reads_in & 1u << k) want(c, n->in[k]);
        for (int k = 0; k < n->n_out; k++)
            if (n->op->bwd_reads_out & 1u << k) want(c, n->out[k]);
    }
}

// Returns how many.
static int choose_calls(choice *c)
{
    const nn_graph *g = c->g;
    int count = 0;
    for (int s = g->n_forward - 1; s >= 0; s--) {
        const nn_node *n = g->step[s].node;
        for (int k = 0; k < n->n_out; k++)
            c->rerun[s] |= c->wanted[n->out[k]->id];
        for (int k = 0; k < n->n_in && c->rerun[s]; k++)
            if (n->in[k]) want(c, n->in[k]);
        count += c->rerun[s];
    }
    return count;
}

// Appends the calls of a segment that are run again.
static void add_segment(choice *c, const nn__step *old, int segment)
{
    nn_graph *g = c->g;
    for (int s = 0; s < g->n_forward; s++) {
        nn_node *n = old[s].node;
        if (!c->rerun[s] || n->segment != segment) continue;
        for (int k = 0; k < n->n_out; k++)
            g->again[n->out[k]->id] = (nn__place){.used = 1, .first = g->n_steps, .last = g->n_steps};
        g->step[g->n_steps++] = (nn__step){.node = n, .again = 1};
    }
}

static void insert_calls(choice *c, int count)
{
    nn_graph *g = c->g;
    nn__step *old = g->step;
    int n_old = g->n_steps, segment = 0;
    g->step = mn_calloc((size_t)(n_old + count), sizeof *g->step);
    g->n_steps = 0;
    for (int s = 0; s < n_old; s++) {
        int of = old[s].backward ? old[s].node->segment : 0;
        if (of && of != segment) add_segment(c, old, segment = of);
        g->step[g->n_steps++] = old[s];
    }
    free(old);
}

void nn__recompute(nn_graph *g)
{
    size_t tensors = (size_t)g->n_tensors + 1, steps = (size_t)g->n_forward + 1;
    choice c = {
        .g = g, .dropped = mn_calloc(tensors, 1), .wanted = mn_calloc(tensors, 1), .rerun = mn_calloc(steps, 1)};
    drop(&c);
    want_what_backward_reads(&c);
    int count = choose_calls(&c);
    if (count) insert_calls(&c, count);
    free(c.dropped);
    free(c.wanted);
    free(c.rerun);
}
