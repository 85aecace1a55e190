// One pass over the file per stream: first the frames, because the time of the first of them is where time begins, then
// the sound, laid out on that time: what comes before is cut off, gaps become silence. FFmpeg sees an open descriptor
// through callbacks and never a name, so a file cannot make it open another one; formats and codecs are a short list.
#include "data/media/media.h"

#include "nn/base/mem.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char formats[] = "mov,mp4,m4a,3gp,3g2,mj2,avi,wav";
static const char codecs[] = "h264,mpeg4,aac,mp3,mp3float,pcm_s16le,pcm_s16be,pcm_u8,pcm_s24le,pcm_s32le,pcm_f32le";

enum {
    BUFFER_BYTES = 1 << 16,
    JUMP = WIRE_RATE / 20,          // a sound frame this many samples away from its time is moved there;
    SLACK = WIRE_RATE / 1000,       // one that is off by more than this is drifting, and stretched
    GENTLY = WIRE_RATE / 2,         // so that it is right after this many
    HOLE_US = 5000,                 // the least distance of two frames that is a hole or an overlap
    LONGEST = WIRE_RATE * 3600 * 12 // samples
};

typedef struct file {
    int fd;
    const char *name;
    AVFormatContext *format;
    AVIOContext *io;
    AVCodecContext *codec;
    int stream;
    AVPacket *packet;
    AVFrame *frame;
    int64_t damaged;
} file;

const char *media_error(int code)
{
    static _Thread_local char text[AV_ERROR_MAX_STRING_SIZE];
    return av_make_error_string(text, sizeof text, code);
}

static int read_bytes(void *ctx, uint8_t *buffer, int size)
{
    const file *f = ctx;
    ssize_t n;
    do
        n = read(f->fd, buffer, (size_t)size);
    while (n < 0 && errno == EINTR);
    return n > 0 ? (int)n : n == 0 ? AVERROR_EOF : AVERROR(errno);
}

static int64_t seek_bytes(void *ctx, int64_t offset, int whence)
{
    const file *f = ctx;
    struct stat s;
    if (whence & AVSEEK_SIZE) return fstat(f->fd, &s) == 0 ? s.st_size : AVERROR(errno);
    off_t at = lseek(f->fd, offset, whence & ~AVSEEK_FORCE);
    return at >= 0 ? at : AVERROR(errno);
}

// A file that refers to another one does not get it.
static int refuse_open(AVFormatContext *s, AVIOContext **pb, const char *url, int flags, AVDictionary **o)
{
    (void)s;
    (void)pb;
    (void)url;
    (void)flags;
    (void)o;
    return AVERROR(EACCES);
}

static void file_close(file *f)
{
    avcodec_free_context(&f->codec);
    avformat_close_input(&f->format);
    if (f->io) {
        av_freep(&f->io->buffer);
        avio_context_free(&f->io);
    }
    av_packet_free(&f->packet);
    av_frame_free(&f->frame);
}

static mn_err file_open(file *f, int fd, const char *name)
{
    *f = (file){.fd = fd, .name = name, .stream = -1};
    if (lseek(fd, 0, SEEK_SET) != 0) return mn_fail(MN_EIO, "%s: cannot seek: %s", name, strerror(errno));
    uint8_t *buffer = av_malloc(BUFFER_BYTES);
    f->io = buffer ? avio_alloc_context(buffer, BUFFER_BYTES, 0, f, read_bytes, NULL, seek_bytes) : NULL;
    f->format = avformat_alloc_context();
    f->packet = av_packet_alloc();
    f->frame = av_frame_alloc();
    if (!f->io || !f->format || !f->packet || !f->frame) {
        if (!f->io) av_free(buffer);
        return mn_fail(MN_EMEM, "%s: out of memory", name);
    }
    f->format->pb = f->io;
    f->format->io_open = refuse_open;
    f->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    AVDictionary *options = NULL;
    int rc = av_dict_set(&options, "format_whitelist", formats, 0);
    if (rc >= 0) rc = av_dict_set(&options, "codec_whitelist", codecs, 0);
    if (rc >= 0) rc = avformat_open_input(&f->format, "", NULL, &options);
    av_dict_free(&options);
    if (rc < 0) return mn_fail(MN_EDATA, "%s: no readable mp4, avi or wav file: %s", name, media_error(rc));
    rc = avformat_find_stream_info(f->format, NULL);
    if (rc < 0) return mn_fail(MN_EDATA, "%s: damaged header: %s", name, media_error(rc));
    return MN_OK;
}

static int is_listed(const char *codec)
{
    size_t n = strlen(codec);
    for (const char *p = codecs; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, codec, n) == 0 && (p[n] == ',' || p[n] == 0)) return 1;
    }
    return 0;
}

// The first stream of a kind that is a stream of its own (no cover picture); -1: none.
static int find_stream(const file *f, enum AVMediaType type)
{
    for (unsigned i = 0; i < f->format->nb_streams; i++) {
        const AVStream *s = f->format->streams[i];
        if (s->codecpar->codec_type == type && !(s->disposition & AV_DISPOSITION_ATTACHED_PIC)) return (int)i;
    }
    return -1;
}

static mn_err open_codec(file *f, int stream)
{
    const AVCodecParameters *par = f->format->streams[stream]->codecpar;
    const char *name = avcodec_get_name(par->codec_id);
    const AVCodec *decoder = avcodec_find_decoder(par->codec_id);
    f->stream = stream;
    for (unsigned i = 0; i < f->format->nb_streams; i++)
        f->format->streams[i]->discard = (int)i == stream ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
    if (!is_listed(name) || !decoder)
        return mn_fail(MN_EDATA,
                       "%s: a stream in %s, which is not read here; read are h264, mpeg4, aac, mp3 and pcm: "
                       "convert the file",
                       f->name, name);
    f->codec = avcodec_alloc_context3(decoder);
    if (!f->codec) return mn_fail(MN_EMEM, "%s: out of memory", f->name);
    f->codec->thread_count = 1;
    f->codec->pkt_timebase = f->format->streams[stream]->time_base;
    f->codec->max_pixels = 1 << 26;
    // Times and counts are wanted, not pictures.
    f->codec->skip_loop_filter = AVDISCARD_ALL;
    f->codec->skip_idct = AVDISCARD_ALL;
    int rc = avcodec_parameters_to_context(f->codec, par);
    if (rc >= 0) rc = avcodec_open2(f->codec, decoder, NULL);
    if (rc < 0) return mn_fail(MN_EDATA, "%s: %s decoder: %s", f->name, name, media_error(rc));
    return MN_OK;
}

typedef mn_err (*frame_fn)(void *ctx, file *f, int *stop);

static mn_err receive(file *f, frame_fn fn, void *ctx, int *stop)
{
    while (!*stop) {
        int rc = avcodec_receive_frame(f->codec, f->frame);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF) return MN_OK;
        if (rc == AVERROR(ENOMEM)) return mn_fail(MN_EMEM, "%s: out of memory", f->name);
        if (rc < 0) {
            f->damaged++;
            return MN_OK;
        }
        MN_TRY(fn(ctx, f, stop));
        av_frame_unref(f->frame);
    }
    return MN_OK;
}

// Every frame of the open stream. A packet that does not decode is counted, not fatal: the file has other ones.
static mn_err decode(file *f, frame_fn fn, void *ctx)
{
    int stop = 0, rc;
    while (!stop && (rc = av_read_frame(f->format, f->packet)) >= 0) {
        if (f->packet->stream_index == f->stream) {
            rc = avcodec_send_packet(f->codec, f->packet);
            if (rc < 0 && rc != AVERROR(EAGAIN)) f->damaged++;
            mn_err err = receive(f, fn, ctx, &stop);
            if (err != MN_OK) {
                av_packet_unref(f->packet);
                return err;
            }
        }
        av_packet_unref(f->packet);
    }
    if (stop) return MN_OK;
    rc = avcodec_send_packet(f->codec, NULL);
    if (rc < 0 && rc != AVERROR_EOF) f->damaged++;
    return receive(f, fn, ctx, &stop);
}

// ---- Frames

typedef struct frames {
    const media_sink *sink; // NULL: only the first frame is wanted
    int64_t first_us, last_us, step_us, count;
    int64_t pending[4096];
    int64_t n_pending;
} frames;

static mn_err flush_times(frames *v)
{
    int64_t n = v->n_pending;
    v->n_pending = 0;
    return v->sink && n > 0 ? v->sink->times(v->sink->ctx, v->pending, n) : MN_OK;
}

static mn_err take_frame(void *ctx, file *f, int *stop)
{
    frames *v = ctx;
    int64_t pts = f->frame->best_effort_timestamp, t = v->last_us + v->step_us;
    if (pts != AV_NOPTS_VALUE) t = av_rescale_q(pts, f->format->streams[f->stream]->time_base, AV_TIME_BASE_Q);
    if (v->count == 0) v->first_us = t;
    if (v->count > 0 && t <= v->last_us) t = v->last_us + 1; // times increase, whatever the file says
    v->last_us = t;
    v->count++;
    if (!v->sink) {
        *stop = 1;
        return MN_OK;
    }
    v->pending[v->n_pending++] = t - v->first_us;
    return v->n_pending == (int64_t)(sizeof v->pending / sizeof *v->pending) ? flush_times(v) : MN_OK;
}

static void name_codec(char text[16], enum AVCodecID id)
{
    snprintf(text, 16, "%s", avcodec_get_name(id));
}

// Degrees clockwise, in steps of 90.
static int rotation_of(const AVStream *s)
{
    const void *matrix;
#if LIBAVFORMAT_VERSION_INT >= AV_VERSION_INT(60, 15, 100)
    const AVPacketSideData *d = av_packet_side_data_get(s->codecpar->coded_side_data, s->codecpar->nb_coded_side_data,
                                                        AV_PKT_DATA_DISPLAYMATRIX);
    matrix = d && d->size >= 9 * sizeof(int32_t) ? d->data : NULL;
#else
    size_t bytes = 0;
    matrix = av_stream_get_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, &bytes);
    if (bytes < 9 * sizeof(int32_t)) matrix = NULL;
#endif
    double degrees = matrix ? -av_display_rotation_get(matrix) : 0; // NaN: the matrix is none of a rotation
    return isfinite(degrees) ? (int)((lround(degrees / 90) % 4 + 4) % 4) * 90 : 0;
}

static mn_err read_frames(int fd, const char *name, const media_sink *sink, wire_info *info, int64_t *first_us)
{
    file f;
    mn_err err = file_open(&f, fd, name);
    frames *v = mn_calloc(1, sizeof *v);
    int stream = err == MN_OK ? find_stream(&f, AVMEDIA_TYPE_VIDEO) : -1;
    *first_us = AV_NOPTS_VALUE;
    if (stream < 0) goto out;
    AVStream *s = f.format->streams[stream];
    AVRational fps = s->avg_frame_rate.num > 0 ? s->avg_frame_rate : s->r_frame_rate;
    if (fps.num > 0 && fps.den > 0) {
        info->fps_num = fps.num;
        info->fps_den = fps.den;
        v->step_us = av_rescale(1000000, fps.den, fps.num);
    }
    info->width = s->codecpar->width;
    info->height = s->codecpar->height;
    info->rotation = rotation_of(s);
    name_codec(info->video_codec, s->codecpar->codec_id);
    v->sink = sink->times ? sink : NULL;
    MN_TRY_OUT(err, open_codec(&f, stream));
    MN_TRY_OUT(err, decode(&f, take_frame, v));
    MN_TRY_OUT(err, flush_times(v));
    if (v->count == 0)
        err = mn_fail(MN_EDATA, "%s: no frame decodes (%lld damaged packets)", name, (long long)f.damaged);
    *first_us = v->first_us;
    info->damaged += f.damaged;
out:
    free(v);
    file_close(&f);
    return err;
}

// ---- Sound

typedef struct sound {
    const media_sink *sink;
    wire_info *info;
    SwrContext *swr;
    int rate, channels, format; // that the resampler was made for
    int64_t origin_us, written; // time of sample 0, samples handed on
    int64_t end_us;             // of the frame before, by the file's times; AV_NOPTS_VALUE: none yet
    int started, torn;          // torn: the sound before ended, what follows goes where its own time says
} sound;

static mn_err open_resampler(sound *s, const file *f)
{
    AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
    AVFrame *in = f->frame;
    swr_free(&s->swr);
    int rc = swr_alloc_set_opts2(&s->swr, &mono, AV_SAMPLE_FMT_S16, WIRE_RATE, &in->ch_layout, in->format,
                                 in->sample_rate, 0, NULL);
    // In floats, and with a filter that leaves everything up to 7 kHz alone: the defaults are made for speed.
    if (rc >= 0) rc = av_opt_set_int(s->swr, "tsf", AV_SAMPLE_FMT_FLTP, 0);
    if (rc >= 0) rc = av_opt_set_int(s->swr, "filter_size", 128, 0);
    if (rc >= 0) rc = swr_init(s->swr);
    if (rc < 0) return mn_fail(MN_EDATA, "%s: cannot resample its sound: %s", f->name, media_error(rc));
    s->rate = in->sample_rate;
    s->channels = in->ch_layout.nb_channels;
    s->format = in->format;
    return MN_OK;
}

static mn_err silence(sound *s, int64_t n)
{
    static const int16_t zeros[4096];
    for (; n > 0; n -= 4096) {
        int64_t part = n < 4096 ? n : 4096;
        MN_TRY(s->sink->pcm(s->sink->ctx, zeros, part));
        s->written += part;
    }
    return MN_OK;
}

// Hands on n samples that belong at sample `at`; AV_NOPTS_VALUE: behind the last.
static mn_err lay_down(sound *s, const int16_t *pcm, int64_t n, int64_t at)
{
    if (at != AV_NOPTS_VALUE && (!s->started || s->torn || llabs(at - s->written) > JUMP)) {
        if (at > LONGEST) return mn_fail(MN_EDATA, "its sound has a time beyond 12 hours");
        if (at > s->written) MN_TRY(silence(s, at - s->written));
        int64_t early = s->written - at < n ? s->written - at : n;
        pcm += early;
        n -= early;
    }
    if (n <= 0) return MN_OK;
    s->started = 1;
    s->torn = 0;
    s->written += n;
    return s->sink->pcm(s->sink->ctx, pcm, n);
}

static mn_err convert(sound *s, const file *f, const uint8_t **in, int n_in, int64_t at)
{
    int room = swr_get_out_samples(s->swr, n_in);
    if (room < 0) return mn_fail(MN_EDATA, "%s: cannot resample its sound: %s", f->name, media_error(room));
    int16_t *out = malloc((size_t)room * sizeof *out + 1);
    if (!out) return mn_fail(MN_EMEM, "%s: out of memory", f->name);
    int n = swr_convert(s->swr, (uint8_t **)&out, room, in, n_in);
    mn_err err = n < 0 ? mn_fail(MN_EDATA, "%s: cannot resample its sound: %s", f->name, media_error(n))
                       : mn_while(lay_down(s, out, n, at), "reading %s", f->name);
    free(out);
    return err;
}

// The clock of the sound is another one than that of the frames: 0.1 % are 60 ms in a minute. `late`: how many samples
// the sound is behind its time. The resampler makes up for it in the next half second, and is asked again with each frame.
static mn_err follow_clock(sound *s, const file *f, int64_t late)
{
    if (!s->started || llabs(late) < SLACK || llabs(late) > JUMP) return MN_OK;
    int rc = swr_set_compensation(s->swr, (int)late, GENTLY);
    return rc < 0 ? mn_fail(MN_EDATA, "%s: cannot stretch its sound: %s", f->name, media_error(rc)) : MN_OK;
}

// Does the frame at t_us begin where the one before ended? A lost packet leaves a hole as long as its sound: too short for
// JUMP, too long to be stretched over, during which the sound would be early.
static int is_torn(const sound *s, const AVFrame *in, int64_t t_us)
{
    if (!s->started || s->end_us == AV_NOPTS_VALUE) return 0;
    int64_t off_us = llabs(t_us - s->end_us);
    return off_us > HOLE_US && off_us > av_rescale(in->nb_samples, 500000, in->sample_rate);
}

// Takes what the resampler still holds, and makes it forget what it has heard.
static mn_err end_piece(sound *s, const file *f)
{
    MN_TRY(convert(s, f, NULL, 0, AV_NOPTS_VALUE));
    int rc = swr_init(s->swr);
    return rc < 0 ? mn_fail(MN_EDATA, "%s: cannot resample its sound: %s", f->name, media_error(rc)) : MN_OK;
}

// A time that no differences can be taken of is none.
static int64_t time_of(const file *f)
{
    const int64_t most = INT64_MAX / 4;
    int64_t t = f->frame->best_effort_timestamp;
    if (t != AV_NOPTS_VALUE) t = av_rescale_q(t, f->format->streams[f->stream]->time_base, AV_TIME_BASE_Q);
    return t > most || t < -most ? AV_NOPTS_VALUE : t;
}

static void note_start(sound *s, int64_t t_us)
{
    if (s->end_us != AV_NOPTS_VALUE) return;
    if (s->origin_us == AV_NOPTS_VALUE) s->origin_us = t_us;
    s->info->audio_offset_us = t_us - s->origin_us;
}

static mn_err take_sound(void *ctx, file *f, int *stop)
{
    (void)stop;
    sound *s = ctx;
    const AVFrame *in = f->frame;
    int64_t t = time_of(f), at = AV_NOPTS_VALUE;
    int torn = t != AV_NOPTS_VALUE && is_torn(s, in, t);
    int same =
        s->swr && s->rate == in->sample_rate && s->channels == in->ch_layout.nb_channels && s->format == in->format;
    if (torn) MN_TRY(end_piece(s, f));
    s->torn |= torn;
    if (!same) MN_TRY(open_resampler(s, f));
    if (t != AV_NOPTS_VALUE) {
        note_start(s, t);
        s->end_us = t + av_rescale(in->nb_samples, 1000000, in->sample_rate);
        at = av_rescale(t - s->origin_us, WIRE_RATE, 1000000) - swr_get_delay(s->swr, WIRE_RATE);
        if (!s->torn) MN_TRY(follow_clock(s, f, at - s->written));
    }
    return convert(s, f, (const uint8_t **)in->extended_data, in->nb_samples, at);
}

// Only when the sound begins is wanted.
static mn_err take_start(void *ctx, file *f, int *stop)
{
    int64_t t = time_of(f);
    if (t != AV_NOPTS_VALUE) note_start(ctx, t);
    *stop = 1;
    return MN_OK;
}

static mn_err read_sound(int fd, const char *name, const media_sink *sink, wire_info *info, int64_t origin_us)
{
    file f;
    sound s = {.sink = sink, .info = info, .origin_us = origin_us, .end_us = AV_NOPTS_VALUE};
    mn_err err = file_open(&f, fd, name);
    int stream = err == MN_OK ? find_stream(&f, AVMEDIA_TYPE_AUDIO) : -1;
    if (stream < 0) goto out;
    const AVCodecParameters *par = f.format->streams[stream]->codecpar;
    info->has_audio = 1;
    info->audio_rate = par->sample_rate;
    info->audio_channels = par->ch_layout.nb_channels;
    name_codec(info->audio_codec, par->codec_id);
    if (!sink->pcm) { // a codec that is not read here is no error then
        if (open_codec(&f, stream) == MN_OK) MN_TRY_OUT(err, decode(&f, take_start, &s));
        goto out;
    }
    MN_TRY_OUT(err, open_codec(&f, stream));
    MN_TRY_OUT(err, decode(&f, take_sound, &s));
    if (s.swr) MN_TRY_OUT(err, convert(&s, &f, NULL, 0, AV_NOPTS_VALUE));
    info->damaged += f.damaged;
out:
    swr_free(&s.swr);
    file_close(&f);
    return err;
}

mn_err media_read(int fd, const char *name, const media_sink *sink)
{
    wire_info info = {.fps_den = 1};
    int64_t first_us;
    av_log_set_level(AV_LOG_QUIET);
    MN_TRY(read_frames(fd, name, sink, &info, &first_us));
    MN_TRY(read_sound(fd, name, sink, &info, first_us));
    if (first_us == AV_NOPTS_VALUE && !info.has_audio)
        return mn_fail(MN_EDATA, "%s: neither video nor sound in it", name);
    return sink->info ? sink->info(sink->ctx, &info) : MN_OK;
}
