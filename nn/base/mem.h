// Checked memory. Small host allocations abort when the machine is out of memory, because no caller could do better;
// large ones (arenas, batches, anything sized by a file) return an error that names the size.
// Threading: all functions may be called from any thread.
#ifndef MN_MEM_H
#define MN_MEM_H

#include "nn/base/err.h"

#include <stdarg.h>
#include <stdint.h>

// Zeroed memory for n objects of `size` bytes; aborts when there is none. Release with free().
void *mn_calloc(size_t n, size_t size);
// Resizes to n objects; new bytes are not set; aborts when there is none.
void *mn_realloc(void *p, size_t n, size_t size);
// Room for one more behind the n objects of a list, which at least doubles when it is full:
//     l->item = mn_grow(l->item, l->n, &l->capacity, sizeof *l->item);
void *mn_grow(void *p, int64_t n, int64_t *capacity, size_t size);
char *mn_strdup(const char *s);
// A formatted string the caller frees.
char *mn_sprintf(const char *format, ...) MN_PRINTF(1, 2);

// bytes = a * b, or MN_EMEM when it does not fit: before any allocation sized by a file.
MN_MUST_CHECK mn_err mn_mul_size(size_t a, size_t b, size_t *bytes);

// Large, 64-byte aligned, page-touched on first use, huge pages asked for where that helps; not zeroed.
// MN_EMEM names `what` and the size. Release with mn_large_free(p, bytes).
MN_MUST_CHECK mn_err mn_large_alloc(void **out, size_t bytes, const char *what);
void mn_large_free(void *p, size_t bytes);

#endif
