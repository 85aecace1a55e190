// The data plane at any size: makes pictures that spell their own number, and reads shards of them as ranks of a training
// would. Called by scale.sh.
//
//     scale make N DIR                  N pictures as MXNet RecordIO (mien data import casia-webface)
//     scale rate SRC OUT                what an import costs a core, beside decoding alone
//     scale limit MIB COMMAND ...       runs a command; fails when it does, or needs more memory
//     scale read N SHARDS               two epochs on 4 ranks, and what must not depend on the number of ranks
//
// A picture is 64 x 64 pixels, 8 x 8 fields, dark or bright: 32 bits of its number and the same inverted. So a number is
// read from the pixels that a batch has, behind shards, order, decoder, augmentation and ring.
#include "data/frames.h"
#include "data/image.h"
#include "data/import.h"
#include "data/loader.h"
#include "data/shard.h"
#include "nn/base/clock.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

enum {
    SIDE = 64,
    CELL = 8,
    QUALITY = 85,
    NOISE = 16,
    BATCH = 250,
    EPOCHS = 2,
    RANKS = 4,
    AGAIN = 12,
    SEED = 7,
    RATED = 20000,
    TRIES = 3
};
static const double START_S = 2, INDEX_BYTES = 64, HEADERS_LEAST = 5000, WHOLE_LEAST = 0.8;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "scale: %s\n", what);
    exit(1);
}

static void must(mn_err err)
{
    if (err != MN_OK) fail(mn_errmsg());
}

// Making

static void draw(uint32_t number, const int8_t *noise, uint8_t *rgb)
{
    uint64_t bits = number | (uint64_t)~number << 32;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int cell = y / CELL * (SIDE / CELL) + x / CELL;
            uint8_t v = (uint8_t)((bits >> cell & 1 ? 190 : 65) + noise[y * SIDE + x]);
            memset(rgb + 3 * (y * SIDE + x), v, 3);
        }
}

static void write_u32(FILE *f, uint32_t v)
{
    (void)fwrite(&v, sizeof(v), 1, f); // errors stay: asked for at the end
}

// A record, in parts where it holds the format's magic number at a multiple of 4 (dmlc-core's recordio.h).
static void write_record(FILE *rec, FILE *idx, int64_t key, const uint8_t *bytes, size_t size)
{
    static const uint32_t magic = 0xced7230a;
    size_t from = 0, parts = 0;
    (void)fprintf(idx, "%lld\t%lld\n", (long long)key, (long long)ftello(rec));
    for (size_t at = 0; at <= size; at += 4) {
        int last = at + 4 > size;
        if (!last && memcmp(bytes + at, &magic, 4) != 0) continue;
        size_t to = last ? size : at;
        uint32_t part = last ? (parts ? 3 : 0) : parts ? 2 : 1;
        write_u32(rec, magic);
        write_u32(rec, part << 29 | (uint32_t)(to - from));
        (void)fwrite(bytes + from, 1, to - from, rec);
        (void)fwrite("\0\0\0", 1, (4 - (to - from) % 4) % 4, rec);
        from = at + 4;
        parts++;
    }
}

static size_t put_head(uint8_t *to, int64_t key, uint32_t labels, float first, float second)
{
    float flag = labels ? 0 : first;
    uint64_t ids[2] = {(uint64_t)key, 0};
    memcpy(to, &labels, 4);
    memcpy(to + 4, &flag, 4);
    memcpy(to + 8, ids, 16);
    if (labels) memcpy(to + 24, &first, 4);
    if (labels) memcpy(to + 28, &second, 4);
    return 24 + 4 * (size_t)labels;
}

static FILE *create(const char *dir, const char *name)
{
    char *path = mn_sprintf("%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f) fail(path);
    free(path);
    return f;
}

static void make(int64_t n, const char *dir)
{
    static int8_t noise[NOISE][SIDE * SIDE];
    static uint8_t rgb[SIDE * SIDE * 3], record[1 << 16];
    FILE *rec = create(dir, "train.rec"), *idx = create(dir, "train.idx");
    uint32_t state = 1;
    data_coder *c;
    must(data_coder_open(&c));
    for (int k = 0; k < NOISE * SIDE * SIDE; k++) {
        state = state * 1664525 + 1013904223;
        noise[k / (SIDE * SIDE)][k % (SIDE * SIDE)] = (int8_t)((int)(state >> 28) - 8);
    }
    size_t size = put_head(record, 0, 2, (float)(n + 1), (float)(n + 1));
    write_record(rec, idx, 0, record, size);
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *jpeg;
        size_t head = put_head(record, i + 1, 0, (float)i, 0);
        draw((uint32_t)i, noise[(uint64_t)i * 7 % NOISE], rgb);
        must(data_jpeg_encode(c, rgb, SIDE, SIDE, QUALITY, 0, &jpeg, &size));
        if (head + size > sizeof(record)) fail("a picture is too large");
        memcpy(record + head, jpeg, size);
        write_record(rec, idx, i + 1, record, head + size);
    }
    data_coder_close(c);
    if (ferror(rec) || ferror(idx) || fclose(rec) != 0 || fclose(idx) != 0) fail("cannot write");
}

// Rates

static double processor_seconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double import_rate(const char *src, const char *out, int headers_only)
{
    data_import_cfg cfg = {.kind = "casia-webface", .src = src, .out = out, .limit = RATED, .jobs = 1};
    data_import_report r;
    cfg.headers_only = headers_only;
    double began = processor_seconds();
    must(data_import(&cfg, &r));
    double rate = (double)json_integer_value(json_object_get(r.json, "records")) / (processor_seconds() - began);
    data_import_report_free(&r);
    return rate;
}

// Pictures of a shard, decoded whole to RGB by libjpeg-turbo.
static double decode_rate(const char *dir)
{
    static uint8_t bytes[1 << 20];
    data_folder *f;
    data_coder *c;
    data_image im = {0};
    double seconds = 0;
    int64_t n = 0;
    must(data_coder_open(&c));
    must(data_folder_open(&f, dir, NULL, DATA_TASKS, "image"));
    for (; n < data_folder_count(f) && n < RATED; n++) {
        int64_t record;
        size_t size;
        const data_shard *s = data_folder_at(f, n, &record);
        must(data_shard_read(s, record, bytes, sizeof(bytes), &size));
        double began = processor_seconds();
        must(data_image_decode(c, bytes, size, 0, &im));
        seconds += processor_seconds() - began;
    }
    data_folder_close(f);
    data_image_release(&im);
    data_coder_close(c);
    return (double)n / seconds;
}

// The best of some tries: another program on the same core takes from one and not from the other.
static void rate(const char *src, const char *out)
{
    double fast = 0, share = 0;
    mn_log_level(MN_WARN);
    for (int k = 0; k < TRIES && (fast < HEADERS_LEAST || share < WHOLE_LEAST); k++) {
        char *headers = mn_sprintf("%s/headers%d", out, k), *whole = mn_sprintf("%s/whole%d", out, k);
        fast = import_rate(src, headers, 1);
        double slow = import_rate(src, whole, 0), decode = decode_rate(whole);
        share = slow / decode;
        fprintf(stderr,
                "scale: a second of a core: %.0f records by headers, %.0f whole, %.2f of decoding alone (%.0f)\n", fast,
                slow, share, decode);
        free(headers);
        free(whole);
    }
    // Told, not judged: a test must not depend on what else the machine does.
    if (fast < HEADERS_LEAST) fprintf(stderr, "scale: importing by headers is slower than it should be\n");
    if (share < WHOLE_LEAST) fprintf(stderr, "scale: importing whole pictures is slower than it should be\n");
}

// Memory of a command

static int limit(double mib, char **command)
{
    struct rusage u;
    int status;
    double start = mn_seconds();
    pid_t child = fork();
    if (child < 0) fail("fork");
    if (child == 0) {
        (void)execvp(command[0], command);
        _exit(127);
    }
    if (waitpid(child, &status, 0) != child || getrusage(RUSAGE_CHILDREN, &u) != 0) fail("waitpid");
    double peak = (double)u.ru_maxrss / 1024, seconds = mn_seconds() - start;
    double cpu =
        (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
    fprintf(stderr, "scale: %.1f s, %.1f s of processors, %.0f MiB at most\n", seconds, cpu, peak);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (peak > mib) fail("more memory than allowed");
    return 0;
}

// Reading

typedef struct shared { // between the ranks, which are processes
    atomic_llong unread, wrong, repeated, unequal, batches;
} shared;

static int64_t samples, steps;         // of an epoch
static shared *all;                    // the rest is in the same mapping
static _Atomic uint64_t *seen;         // (EPOCHS, samples / 64): numbers read from pixels
static _Atomic uint64_t *step_ids;     // (EPOCHS, steps): the loader's digest of the global batch, 0: not yet
static _Atomic uint64_t *step_sum;     // (EPOCHS, steps): of the local rows of all ranks, whatever their order
static _Atomic uint64_t *step_samples; // (EPOCHS, steps, RANKS): digest of the rows' pixels

static void *map(size_t n, size_t each)
{
    void *p = mmap(NULL, n * each + 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) fail("no memory");
    return p;
}

static data_set *open_pictures(const char *dir)
{
    data_set *s;
    data_frames_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_TASKS, .columns = DATA_KEEP_IDENTITY},
                           .augment = {.size = SIDE, .train = 1, .std = {1, 1, 1}}};
    must(data_frames_open(&s, &cfg));
    if (s->count != samples) fail("another number of samples than were made");
    return s;
}

static data_loader *open_loader(data_set *s, int rank, int world, data_state at)
{
    data_loader *l;
    data_loader_cfg cfg = {
        .set = s, .batch = BATCH, .rank = rank, .world = world, .threads = 1, .ahead = 2, .train = 1};
    must(data_loader_open(&l, &cfg, at));
    if (data_loader_batches(l) != steps) fail("another number of steps than expected");
    return l;
}

// The number that a picture of a batch spells, -1: none.
static int64_t number_of(const float *rgb)
{
    uint64_t bits = 0;
    for (int cell = 0; cell < SIDE; cell++) {
        int y = cell / CELL * CELL + CELL / 2, x = cell % CELL * CELL + CELL / 2;
        bits |= (uint64_t)(rgb[3 * (y * SIDE + x)] > 0.5f) << cell;
    }
    return (uint32_t)bits == (uint32_t) ~(bits >> 32) ? (int64_t)(uint32_t)bits : -1;
}

static void check_row(const data_set *s, const float *rgb, int64_t index, int64_t epoch)
{
    data_frame f;
    int64_t number = number_of(rgb);
    data_selection_at(data_frames_selection(s), index, &f);
    if (number < 0 || number >= samples) {
        atomic_fetch_add(&all->unread, 1);
        return;
    }
    if (atoll(data_shard_name(f.shard, f.record)) != number + 1) atomic_fetch_add(&all->wrong, 1); // its key
    uint64_t bit = (uint64_t)1 << number % 64;
    if (atomic_fetch_or(&seen[epoch * (samples / 64 + 1) + number / 64], bit) & bit)
        atomic_fetch_add(&all->repeated, 1);
}

static uint64_t sum_of(const data_set *s, const data_batch *b)
{
    uint64_t sum = 0;
    for (int64_t r = 0; r < b->rows; r++) {
        uint64_t id = s->ops->id(s, b->index[r]);
        sum += XXH3_64bits(&id, sizeof(id));
    }
    return sum;
}

static uint64_t pixels_of(const data_batch *b)
{
    return XXH3_64bits(b->field[0], b->bytes[0]) | 1;
}

static void read_all(const char *dir, int rank)
{
    data_set *s = open_pictures(dir);
    data_loader *l = open_loader(s, rank, RANKS, (data_state){SEED, 0, 0});
    for (int64_t k = 0; k < EPOCHS * steps; k++) {
        const data_batch *b;
        uint64_t first = 0;
        must(data_loader_next(l, &b));
        for (int64_t r = 0; r < b->rows; r++)
            check_row(s, (const float *)b->field[0] + r * SIDE * SIDE * 3, b->index[r], k / steps);
        if (!atomic_compare_exchange_strong(&step_ids[k], &first, b->ids) && first != b->ids)
            atomic_fetch_add(&all->unequal, 1);
        atomic_fetch_add(&step_sum[k], sum_of(s, b));
        step_samples[k * RANKS + rank] = pixels_of(b);
        data_loader_release(l, b);
        atomic_fetch_add(&all->batches, 1);
    }
    data_loader_close(l);
    data_set_close(s);
}

// A set of the same samples that reads no picture: for the order alone.
typedef struct order_set {
    data_set base;
    const data_set *pictures;
} order_set;

static mn_err read_nothing(data_set *s, void *scratch, int64_t index, data_draw draw_, void *const *field)
{
    (void)scratch;
    (void)index;
    (void)draw_;
    *(float *)field[s->weight_field] = 1;
    return MN_OK;
}

static uint64_t id_of(const data_set *s, int64_t index)
{
    const data_set *p = ((const order_set *)s)->pictures;
    return p->ops->id(p, index);
}

static void close_nothing(data_set *s)
{
    (void)s;
}

static _Atomic uint64_t *other_sum; // (EPOCHS, steps): of the ranks of another world

static void order_rank(const data_set *pictures, int rank, int world)
{
    static const data_set_ops ops = {.name = "order", .read = read_nothing, .id = id_of, .close = close_nothing};
    order_set s = {.base = *pictures, .pictures = pictures};
    s.base.ops = &ops;
    s.base.n_fields = 0;
    data_set_add_field(&s.base, "weight", MN_F32, (mn_shape){0});
    s.base.weight_field = 0;
    data_loader *l = open_loader(&s.base, rank, world, (data_state){SEED, 0, 0});
    for (int64_t k = 0; k < EPOCHS * steps; k++) {
        const data_batch *b;
        must(data_loader_next(l, &b));
        if (step_ids[k] != b->ids) atomic_fetch_add(&all->unequal, 1);
        atomic_fetch_add(&other_sum[k], sum_of(&s.base, b));
        data_loader_release(l, b);
    }
    data_loader_close(l);
}

static void order_world(const char *dir, int world)
{
    data_set *s = open_pictures(dir);
    memset((void *)(uintptr_t)other_sum, 0, (size_t)(EPOCHS * steps) * sizeof(*other_sum));
    for (int rank = 0; rank < world; rank++)
        order_rank(s, rank, world);
    for (int64_t k = 0; k < EPOCHS * steps; k++)
        if (other_sum[k] != step_sum[k]) atomic_fetch_add(&all->unequal, 1);
    data_set_close(s);
}

// From the middle of the second epoch: the same pixels as in the run that was not interrupted.
static void resume(const char *dir, int rank)
{
    int64_t from = steps + steps / 2;
    data_set *s = open_pictures(dir);
    data_loader *l = open_loader(s, rank, RANKS, (data_state){SEED, 1, steps / 2 * BATCH});
    for (int64_t k = from; k < from + AGAIN && k < EPOCHS * steps; k++) {
        const data_batch *b;
        must(data_loader_next(l, &b));
        if (step_ids[k] != b->ids || step_samples[k * RANKS + rank] != pixels_of(b)) atomic_fetch_add(&all->unequal, 1);
        data_loader_release(l, b);
    }
    data_loader_close(l);
    data_set_close(s);
}

static double resident_kib(void) // without pages of files, which the system may drop
{
    char line[256];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %lf", &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

// One process: how soon the first batch is there, and what the index takes.
static void start(const char *dir, int rank)
{
    const data_batch *b;
    (void)rank;
    double before = resident_kib(), began = mn_seconds();
    data_set *s = open_pictures(dir);
    double bytes = (resident_kib() - before) * 1024;
    data_loader *l = open_loader(s, 0, 1, (data_state){SEED, 0, 0});
    must(data_loader_next(l, &b));
    double seconds = mn_seconds() - began, each = bytes / (double)samples;
    fprintf(stderr, "scale: first batch after %.2f s, index %.1f bytes a record\n", seconds, each);
    data_loader_release(l, b);
    data_loader_close(l);
    data_set_close(s);
    if (seconds > START_S) fail("the start took too long");
    if (each > INDEX_BYTES && samples >= 1000000) fail("the index takes too much memory");
}

static void on_ranks(const char *dir, int ranks, void (*run)(const char *, int))
{
    pid_t child[RANKS];
    int bad = 0;
    for (int r = 0; r < ranks; r++) {
        child[r] = fork();
        if (child[r] < 0) fail("fork");
        if (child[r] == 0) {
            run(dir, r);
            _exit(0);
        }
    }
    for (int r = 0; r < ranks; r++) {
        int status;
        bad |= waitpid(child[r], &status, 0) != child[r] || status != 0;
    }
    if (bad) fail("a rank failed");
}

static void check_seen(void)
{
    for (int64_t e = 0; e < EPOCHS; e++) {
        int64_t n = 0;
        for (int64_t i = 0; i <= samples / 64; i++)
            n += __builtin_popcountll(seen[e * (samples / 64 + 1) + i]);
        fprintf(stderr, "scale: epoch %lld: %lld of %lld numbers seen\n", (long long)e, (long long)n,
                (long long)samples);
        if (n != samples) fail("some are missing");
    }
    fprintf(stderr, "scale: %lld repeated, %lld pictures not readable, %lld not those of their name\n",
            (long long)all->repeated, (long long)all->unread, (long long)all->wrong);
    if (all->repeated || all->unread || all->wrong) fail("samples are wrong");
    if (all->batches != EPOCHS * steps * RANKS) fail("batches are missing");
}

static int read_shards(int64_t n, const char *dir)
{
    samples = n;
    steps = n / BATCH;
    if (steps * BATCH != n || steps < 2 * AGAIN) fail("N is a multiple of 250, at least 6000");
    all = map(1, sizeof(*all));
    seen = map((size_t)(EPOCHS * (samples / 64 + 1)), 8);
    step_ids = map((size_t)(EPOCHS * steps), 8);
    step_sum = map((size_t)(EPOCHS * steps), 8);
    step_samples = map((size_t)(EPOCHS * steps * RANKS), 8);
    other_sum = map((size_t)(EPOCHS * steps), 8);
    on_ranks(dir, 1, start);
    double began = mn_seconds();
    on_ranks(dir, RANKS, read_all);
    fprintf(stderr, "scale: %d epochs on %d ranks in %.1f s\n", EPOCHS, RANKS, mn_seconds() - began);
    check_seen();
    on_ranks(dir, RANKS, resume);
    if (all->unequal) fail("ranks, or a resumed run, have other samples");
    static const int worlds[] = {1, 2, 4, 8};
    for (int k = 0; k < 4; k++) {
        pid_t child = fork();
        int status;
        if (child < 0) fail("fork");
        if (child == 0) {
            order_world(dir, worlds[k]);
            _exit(0);
        }
        if (waitpid(child, &status, 0) != child || status != 0) fail("reading the order failed");
        fprintf(stderr, "scale: %d ranks: %lld steps with other samples\n", worlds[k], (long long)all->unequal);
        if (all->unequal) fail("steps depend on the number of ranks");
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "make") == 0) {
        make(atoll(argv[2]), argv[3]);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "rate") == 0) {
        rate(argv[2], argv[3]);
        return 0;
    }
    if (argc > 3 && strcmp(argv[1], "limit") == 0) return limit(atof(argv[2]), argv + 3);
    if (argc == 4 && strcmp(argv[1], "read") == 0) return read_shards(atoll(argv[2]), argv[3]);
    fail("usage: scale make N DIR | rate SRC OUT | limit MIB COMMAND ... | read N SHARDS");
}
