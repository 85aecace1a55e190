// Short-time spectra of sound: columns of |FFT| or |FFT|^2 under a periodic Hann window, by kissfft.
//
//     data_spectrum *s;
//     MN_TRY(data_spectrum_open(&s, &(data_spectrum_cfg){.window = 400, .fft = 512, .hop = 160, .squared = 1}));
//     for (int64_t k = 0; k < data_spectrum_columns(s, n); k++)
//         data_spectrum_column(s, pcm, n, k, bins);   // (fft / 2 + 1)
//     data_spectrum_close(s);
//
// Nothing is allocated after open. Threading: one thread per plan, which holds the scratch memory.
#ifndef DATA_SPECTRUM_H
#define DATA_SPECTRUM_H

#include "nn/base/err.h"

#include <stdint.h>

// Where column k lies. DATA_ENDS_CUT: its window begins at sample k hop, and windows that do not fit are left out. Else
// its middle is at sample k hop, and the sound goes on before its begin and after its end as silence, or as its own
// mirror image about the first and last sample (numpy's "reflect").
typedef enum data_ends { DATA_ENDS_CUT, DATA_ENDS_ZERO, DATA_ENDS_MIRROR } data_ends;

typedef struct data_spectrum_cfg {
    int64_t window, fft; // samples, 2 <= window <= fft, both even; the window is filled up with zeros
    double hop;          // samples; k hop is rounded to a sample (one column a video frame: 16000 / fps)
    data_ends ends;
    int squared; // 1: |X|^2, 0: |X|
} data_spectrum_cfg;

typedef struct data_spectrum data_spectrum;
// MN_ECONFIG for numbers out of the ranges above.
MN_MUST_CHECK mn_err data_spectrum_open(data_spectrum **out, const data_spectrum_cfg *cfg);
void data_spectrum_close(data_spectrum *s);
int64_t data_spectrum_bins(const data_spectrum *s);                     // fft / 2 + 1
int64_t data_spectrum_columns(const data_spectrum *s, int64_t samples); // of a sound so long; 0 when it is too short
double data_spectrum_middle(const data_spectrum *s, int64_t k);         // of the window of column k, in samples
// Column k of the n samples, which count as -1..1 (divided by 32768).
void data_spectrum_column(data_spectrum *s, const int16_t *pcm, int64_t n, int64_t k, float *bins);

#endif
