#include "data/media.h"

#include "data/media/wire.h"
#include "data/media_child.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

mn_err data_media_program(char *path, size_t size)
{
    static const char *const places[] = {"", "/.."}; // beside the program; tests are one folder below it
    char self[PATH_MAX];
    const char *named = getenv("MIEN_MEDIA");
    if (named && *named) {
        if ((size_t)snprintf(path, size, "%s", named) < size && access(path, X_OK) == 0) return MN_OK;
        return mn_fail(MN_ENOINPUT, "MIEN_MEDIA names %s, which is no program", named);
    }
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return mn_fail(MN_ENOINPUT, "/proc/self/exe: %s", strerror(errno));
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int length = snprintf(path, size, "%s%s/mien-media", self, places[i]);
        if (length > 0 && (size_t)length < size && access(path, X_OK) == 0) return MN_OK;
    }
    return mn_fail(MN_ENOINPUT,
                   "the helper mien-media is not beside the program in %s; build it, or name it in MIEN_MEDIA", self);
}

void data_media_free(data_media *m)
{
    free(m->t_us);
    free(m->pcm);
    *m = (data_media){0};
}

// ---- Reading

typedef struct reader {
    data__child child;
    const char *path;
    data_media *out;
    int64_t most_frames, most_samples, frames_room, samples_room;
    int ended;
    char failure[512];
} reader;

// Room for `more` items behind *n of them; doubled, up to `most`.
static mn_err make_room(reader *r, void **items, int64_t n, int64_t more, int64_t *room, int64_t most, size_t size)
{
    if (n + more > most)
        return mn_fail(MN_EDATA, "%s: more than the %lld frames or samples that are allowed", r->path, (long long)most);
    if (n + more <= *room) return MN_OK;
    int64_t larger = 2 * (n + more) < most ? 2 * (n + more) : most;
    size_t bytes;
    MN_TRY(mn_mul_size((size_t)larger, size, &bytes));
    void *p = realloc(*items, bytes);
    if (!p) return mn_fail(MN_EMEM, "%s: no memory for %lld frames or samples", r->path, (long long)larger);
    *items = p;
    *room = larger;
    return MN_OK;
}

static void keep_info(data_media *m, const wire_info *i)
{
    int turned = i->rotation == 90 || i->rotation == 270;
    m->rotation = i->rotation;
    m->width = turned ? i->height : i->width;
    m->height = turned ? i->width : i->height;
    m->fps_num = i->fps_num;
    m->fps_den = i->fps_den;
    m->has_audio = i->has_audio;
    m->audio_rate = i->audio_rate;
    m->audio_channels = i->audio_channels;
    m->audio_offset_us = i->audio_offset_us;
    m->damaged = i->damaged;
    snprintf(m->video_codec, sizeof m->video_codec, "%.15s", i->video_codec);
    snprintf(m->audio_codec, sizeof m->audio_codec, "%.15s", i->audio_codec);
}

// One chunk; *end: the stream ended, with or without END.
static mn_err read_chunk(reader *r, int *end)
{
    data_media *m = r->out;
    wire_head head;
    wire_info info;
    MN_TRY(data__child_read_whole(&r->child, &head, sizeof head, end));
    if (*end) return MN_OK;
    if (head.bytes > WIRE_MAX_CHUNK) return mn_fail(MN_EINTERNAL, "%s: the helper talks nonsense", r->path);
    int64_t n;
    switch (head.tag) {
    case WIRE_INFO:
        if (head.bytes != sizeof info) break;
        MN_TRY(data__child_read_whole(&r->child, &info, sizeof info, end));
        if (*end) return MN_OK;
        if (info.width < 0 || info.height < 0 || info.fps_num < 0 || info.fps_den < 0 || info.audio_rate < 0) break;
        if (info.rotation < 0 || info.rotation > 270 || info.rotation % 90 != 0) break;
        keep_info(m, &info);
        return MN_OK;
    case WIRE_TIMES:
        n = head.bytes / (int64_t)sizeof *m->t_us;
        if (n == 0 || head.bytes % sizeof *m->t_us) break;
        MN_TRY(make_room(r, (void **)&m->t_us, m->frames, n, &r->frames_room, r->most_frames, sizeof *m->t_us));
        MN_TRY(data__child_read_whole(&r->child, m->t_us + m->frames, (size_t)n * sizeof *m->t_us, end));
        m->frames += n;
        return MN_OK;
    case WIRE_PCM:
        n = head.bytes / (int64_t)sizeof *m->pcm;
        if (n == 0 || head.bytes % sizeof *m->pcm) break;
        MN_TRY(make_room(r, (void **)&m->pcm, m->samples, n, &r->samples_room, r->most_samples, sizeof *m->pcm));
        MN_TRY(data__child_read_whole(&r->child, m->pcm + m->samples, (size_t)n * sizeof *m->pcm, end));
        m->samples += n;
        return MN_OK;
    case WIRE_FAIL:
        if (head.bytes >= sizeof r->failure) break;
        MN_TRY(data__child_read_whole(&r->child, r->failure, head.bytes, end));
        r->failure[head.bytes] = 0;
        *end = 1;
        return MN_OK;
    case WIRE_END:
        r->ended = *end = 1;
        return MN_OK;
    default:
        break;
    }
    return mn_fail(MN_EINTERNAL, "%s: the helper talks nonsense", r->path);
}

static mn_err start_reader(reader *r, unsigned want, const data_media_limits *l)
{
    char program[PATH_MAX], memory[40], seconds[40];
    double wait = l && l->seconds > 0 ? l->seconds : 3600;
    int64_t size;
    int file;
    MN_TRY(data_media_program(program, sizeof program));
    MN_TRY(mn_file_open(&file, r->path, &size));
    snprintf(memory, sizeof memory, "--memory=%lld", (long long)(l && l->memory_mib > 0 ? l->memory_mib : 2048));
    snprintf(seconds, sizeof seconds, "--seconds=%lld", (long long)wait + 1);
    // The parent opened the file: the child is given no name that it could open something else by.
    char *name = mn_sprintf("--name=%s", r->path);
    char *argv[] = {program, "read", "-", memory, seconds, name, NULL, NULL};
    if (!(want & DATA_MEDIA_FRAMES)) argv[6] = "--no-frames";
    if (!(want & DATA_MEDIA_SOUND)) argv[6] = "--no-sound";
    mn_err err = data__child_start(&r->child, argv, file, r->path, wait);
    free(name);
    close(file);
    return err;
}

mn_err data_media_read(const char *path, unsigned want, const data_media_limits *limits, data_media *out)
{
    const data_media_limits none = {0}, *l = limits ? limits : &none;
    reader r = {.path = path,
                .out = out,
                .most_frames = l->frames > 0 ? l->frames : 10000000,
                .most_samples = l->samples > 0 ? l->samples : (int64_t)12 * 3600 * DATA_MEDIA_RATE};
    int end = 0, status = 0;
    *out = (data_media){0};
    mn_assert(want & (DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND));
    MN_TRY(start_reader(&r, want, l));
    mn_err err = MN_OK;
    while (err == MN_OK && !end)
        err = read_chunk(&r, &end);
    mn_err gone = data__child_end(&r.child, err != MN_OK, &status);
    if (err == MN_OK) err = gone;
    if (err == MN_OK && !r.ended) err = data__child_verdict(path, status, r.failure);
    if (err != MN_OK) data_media_free(out);
    return err;
}

// ---- Writing

struct data_media_writer {
    data__child child;
    char *path;
    size_t frame_bytes;
};

static mn_err start_writer(data_media_writer *w, const data_media_spec *s)
{
    char program[PATH_MAX], size[40], fps[40], frames[40], samples[40], rate[40], channels[40], start[40], video[40],
        audio[40], drift[40], leap[40], rotation[40];
    MN_TRY(data_media_program(program, sizeof program));
    snprintf(size, sizeof size, "--size=%dx%d", s->width, s->height);
    snprintf(fps, sizeof fps, "--fps=%d/%d", s->fps_num, s->fps_den);
    snprintf(frames, sizeof frames, "--frames=%lld", (long long)s->frames);
    snprintf(samples, sizeof samples, "--samples=%lld", (long long)s->samples);
    snprintf(rate, sizeof rate, "--rate=%d", s->rate ? s->rate : DATA_MEDIA_RATE);
    snprintf(channels, sizeof channels, "--channels=%d", s->channels ? s->channels : 1);
    snprintf(start, sizeof start, "--audio-start-us=%lld", (long long)s->audio_start_us);
    snprintf(video, sizeof video, "--video=%s", s->video ? s->video : "mpeg4");
    snprintf(audio, sizeof audio, "--audio=%s", s->audio ? s->audio : "aac");
    snprintf(drift, sizeof drift, "--drift-ppm=%d", s->drift_ppm);
    snprintf(leap, sizeof leap, "--leap-us=%d", s->leap_us);
    snprintf(rotation, sizeof rotation, "--rotation=%d", s->rotation);
    char *argv[] = {program, "make", w->path, size,  fps,  frames,   samples, rate, channels,
                    start,   video,  audio,   drift, leap, rotation, NULL,    NULL};
    if (s->vfr) argv[15] = "--vfr";
    return data__child_start(&w->child, argv, -1, w->path, 3600);
}

mn_err data_media_create(data_media_writer **out, const data_media_spec *spec)
{
    data_media_writer *w = mn_calloc(1, sizeof *w);
    w->path = mn_strdup(spec->path);
    w->frame_bytes = (size_t)spec->width * (size_t)spec->height * 3;
    mn_err err = start_writer(w, spec);
    if (err != MN_OK) {
        free(w->path);
        free(w);
        return err;
    }
    err = data__child_write(&w->child, spec->pcm, (size_t)spec->samples * sizeof *spec->pcm);
    if (err != MN_OK) {
        data_media_abort(w);
        return err;
    }
    *out = w;
    return MN_OK;
}

mn_err data_media_frame(data_media_writer *w, int64_t t_us, const uint8_t *rgb)
{
    MN_TRY(data__child_write(&w->child, &t_us, sizeof t_us));
    return data__child_write(&w->child, rgb, w->frame_bytes);
}

static void writer_free(data_media_writer *w)
{
    free(w->path);
    free(w);
}

mn_err data_media_finish(data_media_writer *w)
{
    int status = 0;
    mn_err err = data__child_end(&w->child, 0, &status);
    if (err == MN_OK && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        err = mn_fail(MN_EIO, "%s: the helper that writes it failed; what it said is above", w->path);
    if (err != MN_OK) unlink(w->path);
    writer_free(w);
    return err;
}

void data_media_abort(data_media_writer *w)
{
    int status = 0;
    if (!w) return;
    // An earlier error is being reported; that the end of the child could not be waited for adds nothing to it.
    (void)!data__child_end(&w->child, 1, &status);
    unlink(w->path);
    writer_free(w);
}
