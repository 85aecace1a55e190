#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_ONLY 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HEAP_ONLY 1
#endif
#ifndef HEAP_ONLY
#define HEAP_ONLY 0
#endif

static const size_t huge_page = (size_t)2 << 20;

static _Noreturn void out_of_memory(size_t bytes)
{
    fprintf(stderr, "mien: out of memory (%zu bytes asked for)\n", bytes);
    abort();
}

void *mn_calloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p) out_of_memory(size && n > SIZE_MAX / size ? SIZE_MAX : n * size);
    return p;
}

void *mn_realloc(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) out_of_memory(SIZE_MAX);
    void *q = realloc(p, bytes ? bytes : 1);
    if (!q) out_of_memory(bytes);
    return q;
}

void *mn_grow(void *p, int64_t n, int64_t *capacity, size_t size)
{
    enum { FIRST = 64 };
    if (n < *capacity) return p;
    *capacity = *capacity ? 2 * *capacity : FIRST;
    return mn_realloc(p, (size_t)*capacity, size);
}

char *mn_strdup(const char *s)
{
    char *copy = strdup(s);
    if (!copy) out_of_memory(strlen(s) + 1);
    return copy;
}

char *mn_sprintf(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) out_of_memory(strlen(format));
    return text;
}

mn_err mn_mul_size(size_t a, size_t b, size_t *bytes)
{
    if (__builtin_mul_overflow(a, b, bytes))
        return mn_fail(MN_EMEM, "%zu objects of %zu bytes are more than memory can hold", a, b);
    return MN_OK;
}

// Mapped memory is used from one huge page up, cut so that it starts on a huge page; the sanitizers see only the heap.
static int is_mapped(size_t bytes)
{
    return !HEAP_ONLY && bytes >= huge_page;
}

static void *map_aligned(size_t bytes)
{
    size_t whole;
    if (__builtin_add_overflow(bytes, huge_page, &whole)) return NULL;
    char *p = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    size_t head = (huge_page - (uintptr_t)p % huge_page) % huge_page;
    size_t used = (bytes + 4095) & ~(size_t)4095;
    if (head && munmap(p, head)) return NULL;
    if (whole > head + used && munmap(p + head + used, whole - head - used)) return NULL;
    // Advice only: a kernel without huge pages refuses, and nothing is lost.
    (void)madvise(p + head, used, MADV_HUGEPAGE);
    return p + head;
}

mn_err mn_large_alloc(void **out, size_t bytes, const char *what)
{
    *out = NULL;
    if (bytes > (size_t)PTRDIFF_MAX - 2 * huge_page)
        return mn_fail(MN_EMEM, "%s: %zu bytes are more than memory can hold", what, bytes);
    void *p = is_mapped(bytes) ? map_aligned(bytes) : aligned_alloc(64, (bytes + 64) & ~(size_t)63);
    if (!p)
        return mn_fail(MN_EMEM, "%s: cannot get %.1f MiB of memory; use a smaller batch or model, or more ranks", what,
                       (double)bytes / (1 << 20));
    *out = p;
    return MN_OK;
}

void mn_large_free(void *p, size_t bytes)
{
    if (!p) return;
    if (!is_mapped(bytes)) {
        free(p);
        return;
    }
    int failed = munmap(p, (bytes + 4095) & ~(size_t)4095);
    mn_assert(!failed); // only a wrong address or size can fail
}
