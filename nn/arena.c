// The memory plan: every value and gradient gets a fixed offset such that two of them share bytes only when they are
// never alive in the same step. Greedy by size, first fit: simple, and within a few percent of the lower bound (the
// largest sum of live bytes over the steps) on our networks.
#include "nn/graph_internal.h"

#include "nn/base/mem.h"

#include <stdlib.h>

enum { ALIGN = 64 };

typedef struct block {
    size_t bytes;
    nn__place *place;
} block;

static size_t align_up(size_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

// Larger first; equal sizes in order of birth, so that the plan does not depend on the sort.
static int by_size(const void *a, const void *b)
{
    const block *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    if (x->place->first != y->place->first) return x->place->first < y->place->first ? -1 : 1;
    return x->place < y->place ? -1 : x->place > y->place;
}

static int alive_together(const nn__place *a, const nn__place *b)
{
    return a->first <= b->last && b->first <= a->last;
}

// Lowest offset at which b fits between the blocks placed before it that live at the same time.
static size_t first_fit(const block *b, block *const *placed, int n, size_t base)
{
    size_t at = base;
    for (int i = 0; i < n; i++) {
        const block *p = placed[i];
        if (!alive_together(p->place, b->place)) continue;
        if (at + b->bytes <= p->place->offset) break;
        size_t end = p->place->offset + p->bytes;
        if (end > at) at = end;
    }
    return at;
}

// Keeps `placed` sorted by offset.
static void insert(block **placed, int n, block *b)
{
    int i = n;
    for (; i > 0 && placed[i - 1]->place->offset > b->place->offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = b;
}

static int collect(nn_graph *g, block *out)
{
    int n = 0;
    for (int i = 0; i < g->n_tensors; i++) {
        size_t bytes = align_up(nn__bytes(g->tensor[i]));
        if (g->value[i].used && g->value[i].first >= 0) out[n++] = (block){bytes, &g->value[i]};
        if (g->grad[i].used) out[n++] = (block){bytes, &g->grad[i]};
        if (g->again[i].used) out[n++] = (block){bytes, &g->again[i]};
    }
    return n;
}

static size_t place_inputs(nn_graph *g)
{
    size_t at = 0;
    for (int i = 0; i < g->n_inputs; i++) {
        nn_tensor *t = g->input[i].tensor;
        g->value[t->id].offset = at;
        at += align_up(nn__bytes(t));
    }
    return at;
}

void nn__place_all(nn_graph *g)
{
    g->input_bytes = place_inputs(g);
    size_t end = g->input_bytes;
    block *blocks = mn_calloc(3 * (size_t)g->n_tensors + 1, sizeof *blocks);
    block **placed = mn_calloc(3 * (size_t)g->n_tensors + 1, sizeof *placed);
    int n = collect(g, blocks);
    qsort(blocks, (size_t)n, sizeof *blocks, by_size);
    for (int i = 0; i < n; i++) {
        block *b = &blocks[i];
        b->place->offset = first_fit(b, placed, i, g->input_bytes);
        if (b->place->offset + b->bytes > end) end = b->place->offset + b->bytes;
        insert(placed, i, b);
    }
    free(placed);
    free(blocks);
    g->arena_bytes = end;
}
