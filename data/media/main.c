// mien-media: the helper beside mien that reads and writes video files and the tables of IMDB-WIKI.
//
//     mien-media probe FILE                          what is in it, as JSON
//     mien-media read FILE [--no-frames|--no-sound]  times of the frames and 16 kHz mono sound, as chunks (wire.h)
//     mien-media make FILE --size 160x120 --frames N --samples N < sound and frames
//     mien-media faces FILE                          rows of imdb.mat or wiki.mat, as chunks
//     mien-media make-faces FILE --variable imdb < rows
//
// FILE "-" is the standard input, which must be a file. Before anything of FILE is looked at the process gives up what
// it does not need: address space, processor time, opening files, new privileges.
#include "data/media/faces.h"
#include "data/media/media.h"
#include "nn/base/mem.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ROOMY 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ROOMY 1
#endif
#ifndef ROOMY
#define ROOMY 0 // a sanitizer reserves terabytes of address space
#endif

enum {
    NO_FRAMES = 256,
    NAME,
    NO_SOUND,
    MEMORY,
    SECONDS,
    SIZE,
    FPS,
    VFR,
    FRAMES,
    SAMPLES,
    RATE,
    CHANNELS,
    START,
    DRIFT,
    LEAP,
    ROTATION,
    VIDEO,
    AUDIO,
    VARIABLE,
    PLAIN
};

typedef struct arguments {
    const char *verb, *path, *name;
    int no_frames, no_sound;
    rlim_t memory, seconds;
    media_make_cfg make;
    media_faces_cfg faces;
} arguments;

static const struct argp_option options[] = {
    {"no-frames", NO_FRAMES, 0, 0, "read: the sound only", 0},
    {"no-sound", NO_SOUND, 0, 0, "read: the frames only", 0},
    {"name", NAME, "TEXT", 0, "read: what FILE is called in messages", 0},
    {"size", SIZE, "WxH", 0, "make: size of the frames", 0},
    {"fps", FPS, "N/D", 0, "make: frames per second, 30/1", 0},
    {"vfr", VFR, 0, 0, "make: keep the times of the frames instead", 0},
    {"frames", FRAMES, "N", 0, "make: how many come", 0},
    {"samples", SAMPLES, "N", 0, "make: how many samples of 16 kHz mono come before the frames; 0: no sound", 0},
    {"rate", RATE, "HZ", 0, "make: rate of the sound in the file, 16000", 0},
    {"channels", CHANNELS, "N", 0, "make: its channels, 1", 0},
    {"audio-start-us", START, "N", 0, "make: start of the sound after the first frame, 0", 0},
    {"drift-ppm", DRIFT, "N", 0, "make: how much the times of the sound run slower than its samples, 0", 0},
    {"leap-us", LEAP, "N", 0, "make: how much they leap in the middle of the sound, 0", 0},
    {"rotation", ROTATION, "DEGREES", 0, "make: what the header says of it: 0, 90, 180, 270", 0},
    {"video", VIDEO, "mpeg4|h264", 0, "make: encoder of the frames, mpeg4", 0},
    {"audio", AUDIO, "aac|mp3|pcm", 0, "make: encoder of the sound, aac", 0},
    {"variable", VARIABLE, "imdb|wiki", 0, "make-faces: name of the struct, imdb", 0},
    {"plain", PLAIN, 0, 0, "make-faces: not compressed, UTF-8, doubles only", 0},
    {"memory", MEMORY, "MIB", 0, "limit of address space, 2048", 0},
    {"seconds", SECONDS, "N", 0, "limit of processor time, 3600", 0},
    {0},
};

static int64_t number(struct argp_state *state, const char *text, int64_t low, int64_t high)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (errno || end == text || *end || v < low || v > high)
        argp_error(state, "%s is no number from %" PRId64 " to %" PRId64, text, low, high);
    return v;
}

// "160x120", "30000/1001".
static void two_numbers(struct argp_state *state, const char *text, char between, int *a, int *b)
{
    char *end;
    long first = strtol(text, &end, 10), second = *end == between ? strtol(end + 1, &end, 10) : 0;
    if (*end || first < 1 || second < 1 || first > 1000000 || second > 1000000)
        argp_error(state, "%s is not of the form N%cN", text, between);
    *a = (int)first;
    *b = (int)second;
}

static error_t parse_make(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    media_make_cfg *m = &a->make;
    switch (key) {
    case SIZE:
        two_numbers(state, arg, 'x', &m->width, &m->height);
        return 0;
    case FPS:
        two_numbers(state, arg, '/', &m->fps_num, &m->fps_den);
        return 0;
    case VFR:
        m->vfr = 1;
        return 0;
    case FRAMES:
        m->frames = number(state, arg, 1, 100000000);
        return 0;
    case SAMPLES:
        m->samples = number(state, arg, 0, INT64_C(10000000000));
        return 0;
    case RATE:
        m->rate = (int)number(state, arg, 8000, 192000);
        return 0;
    case CHANNELS:
        m->channels = (int)number(state, arg, 1, 2);
        return 0;
    case START:
        m->audio_start_us = number(state, arg, -10000000, 10000000);
        return 0;
    case DRIFT:
        m->drift_ppm = (int)number(state, arg, -100000, 100000);
        return 0;
    case LEAP:
        m->leap_us = (int)number(state, arg, -1000000, 1000000);
        return 0;
    case ROTATION:
        m->rotation = (int)number(state, arg, 0, 270);
        return 0;
    case VIDEO:
        m->video = arg;
        return 0;
    case AUDIO:
        m->audio = arg;
        return 0;
    case VARIABLE:
        a->faces.variable = arg;
        return 0;
    case PLAIN:
        a->faces.plain = 1;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    arguments *a = state->input;
    switch (key) {
    case NO_FRAMES:
        a->no_frames = 1;
        return 0;
    case NAME:
        a->name = arg;
        return 0;
    case NO_SOUND:
        a->no_sound = 1;
        return 0;
    case MEMORY:
        a->memory = (rlim_t)number(state, arg, 64, 1 << 20);
        return 0;
    case SECONDS:
        a->seconds = (rlim_t)number(state, arg, 1, 1000000);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0)
            a->verb = arg;
        else if (state->arg_num == 1)
            a->path = arg;
        else
            return ARGP_ERR_UNKNOWN;
        return 0;
    case ARGP_KEY_END:
        if (state->arg_num < 2) argp_usage(state);
        return 0;
    default:
        return parse_make(key, arg, state);
    }
}

static mn_err limit_one(int resource, rlim_t value, const char *what)
{
    struct rlimit r;
    if (getrlimit(resource, &r) != 0) return mn_fail(MN_EINTERNAL, "cannot read the limit of %s", what);
    r.rlim_cur = r.rlim_max == RLIM_INFINITY || value < r.rlim_max ? value : r.rlim_max;
    r.rlim_max = r.rlim_cur;
    if (setrlimit(resource, &r) == 0) return MN_OK;
    return mn_fail(MN_EINTERNAL, "cannot limit %s: %s", what, strerror(errno));
}

// files: how many descriptors may be open from now on; those already open stay.
static mn_err give_up_rights(const arguments *a, rlim_t files)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return mn_fail(MN_EINTERNAL, "prctl: %s", strerror(errno));
    if (!ROOMY) MN_TRY(limit_one(RLIMIT_AS, a->memory << 20, "memory"));
    MN_TRY(limit_one(RLIMIT_CPU, a->seconds, "processor time"));
    MN_TRY(limit_one(RLIMIT_CORE, 0, "core files"));
    return limit_one(RLIMIT_NOFILE, files, "open files");
}

static mn_err put(int fd, const void *data, size_t bytes)
{
    const char *p = data;
    while (bytes > 0) {
        ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return mn_fail(MN_EIO, "the reader of this output went away: %s", strerror(errno));
        p += n;
        bytes -= (size_t)n;
    }
    return MN_OK;
}

static mn_err chunk(uint32_t tag, const void *data, size_t bytes)
{
    const char *p = data;
    do {
        uint32_t part = bytes < WIRE_MAX_CHUNK ? (uint32_t)bytes : WIRE_MAX_CHUNK;
        wire_head head = {tag, part};
        MN_TRY(put(STDOUT_FILENO, &head, sizeof head));
        MN_TRY(put(STDOUT_FILENO, p, part));
        p += part;
        bytes -= part;
    } while (bytes > 0);
    return MN_OK;
}

static mn_err chunk_info(void *ctx, const wire_info *info)
{
    (void)ctx;
    return chunk(WIRE_INFO, info, sizeof *info);
}

static mn_err chunk_times(void *ctx, const int64_t *t_us, int64_t n)
{
    (void)ctx;
    return chunk(WIRE_TIMES, t_us, (size_t)n * sizeof *t_us);
}

static mn_err chunk_pcm(void *ctx, const int16_t *pcm, int64_t n)
{
    (void)ctx;
    return chunk(WIRE_PCM, pcm, (size_t)n * sizeof *pcm);
}

static mn_err print_info(void *ctx, const wire_info *i)
{
    (void)ctx;
    printf("{\"width\":%d,\"height\":%d,\"rotation\":%d,\"video\":\"%s\",\"fps\":\"%d/"
           "%d\",\"has_audio\":%d,\"audio\":\"%s\","
           "\"audio_rate\":%d,\"audio_channels\":%d,\"audio_offset_us\":%" PRId64 ",\"damaged\":%" PRId64,
           i->width, i->height, i->rotation, i->video_codec, i->fps_num, i->fps_den, i->has_audio, i->audio_codec,
           i->audio_rate, i->audio_channels, i->audio_offset_us, i->damaged);
    return MN_OK;
}

typedef struct collected {
    int64_t *t_us;
    int64_t n, capacity;
} collected;

static mn_err collect_times(void *ctx, const int64_t *t_us, int64_t n)
{
    collected *c = ctx;
    if (c->n + n > c->capacity) {
        c->capacity = 2 * (c->n + n);
        c->t_us = mn_realloc(c->t_us, (size_t)c->capacity, sizeof *c->t_us);
    }
    memcpy(c->t_us + c->n, t_us, (size_t)n * sizeof *t_us);
    c->n += n;
    return MN_OK;
}

static mn_err probe(int fd, const char *name)
{
    collected c = {0};
    mn_err err = media_read(fd, name, &(media_sink){.ctx = &c, .info = print_info, .times = collect_times});
    if (err == MN_OK) {
        printf(",\"frames\":%" PRId64 ",\"t_us\":[", c.n);
        for (int64_t i = 0; i < c.n; i++)
            printf("%s%" PRId64, i ? "," : "", c.t_us[i]);
        printf("]}\n");
        if (fflush(stdout) != 0) err = mn_fail(MN_EIO, "standard output: %s", strerror(errno));
    }
    free(c.t_us);
    return err;
}

static mn_err read_chunks(const arguments *a, int fd)
{
    media_sink sink = {
        .info = chunk_info, .times = a->no_frames ? NULL : chunk_times, .pcm = a->no_sound ? NULL : chunk_pcm};
    mn_err err = media_read(fd, a->name ? a->name : a->path, &sink);
    if (err == MN_OK) return chunk(WIRE_END, NULL, 0);
    mn_err sent = chunk(WIRE_FAIL, mn_errmsg(), strlen(mn_errmsg()));
    return sent == MN_OK ? err : sent;
}

static mn_err chunk_rows(void *ctx, const void *rows, size_t bytes)
{
    (void)ctx;
    return chunk(WIRE_FACES, rows, bytes);
}

static mn_err faces_chunks(const arguments *a, int fd)
{
    mn_err err = media_faces_file(fd, a->name ? a->name : a->path, chunk_rows, NULL);
    if (err == MN_OK) return chunk(WIRE_END, NULL, 0);
    mn_err sent = chunk(WIRE_FAIL, mn_errmsg(), strlen(mn_errmsg()));
    return sent == MN_OK ? err : sent;
}

static mn_err run(arguments *a)
{
    if (strcmp(a->verb, "make-faces") == 0) {
        MN_TRY(give_up_rights(a, 16));
        a->faces.path = a->path;
        return media_faces_make(&a->faces, STDIN_FILENO);
    }
    if (strcmp(a->verb, "make") == 0) {
        MN_TRY(give_up_rights(a, 16));
        a->make.path = a->path;
        return media_make(&a->make, STDIN_FILENO);
    }
    int reads = strcmp(a->verb, "read") == 0, faces = strcmp(a->verb, "faces") == 0;
    if (!reads && !faces && strcmp(a->verb, "probe") != 0)
        return mn_fail(MN_EUSAGE, "%s is none of probe, read, make, faces, make-faces", a->verb);
    int fd = strcmp(a->path, "-") == 0 ? STDIN_FILENO : open(a->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return mn_fail(MN_ENOINPUT, "%s: %s", a->path, strerror(errno));
    mn_err err = give_up_rights(a, 0);
    if (err == MN_OK) err = faces ? faces_chunks(a, fd) : reads ? read_chunks(a, fd) : probe(fd, a->path);
    if (fd != STDIN_FILENO) close(fd);
    return err;
}

int main(int argc, char **argv)
{
    arguments a = {
        .memory = 2048,
        .seconds = 3600,
        .faces = {.variable = "imdb"},
        .make = {.video = "mpeg4", .audio = "aac", .fps_num = 30, .fps_den = 1, .rate = 16000, .channels = 1}};
    static const struct argp argp = {options,
                                     parse,
                                     "probe|read|make|faces|make-faces FILE",
                                     "Reads and writes video files, and tables of faces, for mien.",
                                     NULL,
                                     NULL,
                                     NULL};
    argp_err_exit_status = 64;
    if (argp_parse(&argp, argc, argv, 0, NULL, &a) != 0) return 64;
    mn_err err = run(&a);
    if (err != MN_OK) fprintf(stderr, "mien-media: %s\n", mn_errmsg());
    return mn_exit_code(err);
}
