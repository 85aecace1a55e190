#include "nn/mail.h"

#include "nn/base/mem.h"

#include <stdlib.h>

struct nn_mail {
    const nn_device *device;
    size_t bytes, slot_bytes;
    char *slots; // host memory
    nn_mark *mark[NN_MAIL_SLOTS];
    int64_t posted, taken;
};

mn_err nn_mail_new(nn_mail **out, const nn_device *d, size_t bytes)
{
    nn_mail *m = mn_calloc(1, sizeof *m);
    void *p;
    m->device = d;
    m->bytes = bytes;
    m->slot_bytes = (bytes + 63) / 64 * 64;
    mn_err err = d->host_alloc(d, &p, m->slot_bytes * NN_MAIL_SLOTS, "the results of a step");
    if (err != MN_OK) {
        free(m);
        return err;
    }
    m->slots = p;
    *out = m;
    return MN_OK;
}

void nn_mail_free(nn_mail *m)
{
    if (!m) return;
    const nn_device *d = m->device;
    (void)d->wait(d); // copies into the slots may still be on their way
    for (int i = 0; i < NN_MAIL_SLOTS; i++)
        if (m->mark[i]) d->mark_free(d, m->mark[i]);
    d->host_release(d, m->slots, m->slot_bytes * NN_MAIL_SLOTS);
    free(m);
}

static void *slot(nn_mail *m, int64_t i)
{
    return m->slots + (size_t)(i % NN_MAIL_SLOTS) * m->slot_bytes;
}

static mn_err mark(nn_mail *m, int64_t i)
{
    return m->device->mark ? m->device->mark(m->device, &m->mark[i % NN_MAIL_SLOTS]) : MN_OK;
}

static mn_err wait_for(nn_mail *m, int64_t i)
{
    nn_mark *at = m->mark[i % NN_MAIL_SLOTS];
    return at ? m->device->mark_wait(m->device, at) : MN_OK;
}

mn_err nn_mail_post(nn_mail *m, const void *from)
{
    mn_assert(m->posted - m->taken < NN_MAIL_SLOTS);
    MN_TRY(m->device->copy(m->device, slot(m, m->posted), from, m->bytes));
    MN_TRY(mark(m, m->posted));
    m->posted++;
    return MN_OK;
}

mn_err nn_mail_take(nn_mail *m, const void **out)
{
    mn_assert(m->taken < m->posted);
    MN_TRY(wait_for(m, m->taken));
    *out = slot(m, m->taken);
    m->taken++;
    return MN_OK;
}

void *nn_mail_slot(nn_mail *m)
{
    return slot(m, m->posted);
}

// A slot comes round again after NN_MAIL_SLOTS sends: then the copy of its last one has to be over.
mn_err nn_mail_send(nn_mail *m, void *to)
{
    MN_TRY(m->device->copy(m->device, to, slot(m, m->posted), m->bytes));
    MN_TRY(mark(m, m->posted));
    m->posted++;
    m->taken = m->posted;
    return wait_for(m, m->posted); // of the slot that is next
}
