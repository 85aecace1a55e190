// Arrays of NumPy. What is accepted lies in the file and every item of it can be read.
// fuzz-sources: data/import/npy.c data/import/text.c
#include "data/import/npy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    unsigned char *bytes = malloc(size ? size : 1); // exactly as long as it says
    if (!bytes) return 0;
    memcpy(bytes, data, size);
    data__npy a;
    mn_err err = data__npy_parse("fuzz", bytes, size, &a);
    if (err != MN_OK && (err != MN_EDATA || !strstr(mn_errmsg(), "fuzz: byte "))) abort();
    for (int64_t i = 0; err == MN_OK && i < a.count && i < 65536; i++) {
        double v;
        if (a.items + (size_t)(i + 1) * a.item > bytes + size) abort();
        if (data__npy_number(&a, i, &v) && !isfinite(v)) abort();
    }
    free(bytes);
    return 0;
}
