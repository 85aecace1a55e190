#include "data/spectrum.h"

#include "nn/base/mem.h"

#include <kiss_fftr.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct data_spectrum {
    data_spectrum_cfg cfg;
    kiss_fftr_cfg plan;
    float *window; // (window), with the 1 / 32768 of the samples in it
    float *wave;   // (fft): the windowed samples, then zeros
    kiss_fft_cpx *spectrum;
};

mn_err data_spectrum_open(data_spectrum **out, const data_spectrum_cfg *cfg)
{
    int64_t w = cfg->window, fft = cfg->fft;
    if (w < 2 || w > fft || fft > 1 << 20 || w % 2 != 0 || fft % 2 != 0 || !(cfg->hop >= 1) || cfg->hop > 1e9)
        return mn_fail(MN_ECONFIG,
                       "spectrum of %lld samples in an FFT of %lld, one each %g: both must be even, the first at "
                       "most the second, and the step at least 1",
                       (long long)w, (long long)fft, cfg->hop);
    data_spectrum *s = mn_calloc(1, sizeof *s);
    s->cfg = *cfg;
    s->window = mn_calloc((size_t)w, sizeof *s->window);
    s->wave = mn_calloc((size_t)fft, sizeof *s->wave);
    s->spectrum = mn_calloc((size_t)fft / 2 + 1, sizeof *s->spectrum);
    s->plan = kiss_fftr_alloc((int)fft, 0, NULL, NULL);
    if (!s->plan) {
        data_spectrum_close(s);
        return mn_fail(MN_EMEM, "no memory for an FFT of %lld samples", (long long)fft);
    }
    for (int64_t i = 0; i < w; i++)
        s->window[i] = (float)((0.5 - 0.5 * cos(2 * M_PI * (double)i / (double)w)) / 32768);
    *out = s;
    return MN_OK;
}

void data_spectrum_close(data_spectrum *s)
{
    if (!s) return;
    kiss_fftr_free(s->plan);
    free(s->spectrum);
    free(s->wave);
    free(s->window);
    free(s);
}

int64_t data_spectrum_bins(const data_spectrum *s)
{
    return s->cfg.fft / 2 + 1;
}

static int64_t begin_of(const data_spectrum *s, int64_t k)
{
    int64_t at = llround((double)k * s->cfg.hop);
    return s->cfg.ends == DATA_ENDS_CUT ? at : at - s->cfg.window / 2;
}

int64_t data_spectrum_columns(const data_spectrum *s, int64_t samples)
{
    if (s->cfg.ends == DATA_ENDS_CUT) samples -= s->cfg.window;
    if (samples < 0 || (samples == 0 && s->cfg.ends != DATA_ENDS_CUT)) return 0;
    int64_t n = (int64_t)((double)samples / s->cfg.hop) + 1;
    while (n > 0 && llround((double)(n - 1) * s->cfg.hop) > samples) // rounded up beyond the end
        n--;
    return n;
}

double data_spectrum_middle(const data_spectrum *s, int64_t k)
{
    return (double)begin_of(s, k) + (double)s->cfg.window / 2;
}

// Sample i of a sound that has only n, by the rule for its ends.
static int16_t beyond(const data_spectrum *s, const int16_t *pcm, int64_t n, int64_t i)
{
    if (i >= 0 && i < n) return pcm[i];
    if (s->cfg.ends != DATA_ENDS_MIRROR) return 0;
    if (n == 1) return pcm[0];
    int64_t period = 2 * (n - 1), at = i % period;
    if (at < 0) at += period;
    return pcm[at < n ? at : period - at];
}

void data_spectrum_column(data_spectrum *s, const int16_t *pcm, int64_t n, int64_t k, float *bins)
{
    int64_t w = s->cfg.window, begin = begin_of(s, k), half = s->cfg.fft / 2;
    if (begin >= 0 && begin + w <= n)
        for (int64_t i = 0; i < w; i++)
            s->wave[i] = (float)pcm[begin + i] * s->window[i];
    else
        for (int64_t i = 0; i < w; i++)
            s->wave[i] = (float)beyond(s, pcm, n, begin + i) * s->window[i];
    kiss_fftr(s->plan, s->wave, s->spectrum);
    for (int64_t i = 0; i <= half; i++)
        bins[i] = s->spectrum[i].r * s->spectrum[i].r + s->spectrum[i].i * s->spectrum[i].i;
    if (s->cfg.squared) return;
    for (int64_t i = 0; i <= half; i++)
        bins[i] = sqrtf(bins[i]);
}
