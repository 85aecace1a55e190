// oneDNN makes and frees a few dozen small C++ objects in every call (the map of its arguments, the list of what it
// borrows from the scratchpad). A step must not allocate, so the process gets its own operator new and delete, which
// C++ allows any program to replace ([replacement.functions]): small blocks are kept in lists of the thread that frees
// them and never go back. nn__pool_fill puts enough of them there at plan time.
// The sanitizers bring their own.
#include "nn/onednn_prim.h"

#include "nn/base/mem.h"

#include <stdlib.h>

#if defined(__has_feature)
#define HAS(x) __has_feature(x)
#else
#define HAS(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS(address_sanitizer) || HAS(thread_sanitizer)

void nn__pool_fill(void) {}

#else

// The Itanium C++ ABI names of the replaceable functions. The array and nothrow forms of the C++ library call these.
void *pool_new(size_t n) __asm__("_Znwm");
void pool_delete(void *p) __asm__("_ZdlPv");
void pool_delete_sized(void *p, size_t n) __asm__("_ZdlPvm");

// Sizes 32, 64, ..., 1024; the last class is everything larger, which goes to malloc.
enum { CLASSES = 6, LARGE = CLASSES, DEPTH = 64 };

// Before each block; as large as the alignment that operator new promises.
typedef union header {
    struct {
        union header *next;
        int64_t class;
    } u;
    _Alignas(16) char align[16];
} header;

static _Thread_local header *list[CLASSES];

static int class_of(size_t n)
{
    int class = 0;

    while (class < LARGE && n > (size_t)32 << class)
        class ++;
    return class;
}

static header *fresh(size_t n, int class)
{
    header *h = mn_calloc(1, sizeof *h + (class == LARGE ? n : (size_t)32 << class));

    h->u.class = class;
    return h;
}

void *pool_new(size_t n)
{
    const int class = class_of(n);
    header *h = class == LARGE ? NULL : list[class];

    if (h)
        list[class] = h->u.next;
    else
        h = fresh(n, class);
    return h + 1;
}

void pool_delete(void *p)
{
    header *h = p ? (header *)p - 1 : NULL;

    if (!h) return;
    if (h->u.class == LARGE) {
        free(h);
        return;
    }
    h->u.next = list[h->u.class];
    list[h->u.class] = h;
}

void pool_delete_sized(void *p, size_t n)
{
    (void)n;
    pool_delete(p);
}

void nn__pool_fill(void)
{
    for (int class = 0; class < CLASSES; class ++) {
        int depth = 0;
        for (const header *h = list[class]; h && depth < DEPTH; h = h->u.next)
            depth++;
        for (; depth < DEPTH; depth++)
            pool_delete(fresh(0, class) + 1);
    }
}

#endif
