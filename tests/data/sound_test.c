#include "data/chunks.h"
#include "data/loader.h"
#include "data/sound.h"
#include "nn/base/mem.h"
#include "shard_support.h"
#include "videos_support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

enum { VIDEOS = 9, WAVE = 4800 };
static const made_corpus corpus = {.shards = 3, .videos_each = 3, .frames = 40};

static char *corpus_folder(void)
{
    char *dir = support_folder();
    made_write(dir, &corpus);
    return dir;
}

static int video_number(const data_video *v)
{
    for (int i = 0; i < VIDEOS; i++) {
        char name[32];
        made_name(i, name, sizeof name);
        if (strcmp(name, v->name) == 0) return i;
    }
    return -1;
}

// wav2vec2's normalisation over the samples that exist, in double.
static void check_wave(const float *have, int64_t n, int file, int64_t first)
{
    double mean = 0, square = 0;
    int64_t total = made_samples(&corpus, file), count = 0;
    for (int64_t i = first; i < first + n; i++)
        if (i >= 0 && i < total) {
            mean += made_sample(file, i) / 32768.0;
            count++;
        }
    mean /= (double)(count ? count : 1);
    for (int64_t i = first; i < first + n; i++)
        if (i >= 0 && i < total) square += pow(made_sample(file, i) / 32768.0 - mean, 2);
    double deviation = sqrt(square / (double)(count ? count : 1) + 1e-7);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = first + i;
        double want = at >= 0 && at < total ? (made_sample(file, at) / 32768.0 - mean) / deviation : 0;
        cr_assert(fabs((double)have[i] - want) < 1e-4, "file %d sample %lld: %g, not %g", file, (long long)at,
                  (double)have[i], want);
    }
}

Test(sound, waves_are_centred_at_labelled_frames)
{
    char *dir = corpus_folder();
    data_sound_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_VA, .labelled = 1},
                          .seconds = (double)WAVE / DATA_SOUND_RATE};
    data_set *s;
    must(data_sound_open(&s, &cfg));
    cr_assert(s->n_fields == 3 && s->weight_field == 2);
    cr_assert_eq(mn_count(s->field[data_set_field(s, "wave")].shape), WAVE);
    int64_t used = 0, silent = 0;
    for (int v = 0; v < VIDEOS; v++)
        for (int f = 1; f <= made_frames(&corpus, v) && made_split(v, DATA_VA) == DATA_SPLIT_TRAIN; f++) {
            if (isnan(made_va(v, f, 0))) continue;
            used += made_has_sound(v);
            silent += !made_has_sound(v);
        }
    data_select_counts n = data_selection_counts(data_sound_selection(s));
    cr_assert_gt(silent, 0);
    cr_assert(s->count == used && n.no_sound == silent && n.no_picture == 0, "%s",
              data_selection_text(data_sound_selection(s)));
    void *scratch;
    must(s->ops->scratch_open(s, &scratch));
    static float wave[WAVE];
    for (int64_t i = 0; i < s->count; i++) {
        float target[2], weight;
        data_frame f;
        must(s->ops->read(s, scratch, i, (data_draw){0}, (void *[]){wave, target, &weight}));
        data_selection_at(data_sound_selection(s), i, &f);
        int v = video_number(f.video);
        cr_assert(target[0] == made_va(v, f.frame, 0) && target[1] == made_va(v, f.frame, 1) && weight == 1);
        check_wave(wave, WAVE, made_file(v), f.t_us * 16 / 1000 - WAVE / 2);
    }
    s->ops->scratch_close(s, scratch);
    data_set_close(s);
    support_remove(dir);
}

// A sound shard without a checked record must not give out one wrong sample.
Test(sound, damage_is_found_before_the_first_sample)
{
    char *dir = corpus_folder(), *path = mn_sprintf("%s/made-all-audio-00000-of-00001.h5", dir);
    data_sound_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_EXPR, .labelled = 1}, .seconds = 0.5};
    data_set *s;
    must(data_sound_open(&s, &cfg));
    size_t size, at = 0;
    unsigned char *bytes = support_read(path, &size);
    int16_t first[8];
    for (int i = 0; i < 8; i++)
        first[i] = made_sample(0, i);
    while (memcmp(bytes + at, first, sizeof first) != 0)
        at++;
    bytes[at + 40000] ^= 1; // of the first track, far from its first frames
    support_write(path, bytes, size);
    free(bytes);
    data_loader *l;
    const data_batch *b;
    must(data_loader_open(&l, &(data_loader_cfg){.set = s, .batch = 4, .world = 1, .threads = 2}, (data_state){0}));
    cr_assert_eq(data_loader_next(l, &b), MN_EDATA);
    cr_assert(strstr(mn_errmsg(), "audio-00000") != NULL, "%s", mn_errmsg());
    data_loader_close(l);
    data_set_close(s);
    free(path);
    support_remove(dir);
}

// Laid end to end, what counts of the chunks is every token of every track once, in order.
static void check_chunks(const char *dir, const data_chunks_cfg *cfg)
{
    data_set *s;
    must(data_chunks_open(&s, cfg));
    int64_t track = -1, next = 0, tokens = data_chunks_tokens(s), tracks = 0;
    size_t samples = (size_t)mn_count(s->field[0].shape);
    float *wave = mn_calloc(samples, sizeof *wave), *valid = mn_calloc((size_t)tokens, sizeof *valid), weight;
    void *scratch;
    (void)dir;
    must(s->ops->scratch_open(s, &scratch));
    for (int64_t i = 0; i < s->count; i++) {
        data_chunk c;
        data_chunks_at(s, i, &c);
        if (c.track != track) next = 0;
        track = c.track;
        int file = atoi(c.name + 1);
        cr_assert_eq(c.first, next, "token %lld follows %lld", (long long)c.first, (long long)next);
        cr_assert(c.from >= 0 && c.tokens >= 1 && c.from + c.tokens <= tokens);
        cr_assert_eq(c.track_tokens, (made_samples(&corpus, file) - cfg->field) / cfg->hop + 1);
        next += c.tokens;
        tracks += c.last;
        cr_assert_eq(c.last, next == c.track_tokens);
        must(s->ops->read(s, scratch, i, (data_draw){0}, (void *[]){wave, valid, &weight}));
        check_wave(wave, (int64_t)samples, file, (c.first - c.from) * cfg->hop);
        for (int64_t t = 0; t < tokens; t++)
            cr_assert_eq(valid[t], (float)(c.first - c.from + t < c.track_tokens));
    }
    cr_assert_eq(tracks, 5, "%lld tracks", (long long)tracks);
    s->ops->scratch_close(s, scratch);
    free(wave);
    free(valid);
    data_set_close(s);
}

Test(sound, chunks_cover_every_token_once)
{
    char *dir = corpus_folder();
    static const double seconds[][2] = {{0.5, 0.1}, {0.3, 0.02}, {1, 0.5}, {20, 1}};
    static const int64_t nets[][2] = {{320, 400}, {160, 640}, {100, 100}};
    for (int k = 0; k < 4; k++)
        for (int n = 0; n < 3; n++) {
            data_chunks_cfg cfg = {.dir = dir,
                                   .task = DATA_TASKS,
                                   .seconds = seconds[k][0],
                                   .overlap = seconds[k][1],
                                   .hop = nets[n][0],
                                   .field = nets[n][1]};
            if (cfg.overlap * DATA_SOUND_RATE >= (double)cfg.field) check_chunks(dir, &cfg);
        }
    support_remove(dir);
}

Test(sound, the_published_grid)
{
    char *dir = corpus_folder();
    data_set *s;
    must(data_chunks_open(&s, &(data_chunks_cfg){.dir = dir, .task = DATA_TASKS}));
    cr_assert_eq(mn_count(s->field[0].shape), 320000);
    cr_assert_eq(data_chunks_tokens(s), 999);
    cr_assert(data_chunks_us(s, 0) == 12500 && data_chunks_us(s, 1) == 32500);
    data_set_close(s);
    data_chunks_cfg bad = {.dir = dir, .task = DATA_TASKS, .seconds = 1, .overlap = 1};
    cr_assert_eq(data_chunks_open(&s, &bad), MN_ECONFIG);
    bad.overlap = 0; // 49 frames of 400 samples in 16000, one short of the next chunk
    cr_assert_eq(data_chunks_open(&s, &bad), MN_ECONFIG);
    support_remove(dir);
}
