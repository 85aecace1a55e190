#include "nn/base/shape.h"

#include "nn/base/err.h"

#include <stdio.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [MN_F32] = {"f32", 4}, [MN_BF16] = {"bf16", 2}, [MN_F64] = {"f64", 8},
    [MN_I32] = {"i32", 4}, [MN_I64] = {"i64", 8},   [MN_U8] = {"u8", 1},
};

size_t mn_dtype_size(mn_dtype t)
{
    mn_assert((size_t)t < sizeof dtypes / sizeof dtypes[0]);
    return dtypes[t].size;
}

const char *mn_dtype_name(mn_dtype t)
{
    mn_assert((size_t)t < sizeof dtypes / sizeof dtypes[0]);
    return dtypes[t].name;
}

int64_t mn_count(mn_shape s)
{
    int64_t count = 1;
    for (int i = 0; i < s.n; i++)
        count *= s.d[i];
    return count;
}

int mn_shape_equal(mn_shape a, mn_shape b)
{
    if (a.n != b.n) return 0;
    for (int i = 0; i < a.n; i++)
        if (a.d[i] != b.d[i]) return 0;
    return 1;
}

int64_t mn_last(mn_shape s)
{
    return s.n ? s.d[s.n - 1] : 1;
}

int64_t mn_rows(mn_shape s)
{
    int64_t rows = 1;
    for (int i = 0; i < s.n - 1; i++)
        rows *= s.d[i];
    return rows;
}

const char *mn_shape_text(mn_shape s, char *text, size_t size)
{
    size_t used = 0;
    int n = snprintf(text, size, "(");
    for (int i = 0; i < s.n && n >= 0 && (used += (size_t)n) < size; i++)
        n = snprintf(text + used, size - used, i ? ", %lld" : "%lld", (long long)s.d[i]);
    if (n >= 0 && (used += (size_t)n) < size) snprintf(text + used, size - used, ")");
    return text;
}
