// Sound as log-mel spectra or MFCC: features without a network, for systems that have one of their own on top of them.
// Nothing is trained here; mien extract needs no weights.
#include "data/mel.h"
#include "data/tracks.h"
#include "nn/base/mem.h"
#include "recipes/pictures.h"

#include <stdio.h>
#include <stdlib.h>

enum { VGGISH, LOGMEL, MFCC };
enum { TORCHAUDIO, LIBROSA };

typedef struct conf {
    int front, style;
    double window_ms, hop_ms, low, high, patch_hop_ms;
    int64_t fft, bands, coefficients, patch;
    data_mel_cfg mel; // from the options
} conf;

static const char *const fronts[] = {"vggish", "logmel", "mfcc", NULL};
static const char *const styles[] = {"torchaudio", "librosa", NULL};

static const mn_option options[] = {
    MN_OPT_ENUM(conf, front, "sound.front", "vggish", fronts, 0,
                "vggish: 64 bands of 125-7500 Hz, ln(x + 0.01), each 10 ms; else in decibels"),
    MN_OPT_ENUM(conf, style, "sound.style", "torchaudio", styles, 0,
                "whose definition and defaults logmel and mfcc have; those of vggish are its own"),
    MN_OPT_FLOAT(conf, window_ms, "sound.window_ms", "0", 0, 1000, 0, "of a column; 0: of the style"),
    MN_OPT_FLOAT(conf, hop_ms, "sound.hop_ms", "0", 0, 10000, 0,
                 "from column to column, 1000 / fps for one a video frame; 0: of the style"),
    MN_OPT_INT(conf, fft, "sound.fft", "0", 0, 65536, 0, "samples; 0: of the style, or what the window needs"),
    MN_OPT_INT(conf, bands, "sound.bands", "0", 0, 1024, 0, "mel bands; 0: of the style"),
    MN_OPT_FLOAT(conf, low, "sound.low", "-1", -1, 8000, 0, "Hz, where the bands begin; -1: of the style"),
    MN_OPT_FLOAT(conf, high, "sound.high", "0", 0, 8000, 0, "Hz, where they end; 0: of the style"),
    MN_OPT_INT(conf, coefficients, "sound.coefficients", "0", 0, 1024, 0, "of mfcc; 0: of the style, 40 or 20"),
    MN_OPT_INT(conf, patch, "sound.patch", "0", 0, 10000, 0,
               "columns that make one vector; VGGish takes 96, which is better cut when they are read; 0: one"),
    MN_OPT_FLOAT(conf, patch_hop_ms, "sound.patch_hop_ms", "0", 0, 100000, 0, "from patch to patch; 0: its length"),
    {0},
};

static int64_t even_samples(double ms)
{
    return 2 * (int64_t)(ms * DATA_SOUND_RATE / 2000 + 0.5);
}

static void apply_options(conf *c)
{
    data_mel_cfg *m = &c->mel;
    data_spectrum_cfg *s = &m->spectrum;
    *m = c->front == VGGISH ? data_mel_vggish() : c->style == LIBROSA ? data_mel_librosa() : data_mel_torchaudio();
    if (c->window_ms > 0) s->window = even_samples(c->window_ms);
    if (c->window_ms > 0) s->fft = s->window > s->fft || c->front != VGGISH ? s->window : s->fft;
    if (c->fft) s->fft = c->fft;
    if (c->hop_ms > 0) s->hop = c->hop_ms * DATA_SOUND_RATE / 1000;
    if (c->bands) m->bands = c->bands;
    if (c->low >= 0) m->low = c->low;
    if (c->high > 0) m->high = c->high;
    if (c->front == MFCC) m->coefficients = c->coefficients ? c->coefficients : c->style == LIBROSA ? 20 : 40;
}

static mn_err check(mien_job *j)
{
    conf *c = j->conf;
    data_mel *m;
    if (j->common.data.n != 1) return mn_recipe_fail(j->recipe, "data", "sound is read from exactly one dataset");
    apply_options(c);
    if (data_mel_open(&m, &c->mel) != MN_OK) return mn_recipe_fail(j->recipe, "sound.front", "%s", mn_errmsg());
    data_mel_close(m);
    return MN_OK;
}

static mn_err open_set(mien_job *j, mien_use use, const char *split, data_set **out)
{
    (void)use;
    (void)split;
    *out = NULL;
    return mn_fail(MN_ECONFIG, "%s: task sound has no network; what it makes is written by mien extract", j->path);
}

static void features_of(const mien_job *j, char *text, size_t size)
{
    const conf *c = j->conf;
    const data_mel_cfg *m = &c->mel;
    int n = snprintf(text, size, "%s%s%s, window %lld, FFT %lld, each %.9g samples, %lld bands of %.9g-%.9g Hz",
                     fronts[c->front], c->front == VGGISH ? "" : " of ", c->front == VGGISH ? "" : styles[c->style],
                     (long long)m->spectrum.window, (long long)m->spectrum.fft, m->spectrum.hop, (long long)m->bands,
                     m->low, m->high);
    if (m->coefficients) n += snprintf(text + n, size - (size_t)n, ", %lld coefficients", (long long)m->coefficients);
    if (c->patch)
        snprintf(text + n, size - (size_t)n, ", patches of %lld each %.9g ms", (long long)c->patch, c->patch_hop_ms);
}

// --- tracks ---

typedef struct work { // memory that grows to the longest track
    data_mel *mel;
    int16_t *pcm;
    float *x, *patch;
    int64_t *t_us;
    int64_t samples, columns, patches;
} work;

static void make_room(work *w, int64_t samples, int64_t columns)
{
    if (samples > w->samples) {
        w->samples = samples;
        w->pcm = mn_realloc(w->pcm, (size_t)samples, sizeof *w->pcm);
    }
    if (columns > w->columns) {
        w->columns = columns;
        w->x = mn_realloc(w->x, (size_t)columns, (size_t)data_mel_dim(w->mel) * sizeof *w->x);
        w->t_us = mn_realloc(w->t_us, (size_t)columns, sizeof *w->t_us);
    }
}

// Turns the columns of t into patches; the time of one is its middle.
static void cut_patches(work *w, const conf *c, data_track *t)
{
    double hop_ms = c->mel.spectrum.hop * 1000 / c->mel.rate;
    double step = c->patch_hop_ms > 0 ? c->patch_hop_ms / hop_ms : (double)c->patch;
    int64_t n = data_patches(t->frames, c->patch, step), size = c->patch * t->dim;
    if (n > w->patches) {
        w->patches = n;
        w->patch = mn_realloc(w->patch, (size_t)n, (size_t)size * sizeof *w->patch);
    }
    for (int64_t p = 0; p < n; p++) {
        int64_t first = data_patch_first(p, step);
        data_patch(t->x, t->dim, c->patch, step, p, w->patch + p * size);
        w->t_us[p] = (data_mel_us(w->mel, first) + data_mel_us(w->mel, first + c->patch - 1)) / 2;
    }
    *t = (data_track){.video = t->video, .frames = n, .dim = size, .x = w->patch, .t_us = w->t_us};
}

static mn_err do_track(work *w, const conf *c, data_tracks *tracks, int64_t k, mien_each_track *each, void *context)
{
    int64_t samples = data_tracks_samples(tracks, k), n = data_mel_columns(w->mel, samples);
    make_room(w, samples, n);
    MN_TRY(data_tracks_pcm(tracks, k, 0, samples, w->pcm));
    data_mel_run(w->mel, w->pcm, samples, w->x);
    for (int64_t i = 0; i < n; i++)
        w->t_us[i] = data_mel_us(w->mel, i);
    data_track t = {
        .video = data_tracks_name(tracks, k), .frames = n, .dim = data_mel_dim(w->mel), .x = w->x, .t_us = w->t_us};
    if (c->patch > 0) cut_patches(w, c, &t);
    return t.frames > 0 ? each(context, &t) : MN_OK;
}

static mn_err tracks_of(mien_job *j, const char *split, mien_each_track *each, void *context)
{
    const conf *c = j->conf;
    work w = {0};
    data_tracks *tracks = NULL;
    char *dir = mien_data_path(j, ((const mien_part *)j->common.data.v)->set);
    mn_err err;
    MN_TRY_OUT(err, data_mel_open(&w.mel, &c->mel));
    MN_TRY_OUT(err, data_tracks_open(&tracks, dir, mien_split(split), DATA_TASKS));
    for (int64_t k = 0; k < data_tracks_count(tracks); k++)
        if (mien_is_mine(j, k, data_tracks_name(tracks, k))) MN_TRY_OUT(err, do_track(&w, c, tracks, k, each, context));
out:
    data_tracks_close(tracks);
    data_mel_close(w.mel);
    free(w.pcm);
    free(w.x);
    free(w.patch);
    free(w.t_us);
    free(dir);
    return err;
}

const mien_task mien_task_sound = {.name = "sound",
                                   .options = options,
                                   .conf_bytes = sizeof(conf),
                                   .check = check,
                                   .open = open_set,
                                   .features = features_of,
                                   .tracks = tracks_of};
