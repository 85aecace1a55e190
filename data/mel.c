#include "data/mel.h"

#include "nn/base/mem.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct band { // a row of the filter bank, without its zeros
    int64_t first, n;
    const float *weight; // (n)
} band;

struct data_mel {
    data_mel_cfg cfg;
    data_spectrum *spectrum;
    band *band;
    float *weights; // of all bands
    float *bins;    // (fft / 2 + 1)
    float *dct;     // (bands, coefficients)
    float *cells;   // (rows, bands): what the DCT is taken of, kept from run to run
    int64_t rows;
};

data_mel_cfg data_mel_vggish(void)
{
    return (data_mel_cfg){.spectrum = {.window = 400, .fft = 512, .hop = 160, .ends = DATA_ENDS_CUT},
                          .rate = 16000,
                          .bands = 64,
                          .low = 125,
                          .high = 7500,
                          .slopes_in_mel = 1,
                          .offset = 0.01};
}

data_mel_cfg data_mel_librosa(void)
{
    return (data_mel_cfg){.spectrum = {.window = 2048, .fft = 2048, .hop = 512, .ends = DATA_ENDS_ZERO, .squared = 1},
                          .rate = 16000,
                          .bands = 128,
                          .high = 8000,
                          .scale = DATA_MEL_SLANEY,
                          .equal_area = 1,
                          .log = DATA_MEL_DB,
                          .range = 80};
}

data_mel_cfg data_mel_torchaudio(void)
{
    return (data_mel_cfg){.spectrum = {.window = 400, .fft = 400, .hop = 200, .ends = DATA_ENDS_MIRROR, .squared = 1},
                          .rate = 16000,
                          .bands = 128,
                          .high = 8000,
                          .log = DATA_MEL_DB,
                          .range = 80};
}

// --- the filter bank ---

static double to_mel(data_mel_scale scale, double hz)
{
    if (scale == DATA_MEL_HTK) return 2595 * log10(1 + hz / 700);
    return hz < 1000 ? hz * 3 / 200 : 15 + log(hz / 1000) * 27 / log(6.4);
}

static double to_hz(data_mel_scale scale, double mel)
{
    if (scale == DATA_MEL_HTK) return 700 * (pow(10, mel / 2595) - 1);
    return mel < 15 ? mel * 200 / 3 : 1000 * exp((mel - 15) * log(6.4) / 27);
}

// Weight of the triangle over edge[0..2] at x, where edges and x are all in mel or all in Hz.
static double triangle(const double edge[3], double x)
{
    double up = (x - edge[0]) / (edge[1] - edge[0]), down = (edge[2] - x) / (edge[2] - edge[1]);
    double v = up < down ? up : down;
    return v > 0 ? v : 0;
}

static void fill_band(data_mel *m, int64_t b, float *row)
{
    const data_mel_cfg *c = &m->cfg;
    int64_t bins = data_spectrum_bins(m->spectrum);
    double low = to_mel(c->scale, c->low), high = to_mel(c->scale, c->high), hz[3], edge[3];
    for (int i = 0; i < 3; i++) {
        double mel = low + (high - low) * (double)(b + i) / (double)(c->bands + 1);
        hz[i] = to_hz(c->scale, mel);
        edge[i] = c->slopes_in_mel ? mel : hz[i];
    }
    double scale = c->equal_area ? 2 / (hz[2] - hz[0]) : 1;
    for (int64_t i = 0; i < bins; i++) {
        double f = c->rate * (double)i / (double)c->spectrum.fft;
        row[i] = (float)(scale * triangle(edge, c->slopes_in_mel ? to_mel(c->scale, f) : f));
    }
    if (c->slopes_in_mel) row[0] = 0;
}

static void fill_bands(data_mel *m)
{
    int64_t bins = data_spectrum_bins(m->spectrum);
    for (int64_t b = 0; b < m->cfg.bands; b++) {
        float *row = m->weights + b * bins;
        fill_band(m, b, row);
        int64_t first = 0, end = bins;
        while (first < end && row[first] == 0)
            first++;
        while (end > first && row[end - 1] == 0)
            end--;
        m->band[b] = (band){first, end - first, row + first};
    }
}

// DCT-II with orthonormal rows: scipy.fft.dct(norm="ortho"), torchaudio's create_dct.
static void fill_dct(data_mel *m)
{
    int64_t n = m->cfg.bands, k = m->cfg.coefficients;
    for (int64_t b = 0; b < n; b++)
        for (int64_t i = 0; i < k; i++)
            m->dct[b * k + i] =
                (float)(cos(M_PI * (double)i * ((double)b + 0.5) / (double)n) * sqrt((i == 0 ? 1.0 : 2.0) / (double)n));
}

mn_err data_mel_open(data_mel **out, const data_mel_cfg *cfg)
{
    if (cfg->bands < 1 || cfg->bands > 4096 || !(cfg->low >= 0) || !(cfg->low < cfg->high) ||
        !(cfg->high <= cfg->rate / 2) || cfg->coefficients < 0 || cfg->coefficients > cfg->bands)
        return mn_fail(MN_ECONFIG,
                       "%lld bands from %g to %g Hz at a rate of %g Hz, %lld coefficients: the bands end at half the "
                       "rate, and coefficients are at most as many as bands",
                       (long long)cfg->bands, cfg->low, cfg->high, cfg->rate, (long long)cfg->coefficients);
    data_mel *m = mn_calloc(1, sizeof *m);
    m->cfg = *cfg;
    mn_err err = data_spectrum_open(&m->spectrum, &cfg->spectrum);
    if (err != MN_OK) {
        free(m);
        return err;
    }
    size_t bins = (size_t)data_spectrum_bins(m->spectrum), bands = (size_t)cfg->bands;
    m->band = mn_calloc(bands, sizeof *m->band);
    m->weights = mn_calloc(bands * bins, sizeof *m->weights);
    m->bins = mn_calloc(bins, sizeof *m->bins);
    m->dct = mn_calloc(bands * (size_t)cfg->coefficients + 1, sizeof *m->dct);
    fill_bands(m);
    fill_dct(m);
    *out = m;
    return MN_OK;
}

void data_mel_close(data_mel *m)
{
    if (!m) return;
    data_spectrum_close(m->spectrum);
    free(m->band);
    free(m->weights);
    free(m->bins);
    free(m->cells);
    free(m->dct);
    free(m);
}

int64_t data_mel_dim(const data_mel *m)
{
    return m->cfg.coefficients ? m->cfg.coefficients : m->cfg.bands;
}

int64_t data_mel_columns(const data_mel *m, int64_t samples)
{
    return data_spectrum_columns(m->spectrum, samples);
}

int64_t data_mel_us(const data_mel *m, int64_t k)
{
    return llround(data_spectrum_middle(m->spectrum, k) * 1e6 / m->cfg.rate);
}

// --- running ---

static void take_bands(const data_mel *m, float *row)
{
    for (int64_t b = 0; b < m->cfg.bands; b++) {
        const band *t = &m->band[b];
        const float *bins = m->bins + t->first;
        float sum = 0;
        for (int64_t i = 0; i < t->n; i++)
            sum += t->weight[i] * bins[i];
        row[b] = sum;
    }
}

static void take_log(const data_mel *m, float *row)
{
    const float decibel = (float)(10 / log(10)), offset = (float)m->cfg.offset;
    if (m->cfg.log == DATA_MEL_LN)
        for (int64_t b = 0; b < m->cfg.bands; b++)
            row[b] = logf(row[b] + offset);
    else
        for (int64_t b = 0; b < m->cfg.bands; b++)
            row[b] = decibel * logf(row[b] > 1e-10f ? row[b] : 1e-10f);
}

static void cut_range(const data_mel *m, float *x, int64_t n)
{
    float most = -FLT_MAX;
    if (m->cfg.log != DATA_MEL_DB || m->cfg.range <= 0) return;
    for (int64_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
    float least = most - (float)m->cfg.range;
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] < least ? least : x[i];
}

static void transform(const data_mel *m, const float *cells, float *x)
{
    int64_t k = m->cfg.coefficients;
    memset(x, 0, (size_t)k * sizeof *x);
    for (int64_t b = 0; b < m->cfg.bands; b++)
        for (int64_t i = 0; i < k; i++)
            x[i] += cells[b] * m->dct[b * k + i];
}

void data_mel_run(data_mel *m, const int16_t *pcm, int64_t n, float *x)
{
    int64_t rows = data_mel_columns(m, n), bands = m->cfg.bands;
    if (m->cfg.coefficients > 0 && rows > m->rows) {
        m->cells = mn_realloc(m->cells, (size_t)rows, (size_t)bands * sizeof *m->cells);
        m->rows = rows;
    }
    float *cells = m->cfg.coefficients > 0 ? m->cells : x;
    for (int64_t k = 0; k < rows; k++) {
        data_spectrum_column(m->spectrum, pcm, n, k, m->bins);
        take_bands(m, cells + k * bands);
        take_log(m, cells + k * bands);
    }
    cut_range(m, cells, rows * bands);
    for (int64_t k = 0; k < rows && m->cfg.coefficients > 0; k++)
        transform(m, cells + k * bands, x + k * m->cfg.coefficients);
}

// --- patches ---

int64_t data_patch_first(int64_t patch, double step)
{
    return llrint((double)patch * step); // halves to even, as Python's round
}

int64_t data_patches(int64_t columns, int64_t length, double step)
{
    if (columns < length) return 0;
    int64_t n = (int64_t)((double)(columns - length) / step) + 1;
    while (n > 0 && data_patch_first(n - 1, step) > columns - length) // rounded up beyond the end
        n--;
    return n;
}

void data_patch(const float *x, int64_t dim, int64_t length, double step, int64_t patch, float *out)
{
    memcpy(out, x + data_patch_first(patch, step) * dim, (size_t)(length * dim) * sizeof *out);
}
