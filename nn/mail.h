// Small results of a device, read by the host without stopping it: a ring of slots that the device copies into.
//
//     nn_mail *m; MN_TRY(nn_mail_new(&m, device, sizeof(result)));
//     MN_TRY(nn_mail_post(m, result_on_device));              // behind the work that makes it
//     const result *r = NULL; MN_TRY(nn_mail_take(m, (const void **)&r)); // of the oldest post; valid until the next take
//
// At most NN_MAIL_SLOTS posts may be waiting. Threading: one thread.
#ifndef NN_MAIL_H
#define NN_MAIL_H

#include "nn/device.h"

enum { NN_MAIL_SLOTS = 4 };

typedef struct nn_mail nn_mail;
MN_MUST_CHECK mn_err nn_mail_new(nn_mail **out, const nn_device *d, size_t bytes);
void nn_mail_free(nn_mail *m);
MN_MUST_CHECK mn_err nn_mail_post(nn_mail *m, const void *from);
MN_MUST_CHECK mn_err nn_mail_take(nn_mail *m, const void **out);
// The other way: a slot to be filled by the caller, then sent to the device, behind what was put there before.
void *nn_mail_slot(nn_mail *m);
MN_MUST_CHECK mn_err nn_mail_send(nn_mail *m, void *to);

#endif
