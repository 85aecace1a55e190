// Videos through the helper: what is written comes back with its frame count, times and sound, in every container and
// codec that is made here; offsets of the sound are undone; what is no video is refused with its name.
#include "data/media.h"

#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { W = 64, H = 48, FRAMES = 60, SAMPLES = 32000 };

static char folder[64];

static void enter(void)
{
    snprintf(folder, sizeof folder, "/tmp/mien-media-test-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void leave(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        unlink(path);
    }
    if (d) closedir(d);
    rmdir(folder);
}

TestSuite(media, .init = enter, .fini = leave);

static const char *in_folder(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

// A click of 10 ms at each half second, from 0.25 s on.
static int16_t *clicks(void)
{
    int16_t *pcm = mn_calloc(SAMPLES, sizeof *pcm);
    for (int i = 0; i < SAMPLES; i++)
        if ((i + 4000) % 8000 < 160) pcm[i] = (int16_t)(12000 * sin(i * 0.6));
    return pcm;
}

// Time of the first sample of at least a third of the click's height, in seconds.
static double first_click(const data_media *m)
{
    for (int64_t i = 0; i < m->samples; i++)
        if (abs(m->pcm[i]) > 4000) return (double)i / DATA_MEDIA_RATE;
    return -1;
}

static void make(const char *path, data_media_spec s)
{
    static uint8_t rgb[W * H * 3];
    data_media_writer *w;
    s.path = path;
    s.width = W;
    s.height = H;
    s.frames = FRAMES;
    if (!s.fps_num) s.fps_num = 30;
    if (!s.fps_den) s.fps_den = 1;
    cr_assert_eq(data_media_create(&w, &s), MN_OK, "%s", mn_errmsg());
    for (int i = 0; i < FRAMES; i++) {
        memset(rgb, i * 4, sizeof rgb);
        int64_t t = s.vfr ? i * 30000 + i % 3 * 4000 : (int64_t)i * 1000000 * s.fps_den / s.fps_num;
        cr_assert_eq(data_media_frame(w, t, rgb), MN_OK, "%s", mn_errmsg());
    }
    cr_assert_eq(data_media_finish(w), MN_OK, "%s", mn_errmsg());
}

static const struct {
    const char *name;
    data_media_spec spec;
    int sound;
} forms[] = {
    {"plain.mp4", {.video = "mpeg4", .audio = "aac"}, 1},
    {"h264.mp4", {.video = "h264", .audio = "aac", .rate = 44100, .channels = 2}, 1},
    {"late.mp4", {.audio_start_us = 400000}, 1},
    {"early.mp4", {.audio_start_us = -200000, .rate = 48000}, 1},
    {"early-h264.mp4", {.video = "h264", .audio_start_us = -30000}, 1},
    {"plain.avi", {.audio = "pcm", .fps_num = 25}, 1},
    {"mp3.mp4", {.audio = "mp3", .rate = 44100}, 1},
    {"ntsc.mp4", {.fps_num = 30000, .fps_den = 1001}, 1},
    {"vfr.mp4", {.vfr = 1}, 1},
    {"silent.mp4", {.fps_num = 24}, 0},
};

Test(media, round_trip)
{
    int16_t *pcm = clicks();
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        data_media_spec s = forms[i].spec;
        const char *path = in_folder(forms[i].name);
        data_media m;
        if (forms[i].sound) {
            s.pcm = pcm;
            s.samples = SAMPLES;
        }
        make(path, s);
        cr_assert_eq(data_media_read(path, DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND, NULL, &m), MN_OK, "%s", mn_errmsg());
        cr_assert_eq(m.frames, FRAMES, "%s: %lld", forms[i].name, (long long)m.frames);
        cr_assert(m.width == W && m.height == H && m.damaged == 0);
        double num = s.fps_num ? s.fps_num : 30, den = s.fps_den ? s.fps_den : 1;
        for (int k = 0; k < FRAMES; k++) {
            double want = s.vfr ? k * 30000 + k % 3 * 4000 : k * 1e6 * den / num;
            cr_assert_float_eq((double)m.t_us[k], want, 110, "%s frame %d: %lld", forms[i].name, k,
                               (long long)m.t_us[k]);
        }
        cr_assert_eq(m.has_audio, forms[i].sound);
        if (forms[i].sound) {
            // The sound's own zero is audio_start_us after the first frame; half a frame is 16.7 ms.
            double at = first_click(&m), want = 0.25 + (double)s.audio_start_us * 1e-6;
            cr_assert_float_eq(at, want, 0.0166, "%s: click at %.4f, want %.4f", forms[i].name, at, want);
            double end = 2.0 + (double)s.audio_start_us * 1e-6;
            cr_assert_float_eq((double)m.samples / DATA_MEDIA_RATE, end, 0.12, "%s: %lld samples", forms[i].name,
                               (long long)m.samples);
        } else {
            cr_assert_eq(m.samples, 0);
        }
        data_media_free(&m);
    }
    free(pcm);
}

Test(media, either_half_alone)
{
    data_media m;
    int16_t *pcm = clicks();
    const char *path = in_folder("half.mp4");
    make(path, (data_media_spec){.pcm = pcm, .samples = SAMPLES, .audio_start_us = 400000});
    cr_assert_eq(data_media_read(path, DATA_MEDIA_FRAMES, NULL, &m), MN_OK);
    cr_assert(m.frames == FRAMES && m.samples == 0 && m.has_audio == 1);
    data_media_free(&m);
    cr_assert_eq(data_media_read(path, DATA_MEDIA_SOUND, NULL, &m), MN_OK);
    cr_assert(m.frames == 0 && m.samples > 0);
    cr_assert_float_eq(first_click(&m), 0.65, 0.0166);
    data_media_free(&m);
    free(pcm);
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size && close(fd) == 0);
}

Test(media, what_is_no_video_is_refused_by_name)
{
    data_media m;
    const char *path = in_folder("text.mp4");
    cr_assert_eq(data_media_read(in_folder("missing.mp4"), DATA_MEDIA_FRAMES, NULL, &m), MN_ENOINPUT);
    path = in_folder("text.mp4");
    write_file(path, "no video at all\n", 16);
    cr_assert_eq(data_media_read(path, DATA_MEDIA_FRAMES, NULL, &m), MN_EDATA);
    path = in_folder("empty.avi");
    write_file(path, "", 0);
    cr_assert_eq(data_media_read(path, DATA_MEDIA_FRAMES, NULL, &m), MN_EDATA);
    // A playlist, which would make a general player open other files.
    path = in_folder("list.mp4");
    write_file(path, "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 38);
    cr_assert_eq(data_media_read(path, DATA_MEDIA_FRAMES, NULL, &m), MN_EDATA);
    cr_assert_null(m.t_us);
}

// Cut and overwritten files: an error that names the file, or what was left of it; the helper may die, we may not.
Test(media, damaged_files, .timeout = 60)
{
    data_media m;
    int16_t *pcm = clicks();
    static char path[400], bad[400];
    snprintf(path, sizeof path, "%s", in_folder("good.mp4"));
    snprintf(bad, sizeof bad, "%s", in_folder("bad.mp4"));
    make(path, (data_media_spec){.pcm = pcm, .samples = SAMPLES});
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    size_t size = (size_t)st.st_size;
    uint8_t *bytes = malloc(size), *copy = malloc(size);
    int fd = open(path, O_RDONLY);
    cr_assert(bytes && copy && read(fd, bytes, size) == (ssize_t)size);
    close(fd);
    unsigned seed = 12345;
    for (int i = 0; i < 16; i++) {
        size_t kept = i < 8 ? size * (size_t)(i + 1) / 9 : size;
        memcpy(copy, bytes, size);
        for (int k = 0; k < 20 && i >= 8; k++) {
            seed = seed * 1664525u + 1013904223u;
            copy[(seed >> 8) % size] = (uint8_t)seed;
        }
        write_file(bad, copy, kept);
        data_media_limits limits = {.seconds = 10};
        mn_err err = data_media_read(bad, DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND, &limits, &m);
        if (err != MN_OK) {
            cr_assert_not_null(strstr(mn_errmsg(), "bad.mp4"), "%s", mn_errmsg());
            cr_assert(err == MN_EDATA || err == MN_ERETRY, "%s", mn_errmsg());
        }
        if (i < 6) cr_assert_neq(err, MN_OK, "the index is at the end: what is cut far from it has none");
        data_media_free(&m);
    }
    free(bytes);
    free(copy);
    free(pcm);
}

Test(media, limits_end_it)
{
    data_media m;
    int16_t *pcm = clicks();
    const char *path = in_folder("limits.mp4");
    make(path, (data_media_spec){.pcm = pcm, .samples = SAMPLES});
    data_media_limits few = {.frames = FRAMES - 1}, quiet = {.samples = 1000}, hasty = {.seconds = 1e-6};
    cr_assert_eq(data_media_read(path, DATA_MEDIA_FRAMES, &few, &m), MN_EDATA);
    cr_assert_eq(data_media_read(path, DATA_MEDIA_SOUND, &quiet, &m), MN_EDATA);
    cr_assert_eq(data_media_read(path, DATA_MEDIA_FRAMES, &hasty, &m), MN_ERETRY);
    free(pcm);
}

Test(media, a_writer_that_fails_leaves_nothing)
{
    data_media_writer *w;
    data_media_spec s = {
        .path = in_folder("none.mp4"), .width = W, .height = H, .fps_num = 30, .fps_den = 1, .frames = 5};
    uint8_t rgb[W * H * 3] = {0};
    cr_assert_eq(data_media_create(&w, &s), MN_OK);
    cr_assert_eq(data_media_frame(w, 0, rgb), MN_OK); // and no more: four are missing
    fclose(stderr);                                   // the helper says so
    cr_assert_eq(data_media_finish(w), MN_EIO);
    cr_assert_neq(access(s.path, F_OK), 0);
}
