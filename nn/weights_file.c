// Which container a weights file is, and safetensors as one.
#include "nn/weights_internal.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/safetensors.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static mn_err read_array(void *handle, int i, float *dst)
{
    return nn_safetensors_read_f32(handle, nn_safetensors_at(handle, i), dst);
}

static void close_file(void *handle)
{
    nn_safetensors_close(handle);
}

static int floating(nn_safetensors_dtype t)
{
    return t == NN_SAFETENSORS_F32 || t == NN_SAFETENSORS_BF16 || t == NN_SAFETENSORS_F16 || t == NN_SAFETENSORS_F64;
}

static mn_err open_safetensors(nn__container *c, const char *path)
{
    nn_safetensors *f;
    MN_TRY(nn_safetensors_open(&f, path));
    int n = (int)nn_safetensors_count(f);
    *c = (nn__container){.kind = "safetensors", .handle = f, .n = n, .read = read_array, .close = close_file};
    c->array = mn_calloc((size_t)n + 1, sizeof *c->array);
    for (int i = 0; i < n; i++) {
        const nn_safetensor *t = nn_safetensors_at(f, i);
        const char *stored = floating(t->dtype) ? nn_safetensors_dtype_name(t->dtype) : NULL;
        c->array[i] = (nn__array){mn_strdup(t->name), t->shape, stored};
    }
    return MN_OK;
}

mn_err nn__open_container(nn__container *c, const char *path)
{
    int fd;
    int64_t size;
    unsigned char first[9] = {0};
    uint64_t header;
    MN_TRY(mn_file_open(&fd, path, &size));
    mn_err err = mn_file_read_at(fd, first, size < 9 ? (size_t)size : sizeof first, 0, path);
    close(fd); // opened for reading: nothing can be lost
    if (err != MN_OK) return err;
    if (memcmp(first, "PK\3\4", 4) == 0) return nn__open_pth(c, path, 1);
    // A pickle starts with its protocol and an opcode; the third byte of a header's length is 0 up to 64 KiB, and then
    // small.
    if (first[0] == 0x80 && first[1] >= 2 && first[1] <= 5 && first[2] >= '(') return nn__open_pth(c, path, 0);
    // A header's length, in the file, and its opening brace: one of them is left of a damaged safetensors file.
    memcpy(&header, first, sizeof header);
    if (first[8] != '{' && (size < 9 || header > (uint64_t)size - 8))
        return mn_fail(MN_EDATA, "%s: neither a safetensors nor a PyTorch file", path);
    return open_safetensors(c, path);
}

void nn__container_close(nn__container *c)
{
    for (int i = 0; i < c->n; i++)
        free(c->array[i].name);
    free(c->array);
    if (c->close) c->close(c->handle);
    *c = (nn__container){0};
}
