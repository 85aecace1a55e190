// Sound and frames on one clock: clicks at known times in files whose sound starts late or early, drifts against the
// frames, or lies beside frames of uneven times, turned pictures, or a wrong count in the header. Every click must be
// heard within half a frame of its time. And what 16 kHz mono is, against librosa and torchaudio.
#include "data/media.h"

#include "golden_file_support.h"
#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define must(call) cr_assert((call) == MN_OK, "%s: %s", #call, mn_errmsg())

enum { W = 32, H = 16, SECONDS = 20, FPS = 30, FRAMES = SECONDS * FPS, SAMPLES = SECONDS * DATA_MEDIA_RATE };

static char folder[64], path[128];

static void enter(void)
{
    snprintf(folder, sizeof folder, "/tmp/mien-alignment-test-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void leave(void)
{
    unlink(path);
    rmdir(folder);
}

TestSuite(alignment, .init = enter, .fini = leave);

// A click of 10 ms each half second, from 0.25 s on.
static int16_t *clicks(void)
{
    int16_t *pcm = mn_calloc(SAMPLES, sizeof *pcm);
    for (int i = 0; i < SAMPLES; i++)
        if ((i + 4000) % 8000 < 160) pcm[i] = (int16_t)(12000 * sin(i * 0.6));
    return pcm;
}

// Times of frames as a telephone makes them: 33 ms, sometimes 100, never the same.
static int64_t time_of(const data_media_spec *s, int64_t i)
{
    return s->vfr ? i * 33400 + i % 7 * 2100 + i / 40 * 100000 : i * 1000000 / FPS;
}

static void make(const char *name, data_media_spec s, const int16_t *pcm)
{
    static uint8_t rgb[W * H * 3];
    data_media_writer *w;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    s.path = path;
    s.width = W;
    s.height = H;
    s.fps_num = FPS;
    s.fps_den = 1;
    s.frames = FRAMES;
    s.pcm = pcm;
    s.samples = pcm ? SAMPLES : 0;
    must(data_media_create(&w, &s));
    for (int64_t i = 0; i < FRAMES; i++)
        must(data_media_frame(w, time_of(&s, i), rgb));
    must(data_media_finish(w));
}

static const struct {
    const char *name;
    data_media_spec spec;
} files[] = {
    {"plain.mp4", {0}},
    {"late.mp4", {.audio_start_us = 730000}},
    {"early.mp4", {.audio_start_us = -200000, .rate = 44100, .channels = 2}},
    {"fast.mp4", {.drift_ppm = 1000}},
    {"slow.mp4", {.drift_ppm = -1000, .rate = 48000}},
    {"faster.mp4", {.drift_ppm = 10000, .rate = 44100, .channels = 2}},
    {"slower.mp4", {.drift_ppm = -10000}},
    {"late-fast.mp4", {.audio_start_us = 400000, .drift_ppm = 2000, .rate = 22050}},
    {"uneven.mp4", {.vfr = 1, .rate = 44100}},
    {"uneven-fast.mp4", {.vfr = 1, .drift_ppm = 1000, .video = "h264", .rate = 48000}},
    {"turned.mp4", {.rotation = 90}},
    {"telephone.mp4", {.rotation = 270, .vfr = 1, .drift_ppm = -500, .audio_start_us = 60000}},
    {"mp3.mp4", {.audio = "mp3", .rate = 44100, .drift_ppm = 1000}},
    {"pcm.avi", {.audio = "pcm"}},
    {"hole.mp4", {.leap_us = 21333, .rate = 48000}}, // one lost packet, two, two of another codec
    {"holes.mp4", {.leap_us = 42667, .rate = 48000, .channels = 2}},
    {"mp3-holes.mp4", {.leap_us = 52245, .audio = "mp3", .rate = 44100}},
    {"overlap.mp4", {.leap_us = -20000, .rate = 48000}},
    {"late-holes.mp4", {.leap_us = 42667, .audio_start_us = 350000, .drift_ppm = 300, .rate = 48000}},
};

// The largest distance of a click from where it belongs, in seconds.
static double check_clicks(const char *name, const data_media_spec *s, const data_media *m)
{
    double worst = 0;
    int64_t found = 0, quiet = DATA_MEDIA_RATE;
    for (int64_t i = 0; i < m->samples; i++, quiet++) {
        if (abs(m->pcm[i]) <= 4000) continue;
        if (quiet > DATA_MEDIA_RATE / 5) {
            double own = 0.25 + 0.5 * (double)found,
                   early = s->audio_start_us < 0 ? 1e-6 * (double)s->audio_start_us : 0;
            double start = (double)s->audio_start_us * 1e-6, clock = 1 + s->drift_ppm * 1e-6;
            // Where the sound begins first, its own begin is the zero of the clocks.
            double want = early < 0 ? own * clock + start : (own + start) * clock;
            if (own + (early < 0 ? 0 : start) >= 0.5 * SECONDS) want += s->leap_us * 1e-6;
            double wrong = fabs((double)i / DATA_MEDIA_RATE - want);
            worst = wrong > worst ? wrong : worst;
            found++;
        }
        quiet = 0;
    }
    cr_assert_eq(found, 2 * SECONDS, "%s: %lld clicks", name, (long long)found);
    return worst;
}

Test(alignment, every_click_is_within_half_a_frame, .timeout = 120)
{
    int16_t *pcm = clicks();
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
        const data_media_spec *s = &files[f].spec;
        data_media m;
        make(files[f].name, *s, pcm);
        must(data_media_read(path, DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND, NULL, &m));
        cr_assert(m.frames == FRAMES && m.has_audio && m.damaged == 0, "%s", files[f].name);
        for (int64_t i = 0; i < FRAMES; i++)
            cr_assert_float_eq((double)m.t_us[i], (double)time_of(s, i), 110, "%s frame %lld: %lld", files[f].name,
                               (long long)i, (long long)m.t_us[i]);
        int turned = s->rotation == 90 || s->rotation == 270;
        cr_assert(m.rotation == s->rotation && m.width == (turned ? H : W) && m.height == (turned ? W : H), "%s: %d",
                  files[f].name, m.rotation);
        double wrong = check_clicks(files[f].name, s, &m), offset = (double)m.audio_offset_us * 1e-6;
        // Sound is encoded in whole packets, with some silence before it.
        cr_assert_float_eq(offset, (double)s->audio_start_us * 1e-6, 0.09, "%s: %.3f s", files[f].name, offset);
        if (getenv("MIEN_TEST_FIGURES")) printf("%-16s %.1f ms\n", files[f].name, wrong * 1e3);
        cr_assert_lt(wrong, 0.5 / FPS, "%s: %.1f ms", files[f].name, wrong * 1e3);
        data_media_free(&m);
        must(data_media_read(path, DATA_MEDIA_FRAMES, NULL, &m)); // image shards have it without reading the sound
        cr_assert(m.samples == 0 && (double)m.audio_offset_us * 1e-6 == offset, "%s", files[f].name);
        data_media_free(&m);
        unlink(path);
    }
    free(pcm);
}

Test(alignment, counts_in_headers_are_not_believed)
{
    static const int64_t counts[] = {0, 1, FRAMES - 1, FRAMES + 1, INT32_MAX};
    enum { AVI_FRAMES = 48, STREAM_LENGTH = 140 }; // avih.dwTotalFrames, the first strh.dwLength
    int16_t *pcm = clicks();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        uint32_t said = (uint32_t)counts[i], have;
        data_media m;
        make("count.avi", (data_media_spec){.audio = "pcm"}, pcm);
        int fd = open(path, O_RDWR);
        cr_assert(pread(fd, &have, sizeof have, AVI_FRAMES) == sizeof have && have == FRAMES, "%u", have);
        cr_assert(pread(fd, &have, sizeof have, STREAM_LENGTH) == sizeof have && have == FRAMES, "%u", have);
        cr_assert_eq(pwrite(fd, &said, sizeof said, AVI_FRAMES), sizeof said);
        cr_assert_eq(pwrite(fd, &said, sizeof said, STREAM_LENGTH), sizeof said);
        cr_assert_eq(close(fd), 0);
        must(data_media_read(path, DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND, NULL, &m));
        cr_assert_eq(m.frames, FRAMES, "said %u, read %lld", said, (long long)m.frames);
        cr_assert_lt(check_clicks("count.avi", &(data_media_spec){0}, &m), 0.5 / FPS);
        data_media_free(&m);
    }
    free(pcm);
}

Test(alignment, missing_sound_is_marked)
{
    data_media m;
    make("silent.mp4", (data_media_spec){0}, NULL);
    must(data_media_read(path, DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND, NULL, &m));
    cr_assert(m.has_audio == 0 && m.samples == 0 && m.audio_codec[0] == 0 && m.frames == FRAMES);
    data_media_free(&m);
}

// --- 16 kHz mono of other rates ---

static const struct {
    double hz, height, phase;
} tones[] = {{211, 0.21, 0.4},  {997, 0.17, 1.9},  {2093, 0.13, 0.2},
             {3301, 0.11, 2.7}, {5003, 0.09, 1.1}, {6607, 0.07, 0.6}};

static double tone_at(int rate, double t)
{
    double y = 0;
    for (int k = 0; k < (rate > 16000 ? 6 : 4); k++)
        y += tones[k].height * sin(2 * M_PI * tones[k].hz * t + tones[k].phase);
    return y;
}

// A WAV file of the tones in stereo, 1.2 times as loud on the left and 0.8 times on the right.
static void write_wav(int rate, int64_t n)
{
    snprintf(path, sizeof path, "%s/%d.wav", folder, rate);
    uint32_t data = (uint32_t)n * 4, r = (uint32_t)rate;
    uint32_t head[11] = {0x46464952, 36 + data, 0x45564157, 0x20746d66, 16,  0x00020001,
                         r,          4 * r,     0x00100004, 0x61746164, data};
    FILE *f = fopen(path, "wb");
    cr_assert(f && fwrite(head, sizeof head, 1, f) == 1);
    for (int64_t i = 0; i < n; i++) {
        double y = tone_at(rate, (double)i / rate);
        int16_t both[2] = {(int16_t)lrint(y * 1.2 * 32767), (int16_t)lrint(y * 0.8 * 32767)};
        cr_assert_eq(fwrite(both, sizeof both, 1, f), 1);
    }
    cr_assert_eq(fclose(f), 0);
}

// dB of the difference to the signal, edges of 20 ms left out: what a filter makes of the ends is its own affair.
static double distance(const float *x, const float *y, int64_t n)
{
    double wrong = 0, all = 0;
    for (int64_t i = 320; i < n - 320; i++) {
        wrong += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        all += (double)y[i] * (double)y[i];
    }
    return 10 * log10(wrong / all);
}

Test(alignment, resampling_is_that_of_the_libraries)
{
    static const int rates[] = {44100, 48000, 22050, 8000};
    golden_file *g = golden_file_open("audio.safetensors");
    for (int k = 0; k < 4; k++) {
        char name[64];
        float have[3200], truth[3200];
        int64_t n;
        data_media m;
        write_wav(rates[k], rates[k] / 5);
        must(data_media_read(path, DATA_MEDIA_SOUND, NULL, &m));
        cr_assert(m.samples >= 3199 && m.samples <= 3201, "%d Hz: %lld samples", rates[k], (long long)m.samples);
        for (int64_t i = 0; i < 3200; i++) {
            have[i] = i < m.samples ? (float)m.pcm[i] / 32768 : 0;
            truth[i] = (float)(tone_at(rates[k], (double)i / 16000) * 32767 / 32768);
        }
        snprintf(name, sizeof name, "resample.librosa.%d", rates[k]);
        const float *librosa = golden_file_get(g, name, &n);
        cr_assert_eq(n, 3200);
        snprintf(name, sizeof name, "resample.torchaudio.%d", rates[k]);
        const float *torchaudio = golden_file_get(g, name, &n);
        double a = distance(have, truth, n), b = distance(have, librosa, n), c = distance(have, torchaudio, n);
        if (getenv("MIEN_TEST_FIGURES"))
            printf("%5d Hz: %.1f dB from the tones (librosa %.1f, torchaudio %.1f), %.1f dB from librosa, %.1f dB from "
                   "torchaudio\n",
                   rates[k], a, distance(librosa, truth, n), distance(torchaudio, truth, n), b, c);
        // 16 bits are 88 dB below these tones; the libraries are 80 dB from the truth and so from each other.
        cr_assert_lt(a, -84, "%d Hz: %.1f dB from the tones", rates[k], a);
        cr_assert_lt(b, -77, "%d Hz: %.1f dB from librosa", rates[k], b);
        cr_assert_lt(c, -77, "%d Hz: %.1f dB from torchaudio", rates[k], c);
        data_media_free(&m);
        unlink(path);
    }
    golden_file_close(g);
}
