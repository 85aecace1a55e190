#include "data/shard_columns.h"

#include <isa-l/crc.h>
#include <stdlib.h>
#include <string.h>

const data__column_row data__column[DATA__COLUMN_COUNT] = {
#define DATA__COLUMN_ROW(id, name, type, width, rows, required) {name, DATA__##type, width, DATA__##rows, required},
    DATA__COLUMN_MAP(DATA__COLUMN_ROW)
#undef DATA__COLUMN_ROW
};

mn_err data__columns_digest(const data__columns *c, XXH128_hash_t *digest)
{
    XXH3_state_t *h = XXH3_createState();
    if (!h || XXH3_128bits_reset(h) != XXH_OK) return mn_fail(MN_EMEM, "no memory for a digest");
    for (int i = 0; i < DATA__COLUMN_COUNT; i++) {
        const data__column_row *k = &data__column[i];
        if (!c->values[i]) continue;
        int64_t extent[2] = {c->rows[i], k->width};
        (void)XXH3_128bits_update(h, k->name, strlen(k->name) + 1);
        (void)XXH3_128bits_update(h, extent, sizeof(extent));
        (void)XXH3_128bits_update(h, c->values[i], (size_t)extent[0] * (size_t)extent[1] * data__type_size(k->type));
    }
    *digest = XXH3_128bits_digest(h);
    (void)XXH3_freeState(h);
    return MN_OK;
}

void data__columns_free(data__columns *c)
{
    for (int i = 0; i < DATA__COLUMN_COUNT; i++)
        free(c->values[i]);
    memset(c, 0, sizeof(*c));
}

uint32_t data__crc32c(const void *bytes, size_t n)
{
    return data__crc32c_more(0, bytes, n);
}

uint32_t data__crc32c_more(uint32_t before, const void *bytes, size_t n)
{
    // ISA-L leaves the usual inversion of the register before and after to the caller, and does not write to the buffer.
    return ~crc32_iscsi((unsigned char *)(uintptr_t)bytes, (int)n, ~before);
}
