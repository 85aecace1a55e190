#include "data/set.h"

#include <stdio.h>
#include <string.h>

int64_t data_set_epoch(const data_set *s)
{
    int64_t samples = 0;
    for (int i = 0; i < s->n_sources; i++)
        samples += s->source[i].per_epoch;
    return s->source ? samples : s->count;
}

void data_set_close(data_set *s)
{
    if (s && s->ops->close) s->ops->close(s);
}

int data_set_field(const data_set *s, const char *name)
{
    for (int i = 0; i < s->n_fields; i++)
        if (strcmp(s->field[i].name, name) == 0) return i;
    return -1;
}

void data_set_add_field(data_set *s, const char *name, mn_dtype dtype, mn_shape shape)
{
    mn_assert(s->n_fields < DATA_MAX_FIELDS && strlen(name) < sizeof s->field[0].name);
    data_field *f = &s->field[s->n_fields++];
    snprintf(f->name, sizeof f->name, "%s", name);
    f->dtype = dtype;
    f->shape = shape;
}
