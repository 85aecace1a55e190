// The sound front ends against torchvggish, librosa and torchaudio (tests/golden/audio.py), and their grids of time.
#include "data/mel.h"

#include "golden_file_support.h"
#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

enum { SAMPLES = 20000 };

// uniform("input.audio", ...) of tests/golden/golden.py.
static double uniform(int64_t i)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (const char *p = "input.audio"; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    uint64_t z = h + (uint64_t)i + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 40) * 0x1p-23 - 1;
}

static int16_t *scene(void)
{
    int16_t *x = mn_calloc(SAMPLES, sizeof *x);
    for (int64_t i = 0; i < SAMPLES; i++) {
        double t = (double)i / 16000, tone = sin(2 * M_PI * (200 * t + 1500 * t * t));
        if (i < 7000 || i >= 9000) x[i] = (int16_t)lrint(9000 * tone + 2500 * uniform(i));
    }
    return x;
}

// Windows of 400 in an FFT of 512, and everything else that the defaults do not show.
static data_mel_cfg own(void)
{
    data_mel_cfg c = data_mel_librosa();
    c.spectrum.window = 400;
    c.spectrum.fft = 512;
    c.spectrum.hop = 160;
    c.scale = DATA_MEL_HTK;
    c.bands = 64;
    c.low = 50;
    c.high = 7600;
    return c;
}

static const struct {
    const char *name;
    data_mel_cfg (*cfg)(void);
    int64_t coefficients;
} forms[] = {
    {"vggish", data_mel_vggish, 0},
    {"librosa.mel", data_mel_librosa, 0},
    {"librosa.mfcc", data_mel_librosa, 20},
    {"librosa.own", own, 40},
    {"torchaudio.mel", data_mel_torchaudio, 0},
    {"torchaudio.mfcc", data_mel_torchaudio, 40},
};

Test(mel, the_libraries_values)
{
    golden_file *g = golden_file_open("audio.safetensors");
    int16_t *pcm = scene();
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        data_mel_cfg cfg = forms[f].cfg();
        data_mel *m;
        int64_t count;
        cfg.coefficients = forms[f].coefficients;
        const float *want = golden_file_get(g, forms[f].name, &count);
        must(data_mel_open(&m, &cfg));
        int64_t n = data_mel_columns(m, SAMPLES) * data_mel_dim(m);
        cr_assert_eq(n, count, "%s: %lld values, not %lld", forms[f].name, (long long)n, (long long)count);
        float *have = mn_calloc((size_t)n, sizeof *have);
        double wrong = 0, norm = 0, most = 0;
        for (int twice = 0; twice < 2; twice++) // a plan is used again
            data_mel_run(m, pcm, SAMPLES, have);
        for (int64_t i = 0; i < n; i++) {
            double d = fabs((double)have[i] - (double)want[i]);
            wrong += d * d;
            norm += (double)want[i] * (double)want[i];
            most = d > most ? d : most;
        }
        double error = sqrt(wrong / norm);
        if (getenv("MIEN_TEST_FIGURES")) printf("%-16s L2 %.2g, largest difference %.2g\n", forms[f].name, error, most);
        cr_assert(error <= 1e-4, "%s: %.3g", forms[f].name, error);
        cr_assert(most <= (cfg.log == DATA_MEL_DB ? 2e-3 : 1e-4), "%s: %.3g", forms[f].name, most);
        free(have);
        data_mel_close(m);
    }
    free(pcm);
    golden_file_close(g);
}

// One column a video frame: column k lies round(k hop) samples from the begin, for ever.
Test(mel, a_step_of_one_video_frame_does_not_drift)
{
    data_mel_cfg cfg = data_mel_vggish();
    cfg.spectrum.hop = 16000 * 1001 / 30000.0;
    data_mel *m;
    must(data_mel_open(&m, &cfg));
    int64_t minute = 16000 * 60, n = data_mel_columns(m, minute);
    for (int64_t k = 0; k < n; k++)
        cr_assert_float_eq((double)data_mel_us(m, k), 12500 + (double)k * 1001e6 / 30000, 32, "column %lld",
                           (long long)k);
    cr_assert(data_mel_us(m, n - 1) <= 60000000 - 12500);
    cr_assert(data_mel_us(m, n) > 60000000 - 12500);
    cfg.spectrum.ends = DATA_ENDS_MIRROR;
    data_mel_close(m);
    must(data_mel_open(&m, &cfg));
    cr_assert(data_mel_us(m, 0) == 0 && data_mel_us(m, data_mel_columns(m, minute) - 1) <= 60000000);
    data_mel_close(m);
}

Test(mel, short_and_long_sounds)
{
    static const int64_t lengths[] = {0, 1, 2, 199, 200, 399, 400, 401, 559, 560};
    static const int64_t cut[] = {0, 0, 0, 0, 0, 0, 1, 1, 1, 2};
    static const int64_t middle[] = {0, 1, 1, 1, 2, 2, 3, 3, 3, 3};
    int16_t *pcm = scene();
    data_mel_cfg vggish = data_mel_vggish(), torch = data_mel_torchaudio();
    data_mel *a, *b;
    must(data_mel_open(&a, &vggish));
    must(data_mel_open(&b, &torch));
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        float x[3 * 128];
        // The sanitizers see a read beyond the end of a copy of exactly this length.
        int16_t *copy = mn_calloc((size_t)lengths[i] + 1, sizeof *copy), *exact = copy + 1;
        memcpy(exact, pcm, (size_t)lengths[i] * sizeof *copy);
        cr_assert_eq(data_mel_columns(a, lengths[i]), cut[i], "%lld samples", (long long)lengths[i]);
        cr_assert_eq(data_mel_columns(b, lengths[i]), middle[i], "%lld samples", (long long)lengths[i]);
        data_mel_run(a, exact, lengths[i], x);
        data_mel_run(b, exact, lengths[i], x);
        for (int64_t k = 0; k < middle[i] * 128; k++)
            cr_assert(isfinite(x[k]));
        free(copy);
    }
    data_mel_close(a);
    data_mel_close(b);
    free(pcm);
}

Test(mel, patches)
{
    float x[300 * 2], out[96 * 2];
    for (int i = 0; i < 600; i++)
        x[i] = (float)i;
    cr_assert(data_patches(95, 96, 96) == 0 && data_patches(96, 96, 96) == 1 && data_patches(300, 96, 96) == 3);
    cr_assert_eq(data_patches(300, 96, 100 / 30.0), 62); // 204 / 3.33 = 61.2
    data_patch(x, 2, 96, 100 / 30.0, 5, out);
    cr_assert(out[0] == 34 && out[191] == 34 + 191);                                           // column round(16.67)
    cr_assert(data_patch_first(3, 100 / 24.0) == 12 && data_patch_first(9, 100 / 24.0) == 38); // of 12.5 and 37.5
}

Test(mel, what_makes_no_sense_is_refused)
{
    static const struct {
        int64_t window, fft;
        double hop, low, high;
        int64_t bands, coefficients;
    } bad[] = {{400, 256, 160, 0, 8000, 64, 0},  {401, 512, 160, 0, 8000, 64, 0}, {400, 512, 0, 0, 8000, 64, 0},
               {400, 512, 160, 0, 8001, 64, 0},  {400, 512, 160, 9, 9, 64, 0},    {400, 512, 160, 0, 8000, 0, 0},
               {400, 512, 160, 0, 8000, 64, 65}, {400, 512, NAN, 0, 8000, 64, 0}, {0, 0, 160, 0, 8000, 64, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        data_mel_cfg c = data_mel_torchaudio();
        data_mel *m;
        c.spectrum.window = bad[i].window;
        c.spectrum.fft = bad[i].fft;
        c.spectrum.hop = bad[i].hop;
        c.low = bad[i].low;
        c.high = bad[i].high;
        c.bands = bad[i].bands;
        c.coefficients = bad[i].coefficients;
        cr_assert_eq(data_mel_open(&m, &c), MN_ECONFIG, "row %zu", i);
    }
}
