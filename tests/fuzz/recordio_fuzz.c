// Records of RecordIO: what is joined is no longer than it was, and its picture lies in it.
// fuzz-sources: data/import/recordio.c
#include "data/import/recordio.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    unsigned char *bytes = malloc(size ? size : 1); // exactly as long as it says
    size_t n = 0;
    data__recordio_face face;
    if (!bytes) return 0;
    memcpy(bytes, data, size);
    size_t extent = 0; // of the parts, as their heads say: what join reads, and no more
    for (int more = 1; more && extent <= size && size - extent >= DATA__RECORDIO_HEAD;)
        extent += data__recordio_part(bytes + extent, &more);
    mn_err err = data__recordio_join("fuzz", 0, bytes, size, &n);
    if (err == MN_OK && (n + 8 > size || extent > size || !data__recordio_begins(data))) abort();
    if (err == MN_OK) err = data__recordio_head("fuzz", 0, bytes, n, &face);
    if (err == MN_OK && (face.image < bytes || face.image + face.size != bytes + n)) abort();
    if (err != MN_OK && (err != MN_EDATA || !strstr(mn_errmsg(), "fuzz: byte "))) abort();
    free(bytes);
    return 0;
}
