// The numbers that shard and feature files hold, little-endian. Threading: pure functions.
#ifndef DATA_SHARD_TYPE_H
#define DATA_SHARD_TYPE_H

#include <stddef.h>

typedef enum data__type {
    DATA__U8,
    DATA__I8,
    DATA__U16,
    DATA__U32,
    DATA__I32,
    DATA__U64,
    DATA__I64,
    DATA__F32,
    DATA__F16, // 16-bit floats: of feature files only
    DATA__BF16
} data__type;
static inline size_t data__type_size(data__type t)
{
    static const size_t size[] = {1, 1, 2, 4, 4, 8, 8, 4, 2, 2};
    return size[t];
}

#endif
