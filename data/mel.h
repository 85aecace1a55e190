// Front ends of sound networks: log-mel spectra and MFCC by the definitions of the libraries that published systems used.
//
//     data_mel_cfg cfg = data_mel_vggish();                    // or data_mel_librosa(), data_mel_torchaudio()
//     data_mel *m; MN_TRY(data_mel_open(&m, &cfg));
//     int64_t n = data_mel_columns(m, samples), dim = data_mel_dim(m);
//     float *x = mn_malloc(...);                               // (n, dim)
//     data_mel_run(m, pcm, samples, x);                        // row k is heard around data_mel_us(m, k)
//     data_mel_close(m);
//
// Whole tracks, because the range of decibels counts from the loudest cell of a track. Nothing is allocated after open.
// Checked against the libraries to 1e-4 (tests/golden/audio.py). Threading: one thread per data_mel.
#ifndef DATA_MEL_H
#define DATA_MEL_H

#include "data/spectrum.h"

// HTK: 2595 log10(1 + f / 700). Slaney (Auditory Toolbox): linear below 1 kHz, 27 steps per factor 6.4 above.
typedef enum data_mel_scale { DATA_MEL_HTK, DATA_MEL_SLANEY } data_mel_scale;
// ln(x + offset); or 10 log10(max(x, 1e-10)), cut to `range` below the track's largest value.
typedef enum data_mel_log { DATA_MEL_LN, DATA_MEL_DB } data_mel_log;

typedef struct data_mel_cfg {
    data_spectrum_cfg spectrum;
    double rate; // of the sound, Hz
    int64_t bands;
    double low, high; // Hz
    data_mel_scale scale;
    int slopes_in_mel; // 1: the triangles are straight in mel (VGGish), and the constant bin counts nowhere; 0: in Hz
    int equal_area;    // 1: each triangle is scaled to area 1 in Hz (librosa's norm="slaney")
    data_mel_log log;
    double offset;        // of DATA_MEL_LN
    double range;         // dB of DATA_MEL_DB; 0: not cut
    int64_t coefficients; // of an orthonormal DCT-II over the bands (MFCC); 0: the bands themselves
} data_mel_cfg;

// 16 kHz throughout. VGGish as its authors and harritaylor/torchvggish (mel_features.py, vggish_params.py) have it, used
// by RCMA: 25 ms each 10 ms, FFT 512, magnitudes, 64 bands of 125-7500 Hz, ln(x + 0.01).
data_mel_cfg data_mel_vggish(void);
// librosa.feature.melspectrogram and power_to_db with their defaults (FFT and window 2048, each 512, zeros beyond the
// ends, 128 bands on the Slaney scale, 80 dB); librosa.feature.mfcc has 20 coefficients.
data_mel_cfg data_mel_librosa(void);
// torchaudio.transforms.MelSpectrogram and AmplitudeToDB(top_db=80) with their defaults (FFT and window 400, each 200,
// mirrored ends, 128 bands on the HTK scale); torchaudio.transforms.MFCC has 40 coefficients.
data_mel_cfg data_mel_torchaudio(void);

typedef struct data_mel data_mel;
// MN_ECONFIG when the numbers make no sense together: what data_spectrum_open refuses, bands beyond half the rate, more
// coefficients than bands.
MN_MUST_CHECK mn_err data_mel_open(data_mel **out, const data_mel_cfg *cfg);
void data_mel_close(data_mel *m);
int64_t data_mel_dim(const data_mel *m);
int64_t data_mel_columns(const data_mel *m, int64_t samples);
int64_t data_mel_us(const data_mel *m, int64_t k); // middle of the window of column k
// x: (columns, dim).
void data_mel_run(data_mel *m, const int16_t *pcm, int64_t n, float *x);

// Patches: row p of out (patches, length dim) is the columns from round(p step) on (halves to even), one after the
// other. VGGish takes 96 columns each 96; RCMA one patch a video frame, step = 100 / fps.
int64_t data_patches(int64_t columns, int64_t length, double step);
int64_t data_patch_first(int64_t patch, double step);
void data_patch(const float *x, int64_t dim, int64_t length, double step, int64_t patch, float *out);

#endif
