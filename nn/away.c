// Inputs, outputs and the recorded program of a graph whose device is not the host.
//
// A batch goes through a slot of its own on the device, so that it is copied while the step before is computed: feed
// puts the copy beside the kernels, run moves it from the slot to the input's place. All that changes from run to run
// is sent before the recorded part, which therefore stays the same.
#include "nn/graph_internal.h"

#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/mail.h"

#include <stdlib.h>
#include <string.h>

typedef struct mirror { // of an input or output, in host memory
    void *host;
    size_t bytes;
    int by_hand;   // an input that the program fills in place
    int fed;       // an input whose new value is in the slot
    int64_t fresh; // the run that it shows
} mirror;

struct nn__away {
    nn_tick *tick; // of the device
    nn_mail *ticks;
    char *slot; // (input_bytes) on the device
    double *one;
    mirror *mirror; // by tensor id
    nn_recording *recording;
    int64_t runs;
    int never_record;
    mn_err status;
    char *status_text;
};

mn_err nn__away_new(nn_graph *g)
{
    const nn_device *d = g->device;
    void *p;
    if (d->on_host) return MN_OK;
    nn__away *w = g->away = mn_calloc(1, sizeof *w);
    w->mirror = mn_calloc((size_t)g->n_tensors + 1, sizeof *w->mirror);
    MN_TRY(d->alloc(d, &p, sizeof *w->tick, "the numbers of a step"));
    w->tick = p;
    MN_TRY(nn_mail_new(&w->ticks, d, sizeof *w->tick));
    MN_TRY(d->host_alloc(d, &p, sizeof *w->one, "a number"));
    w->one = p;
    *w->one = 1;
    if (g->input_bytes) MN_TRY(d->alloc(d, &p, g->input_bytes, "the next batch"));
    w->slot = g->input_bytes ? p : NULL;
    return MN_OK;
}

void nn__away_free(nn_graph *g)
{
    const nn_device *d = g->device;
    nn__away *w = g->away;
    if (!w) return;
    (void)d->wait(d); // of what fails here, a run has told
    nn_graph_forget(g);
    nn_mail_free(w->ticks);
    for (int i = 0; i < g->n_tensors; i++)
        if (w->mirror[i].host) d->host_release(d, w->mirror[i].host, w->mirror[i].bytes);
    if (w->tick) d->release(d, w->tick, sizeof *w->tick);
    if (w->slot) d->release(d, w->slot, g->input_bytes);
    if (w->one) d->host_release(d, w->one, sizeof *w->one);
    free(w->mirror);
    free(w->status_text);
    free(w);
    g->away = NULL;
}

const nn_tick *nn__away_tick(const nn_graph *g)
{
    return g->away->tick;
}

const double *nn__away_one(const nn_graph *g)
{
    return g->away->one;
}

void nn_graph_record(nn_graph *g, int on)
{
    if (g->away) g->away->never_record = !on;
}

void nn_graph_forget(nn_graph *g)
{
    if (!g || !g->away || !g->away->recording) return;
    g->device->forget(g->device, g->away->recording);
    g->away->recording = NULL;
}

// --- inputs ---

static mn_err open_mirror(const nn_graph *g, const nn_tensor *t, mirror **out)
{
    mirror *m = &g->away->mirror[t->id];
    size_t bytes = nn__bytes(t);
    if (!m->host && bytes) {
        void *p;
        MN_TRY(g->device->host_alloc(g->device, &p, bytes, "an input or output of the plan"));
        memset(p, 0, bytes);
        m->host = p;
        m->bytes = bytes;
        m->fresh = -1;
    }
    *out = m;
    return MN_OK;
}

static mn_err keep(const nn_graph *g, mn_err e)
{
    nn__away *w = g->away;
    if (e == MN_OK || w->status != MN_OK) return e;
    w->status = e;
    w->status_text = mn_strdup(mn_errmsg());
    return e;
}

mn_err nn_graph_status(const nn_graph *g)
{
    const nn__away *w = g->away;
    return w && w->status != MN_OK ? mn_fail(w->status, "%s", w->status_text) : MN_OK;
}

void *nn__away_input(nn_graph *g, const nn_tensor *t)
{
    mirror *m;
    if (keep(g, open_mirror(g, t, &m)) != MN_OK) return NULL;
    m->by_hand = 1;
    return m->host;
}

mn_err nn__away_feed(nn_graph *g, const nn_tensor *t, const void *host, size_t bytes)
{
    const nn_device *d = g->device;
    nn__away *w = g->away;
    w->mirror[t->id].by_hand = 0;
    w->mirror[t->id].fed = 1;
    return d->copy_ahead(d, w->slot + g->value[t->id].offset, host, bytes);
}

mn_err nn_graph_fed(nn_graph *g)
{
    return g->away ? g->device->wait_ahead(g->device) : MN_OK;
}

// The batch to its place, and the slot free for the next one.
static mn_err take_inputs(nn_graph *g)
{
    const nn_device *d = g->device;
    nn__away *w = g->away;
    int ahead = 0;
    for (int i = 0; i < g->n_inputs; i++)
        ahead |= w->mirror[g->input[i].tensor->id].fed;
    if (ahead) MN_TRY(d->join_ahead(d));
    for (int i = 0; i < g->n_inputs; i++) {
        const nn_tensor *t = g->input[i].tensor;
        mirror *m = &w->mirror[t->id];
        size_t at = g->value[t->id].offset;
        if (m->fed) MN_TRY(d->copy(d, (char *)g->arena + at, w->slot + at, nn__bytes(t)));
        if (m->by_hand) MN_TRY(d->copy(d, (char *)g->arena + at, m->host, m->bytes));
        m->fed = 0;
    }
    return ahead ? d->free_ahead(d) : MN_OK;
}

// --- running ---

// Recorded at the second run: the first one lets libraries set themselves up.
static mn_err record(nn_graph *g, mn_err (*body)(nn_graph *g))
{
    const nn_device *d = g->device;
    nn__away *w = g->away;
    nn_recording *r = NULL;
    MN_TRY(d->record_begin(d));
    mn_err err = body(g);
    char *why = err == MN_OK ? NULL : mn_strdup(mn_errmsg()); // ending a recording that has failed fails as well
    mn_err end = d->record_end(d, &r);
    if (err != MN_OK) end = mn_fail(err, "%s", why);
    free(why);
    if (end != MN_OK && r) d->forget(d, r);
    MN_TRY(end);
    w->recording = r;
    return MN_OK;
}

static int records(const nn_graph *g)
{
    return g->device->record_begin && !g->away->never_record && !g->timing;
}

mn_err nn__away_run(nn_graph *g, mn_err (*body)(nn_graph *g))
{
    nn__away *w = g->away;
    MN_TRY(nn_graph_status(g));
    *(nn_tick *)nn_mail_slot(w->ticks) = g->tick;
    MN_TRY(keep(g, nn_mail_send(w->ticks, w->tick)));
    MN_TRY(keep(g, take_inputs(g)));
    w->runs++;
    if (!records(g) || w->runs == 1) return keep(g, body(g));
    if (!w->recording && record(g, body) != MN_OK) {
        // With sums over ranks some of them may have been put there already.
        if (g->sum) return keep(g, mn_while(MN_EDEVICE, "recording a step"));
        mn_warn("a step cannot be recorded (%s): every step is put on the GPU call by call, slower", mn_errmsg());
        w->never_record = 1;
        return keep(g, body(g));
    }
    return keep(g, g->device->replay(g->device, w->recording));
}

// --- outputs ---

void *nn__away_buffer(const nn_graph *g, const nn_tensor *t)
{
    const nn_device *d = g->device;
    nn__away *w = g->away;
    mirror *m;
    if (keep(g, open_mirror(g, t, &m)) != MN_OK) return NULL;
    if (m->by_hand || m->fresh == w->runs) return m->host;
    mn_err err = keep(g, d->copy(d, m->host, nn__value_at(g, (nn_tensor *)t), m->bytes));
    if (err == MN_OK) err = keep(g, d->wait(d));
    m->fresh = w->runs;
    return m->host;
}
