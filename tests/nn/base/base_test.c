#include "nn/base/clock.h"
#include "nn/base/err.h"
#include "nn/base/fault.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "nn/base/shape.h"

#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

Test(err, message_and_prefix)
{
    mn_err e = mn_fail(MN_EDATA, "record %d of %s", 3, "a.h5");
    cr_expect_eq(e, MN_EDATA);
    cr_expect_str_eq(mn_errmsg(), "record 3 of a.h5");
    cr_expect_eq(mn_while(e, "reading %s", "train"), MN_EDATA);
    cr_expect_str_eq(mn_errmsg(), "while reading train: record 3 of a.h5");
    cr_expect_eq(mn_while(MN_OK, "nothing"), MN_OK);
    cr_expect_str_eq(mn_errmsg(), "while reading train: record 3 of a.h5");
    mn_fail(MN_EIO, "again: %s", mn_errmsg()); // an argument may be the message itself
    cr_expect_str_eq(mn_errmsg(), "again: while reading train: record 3 of a.h5");
}

Test(err, one_line_and_bounded)
{
    char big[5001];
    memset(big, 'x', 5000);
    big[5000] = 0;
    mn_fail(MN_EIO, "a\nb\x1b[31m %s", big);
    const char *text = mn_errmsg();
    cr_expect_eq(strncmp(text, "a b [31m xxx", 12), 0);
    cr_expect_lt(strlen(text), 4096);
    cr_expect_str_eq(text + strlen(text) - 3, "...");
}

static void *fail_elsewhere(void *ignored)
{
    mn_fail(MN_EIO, "elsewhere");
    return ignored;
}

Test(err, message_is_per_thread)
{
    pthread_t thread;
    mn_fail(MN_EIO, "here");
    cr_assert_eq(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    cr_expect_str_eq(mn_errmsg(), "here");
}

Test(err, exit_codes)
{
    cr_expect_eq(mn_exit_code(MN_OK), 0);
    cr_expect_eq(mn_exit_code(MN_EUSAGE), 64);
    cr_expect_eq(mn_exit_code(MN_ECONFIG), 78);
    cr_expect_eq(mn_exit_code(MN_EINTERRUPTED), 85);
    cr_expect_eq(mn_exit_code((mn_err)-99), 70);
}

Test(err, broken_promise_aborts, .signal = SIGABRT)
{
    mn_assert(1 == 2);
}

// The definition: the nearest of the two neighbours in bf16, the even one when they are equally near.
static mn_bf16 round_by_definition(float f)
{
    union {
        float f;
        uint32_t u;
    } x = {f};
    mn_bf16 low = (mn_bf16)(x.u >> 16), high = (mn_bf16)(low + 1);
    double below = fabs((double)f - (double)mn_bf16_to_f32(low));
    double next = isinf(mn_bf16_to_f32(high)) ? copysign(0x1p128, (double)f) : (double)mn_bf16_to_f32(high);
    double above = fabs(next - (double)f);
    if (below == above) return low & 1 ? high : low;
    return below < above ? low : high;
}

Test(shape, bf16_rounds_to_nearest_even)
{
    uint32_t bits = 12345;
    for (int i = 0; i < 200000; i++) {
        bits = bits * 1664525u + 1013904223u;
        if (i % 3 == 0) bits = (bits & 0xffff0000u) | 0x8000u; // ties
        union {
            uint32_t u;
            float f;
        } x = {bits};
        if (!isfinite(x.f)) continue;
        cr_assert_eq(mn_f32_to_bf16(x.f), round_by_definition(x.f), "%a", (double)x.f);
    }
    cr_expect(isnan(mn_bf16_to_f32(mn_f32_to_bf16(NAN))));
    union {
        uint32_t u;
        float f;
    } quiet = {0x7f800001u}; // would become infinity if it were rounded
    cr_expect(isnan(mn_bf16_to_f32(mn_f32_to_bf16(quiet.f))));
    cr_expect_eq(mn_f32_to_bf16(INFINITY), 0x7f80);
    cr_expect_eq(mn_f32_to_bf16(3.4028235e38f), 0x7f80);
}

Test(shape, counts_and_text)
{
    char text[32];
    mn_shape s = MN_SHAPE(8, 3, 192);
    cr_expect_eq(mn_count(s), 4608);
    cr_expect_eq(mn_rows(s), 24);
    cr_expect_eq(mn_last(s), 192);
    cr_expect_str_eq(mn_shape_text(s, text, sizeof text), "(8, 3, 192)");
    cr_expect_str_eq(mn_shape_text((mn_shape){0}, text, sizeof text), "()");
    cr_expect_str_eq(mn_shape_text(s, text, 5), "(8, ");
    cr_expect_eq(mn_count((mn_shape){0}), 1);
    cr_expect(mn_shape_equal(s, MN_SHAPE(8, 3, 192)) && !mn_shape_equal(s, MN_SHAPE(8, 3)));
    cr_expect_eq(mn_dtype_size(MN_BF16), 2);
    cr_expect_str_eq(mn_dtype_name(MN_I64), "i64");
}

Test(mem, sizes_are_checked)
{
    size_t bytes;
    cr_expect_eq(mn_mul_size(SIZE_MAX / 2, 3, &bytes), MN_EMEM);
    cr_expect_eq(mn_mul_size(6, 7, &bytes), MN_OK);
    cr_expect_eq(bytes, 42);
    void *p;
    cr_expect_eq(mn_large_alloc(&p, SIZE_MAX - 5, "arena"), MN_EMEM);
    cr_expect_eq(strncmp(mn_errmsg(), "arena: ", 7), 0);
}

Test(mem, a_list_grows_when_it_is_full)
{
    int64_t *list = NULL, capacity = 0, moves = 0;
    for (int64_t n = 0; n < 1000; n++) {
        int64_t before = capacity;
        list = mn_grow(list, n, &capacity, sizeof *list);
        cr_assert_gt(capacity, n);
        moves += capacity != before;
        list[n] = n;
    }
    for (int64_t i = 0; i < 1000; i++)
        cr_assert_eq(list[i], i);
    cr_assert_leq(moves, 10, "%lld", (long long)moves);
    free(list);
}

Test(mem, large_is_aligned_and_writable)
{
    static const size_t sizes[] = {0, 1, 63, 64, 4097, (2u << 20) - 1, 2u << 20, (5u << 20) + 13};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *p;
        cr_assert_eq(mn_large_alloc(&p, sizes[i], "test"), MN_OK);
        cr_expect_eq((uintptr_t)p % 64, 0);
        memset(p, 1, sizes[i]);
        mn_large_free(p, sizes[i]);
    }
}

Test(mem, strings)
{
    char *text = mn_sprintf("%d-%s", 5, "x");
    cr_expect_str_eq(text, "5-x");
    free(text);
}

Test(clock, is_monotonic_and_formats)
{
    double a = mn_seconds(), b = mn_seconds();
    cr_expect(b >= a);
    char text[32];
    mn_utc_text(text, sizeof text);
    cr_expect_eq(strlen(text), 20);
    cr_expect(text[4] == '-' && text[10] == 'T' && text[19] == 'Z');
}

static void *log_lines(void *name)
{
    for (int i = 0; i < 200; i++)
        mn_info("%s line %d of a text that is long enough to be cut by a careless writer", (const char *)name, i);
    return NULL;
}

static char *read_back(FILE *f, long *size)
{
    fseek(f, 0, SEEK_END);
    *size = ftell(f);
    rewind(f);
    char *text = calloc((size_t)*size + 1, 1);
    cr_assert_eq(fread(text, 1, (size_t)*size, f), (size_t)*size);
    return text;
}

Test(log, lines_do_not_interleave)
{
    char path[] = "log_test_XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    mn_log_level(MN_ERROR);
    cr_assert_eq(mn_log_open(path), MN_OK);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, log_lines, (char *[]){"a", "b", "c", "d"}[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    mn_warn("two\nlines");
    mn_log_rank(3);
    mn_info("not written by rank 3");
    mn_warn("from three");
    mn_log_close();
    FILE *f = fdopen(fd, "r");
    long size;
    char *text = read_back(f, &size), *rest = text;
    int lines = 0;
    for (char *line; (line = strsep(&rest, "\n")) && *line; lines++) {
        if (lines < 800)
            cr_expect(strlen(line) > 70 && !strcmp(line + strlen(line) - 15, "careless writer"), "%s", line);
        if (lines == 800) cr_expect_str_eq(line + 21, "warning: two lines");
        if (lines == 801) cr_expect_str_eq(line + 21, "[rank 3] warning: from three");
    }
    cr_expect_eq(lines, 802);
    free(text);
    fclose(f);
    unlink(path);
}

Test(fault, counts_passages)
{
    setenv("MIEN_FAULT", "a.b:2=fail,c:0=nan,d:1@1=fail,e:1=full", 1);
    mn_fault_init(0);
    cr_expect_eq(mn_fault("a.b"), 0);
    cr_expect_eq(mn_fault("a.b"), 1);
    cr_expect_eq(mn_fault("a.b"), 0);
    cr_expect(mn_fault("c") == 2 && mn_fault("c") == 2);
    cr_expect_eq(mn_fault("d"), 0);
    cr_expect_eq(mn_fault("e"), 3);
    cr_expect_eq(mn_fault("other"), 0);
    mn_fault_init(1);
    cr_expect_eq(mn_fault("d"), 1);
    unsetenv("MIEN_FAULT");
    mn_fault_init(0);
    cr_expect_eq(mn_fault("c"), 0);
}

Test(fault, kills, .signal = SIGKILL)
{
    setenv("MIEN_FAULT", "x:1=kill", 1);
    mn_fault_init(0);
    (void)mn_fault("x");
}

Test(fault, refuses_what_it_cannot_read)
{
    static const char *const bad[] = {"x", "x:1", "x:=kill", "x:1=explode", "x:1@=kill", "x:1=kill ", "x:1@0@1=kill"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        pid_t child = fork();
        if (child == 0) {
            setenv("MIEN_FAULT", bad[i], 1);
            mn_log_level((mn_level)(MN_ERROR + 1));
            mn_fault_init(0);
            _exit(0);
        }
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 64, "%s", bad[i]);
    }
}
