// Makes the videos of the generated corpora. The sound is read first and kept (32 kB a second); frames are encoded as
// they come, each after the sound that is heard before it.
#include "data/media/media.h"

#include "nn/base/mem.h"

#include <errno.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>
#include <libswscale/swscale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct track {
    AVCodecContext *codec;
    AVStream *stream;
    AVFrame *frame;
} track;

typedef struct maker {
    const media_make_cfg *cfg;
    int in;
    AVFormatContext *format;
    AVPacket *packet;
    track video, audio;
    struct SwsContext *scale;
    SwrContext *swr;
    uint8_t *rgb;
    int16_t *pcm;
    int64_t fed, encoded; // samples given to the resampler; samples of the file encoded
    int64_t delay_us;     // added to the times of the frames where the sound begins before them
} maker;

static mn_err failed(const maker *m, const char *what, int rc)
{
    return mn_fail(rc == AVERROR(ENOMEM) ? MN_EMEM : MN_EIO, "%s: %s: %s", m->cfg->path, what, media_error(rc));
}

static mn_err take(int fd, void *data, size_t bytes)
{
    uint8_t *p = data;
    while (bytes > 0) {
        ssize_t n = read(fd, p, bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mn_fail(MN_EIO, "standard input: %s", strerror(errno));
        if (n == 0) return mn_fail(MN_EDATA, "standard input ends before the frames and sound that were announced");
        p += n;
        bytes -= (size_t)n;
    }
    return MN_OK;
}

static const char *encoder_name(const char *name)
{
    static const char *const names[][2] = {
        {"mpeg4", "mpeg4"}, {"h264", "libx264"}, {"aac", "aac"}, {"mp3", "libmp3lame"}, {"pcm", "pcm_s16le"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], name) == 0) return names[i][1];
    return name;
}

static mn_err new_track(maker *m, track *t, const char *name)
{
    const AVCodec *encoder = avcodec_find_encoder_by_name(encoder_name(name));
    if (!encoder) return mn_fail(MN_EDEVICE, "%s: this FFmpeg has no encoder for %s", m->cfg->path, name);
    t->codec = avcodec_alloc_context3(encoder);
    t->stream = avformat_new_stream(m->format, NULL);
    t->frame = av_frame_alloc();
    if (!t->codec || !t->stream || !t->frame) return failed(m, "encoder", AVERROR(ENOMEM));
    t->codec->thread_count = 1;
    t->codec->flags |= AV_CODEC_FLAG_BITEXACT;
    if (m->format->oformat->flags & AVFMT_GLOBALHEADER) t->codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    return MN_OK;
}

static mn_err open_track(maker *m, track *t, AVDictionary **options)
{
    int rc = avcodec_open2(t->codec, NULL, options);
    av_dict_free(options);
    if (rc < 0) return failed(m, "encoder", rc);
    t->stream->time_base = t->codec->time_base;
    rc = avcodec_parameters_from_context(t->stream->codecpar, t->codec);
    return rc < 0 ? failed(m, "encoder", rc) : MN_OK;
}

static mn_err put_rotation(maker *m)
{
    size_t bytes = 9 * sizeof(int32_t);
    if (m->cfg->rotation == 0) return MN_OK;
    AVStream *s = m->video.stream;
#if LIBAVFORMAT_VERSION_INT >= AV_VERSION_INT(60, 15, 100)
    AVPacketSideData *d = av_packet_side_data_new(&s->codecpar->coded_side_data, &s->codecpar->nb_coded_side_data,
                                                  AV_PKT_DATA_DISPLAYMATRIX, bytes, 0);
    void *matrix = d ? d->data : NULL;
#else
    void *matrix = av_stream_new_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, bytes);
#endif
    if (!matrix) return failed(m, "rotation", AVERROR(ENOMEM));
    av_display_rotation_set(matrix, m->cfg->rotation); // clockwise, unlike av_display_rotation_get
    return MN_OK;
}

static mn_err open_video(maker *m)
{
    const media_make_cfg *cfg = m->cfg;
    MN_TRY(new_track(m, &m->video, cfg->video));
    AVCodecContext *c = m->video.codec;
    c->width = cfg->width;
    c->height = cfg->height;
    c->pix_fmt = AV_PIX_FMT_YUV420P;
    c->time_base = cfg->vfr ? (AVRational){1, 10000} : (AVRational){cfg->fps_den, cfg->fps_num};
    if (!cfg->vfr) c->framerate = m->video.stream->avg_frame_rate = (AVRational){cfg->fps_num, cfg->fps_den};
    c->gop_size = 60;
    AVDictionary *options = NULL;
    int rc = 0;
    if (strcmp(cfg->video, "h264") == 0) {
        rc = av_dict_set(&options, "preset", "ultrafast", 0);
        if (rc >= 0) rc = av_dict_set(&options, "crf", "26", 0);
        if (rc >= 0) rc = av_dict_set(&options, "bf", "2", 0); // frames stored out of order, as in the real files
    } else {
        c->flags |= AV_CODEC_FLAG_QSCALE;
        c->global_quality = FF_QP2LAMBDA * 5;
    }
    if (rc < 0) return failed(m, "options", rc);
    MN_TRY(open_track(m, &m->video, &options));
    MN_TRY(put_rotation(m));
    AVFrame *f = m->video.frame;
    f->format = c->pix_fmt;
    f->width = c->width;
    f->height = c->height;
    rc = av_frame_get_buffer(f, 0);
    m->scale = sws_getContext(c->width, c->height, AV_PIX_FMT_RGB24, c->width, c->height, c->pix_fmt, SWS_BILINEAR,
                              NULL, NULL, NULL);
    if (rc < 0 || !m->scale) return failed(m, "frames", rc < 0 ? rc : AVERROR(ENOMEM));
    return MN_OK;
}

static mn_err open_audio(maker *m)
{
    const media_make_cfg *cfg = m->cfg;
    MN_TRY(new_track(m, &m->audio, cfg->audio));
    AVCodecContext *c = m->audio.codec;
    c->sample_rate = cfg->rate;
    c->sample_fmt = strcmp(cfg->audio, "pcm") == 0 ? AV_SAMPLE_FMT_S16 : AV_SAMPLE_FMT_FLTP;
    av_channel_layout_default(&c->ch_layout, cfg->channels);
    c->bit_rate = 48000 * cfg->channels;
    c->time_base = (AVRational){1, cfg->rate};
    AVDictionary *options = NULL;
    MN_TRY(open_track(m, &m->audio, &options));
    AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
    int rc = swr_alloc_set_opts2(&m->swr, &c->ch_layout, c->sample_fmt, c->sample_rate, &mono, AV_SAMPLE_FMT_S16,
                                 WIRE_RATE, 0, NULL);
    if (rc >= 0) rc = swr_init(m->swr);
    AVFrame *f = m->audio.frame;
    f->format = c->sample_fmt;
    f->sample_rate = c->sample_rate;
    f->nb_samples = c->frame_size > 0 ? c->frame_size : 1024;
    if (rc >= 0) rc = av_channel_layout_copy(&f->ch_layout, &c->ch_layout);
    if (rc >= 0) rc = av_frame_get_buffer(f, 0);
    return rc < 0 ? failed(m, "sound", rc) : MN_OK;
}

// Times of the sound as a clock gives them that is too slow by so much, and leaps in the middle of the sound.
static void drift(const media_make_cfg *cfg, AVPacket *p, AVRational base)
{
    int64_t middle = av_rescale_q(cfg->samples / 2, (AVRational){1, WIRE_RATE}, base);
    int64_t leap = p->pts >= middle ? av_rescale_q(cfg->leap_us, AV_TIME_BASE_Q, base) : 0;
    int ppm = cfg->drift_ppm;
    if (p->pts != AV_NOPTS_VALUE) p->pts = av_rescale(p->pts, 1000000 + ppm, 1000000) + leap;
    if (p->dts != AV_NOPTS_VALUE) p->dts = av_rescale(p->dts, 1000000 + ppm, 1000000) + leap;
}

static mn_err encode(maker *m, track *t, AVFrame *frame)
{
    const media_make_cfg *cfg = m->cfg;
    int rc = avcodec_send_frame(t->codec, frame);
    if (rc < 0) return failed(m, "encoder", rc);
    while ((rc = avcodec_receive_packet(t->codec, m->packet)) >= 0) {
        // A last frame of no length would lie behind the end of the file's edit list.
        if (t == &m->video && m->packet->duration == 0)
            m->packet->duration = av_rescale_q(1, (AVRational){cfg->fps_den, cfg->fps_num}, t->codec->time_base);
        av_packet_rescale_ts(m->packet, t->codec->time_base, t->stream->time_base);
        if (t == &m->audio) drift(cfg, m->packet, t->stream->time_base);
        m->packet->stream_index = t->stream->index;
        rc = av_interleaved_write_frame(m->format, m->packet);
        if (rc < 0) return failed(m, "writing", rc);
    }
    return rc == AVERROR(EAGAIN) || rc == AVERROR_EOF ? MN_OK : failed(m, "encoder", rc);
}

// One frame of nb_samples of sound; *n: how many there were, fewer only at the end, where an encoder still takes them.
// The resampler is told of the end (no input) once all is fed: before that it would lose what it holds back.
static mn_err next_sound(maker *m, int *n)
{
    AVFrame *f = m->audio.frame;
    int rc = av_frame_make_writable(f), channels = f->ch_layout.nb_channels, bytes = av_get_bytes_per_sample(f->format);
    int planes = av_sample_fmt_is_planar(f->format) ? channels : 1, step = bytes * channels / planes;
    *n = 0;
    for (int done = rc < 0; !done;) {
        uint8_t *out[AV_NUM_DATA_POINTERS];
        for (int k = 0; k < planes; k++)
            out[k] = f->data[k] + *n * step;
        int64_t left = m->cfg->samples - m->fed, part = left < 1024 ? left : 1024;
        const uint8_t *in = (const uint8_t *)(m->pcm + m->fed);
        rc = swr_convert(m->swr, out, f->nb_samples - *n, left > 0 ? &in : NULL, (int)part);
        m->fed += part;
        *n += rc < 0 ? 0 : rc;
        done = rc < 0 || *n == f->nb_samples || (left == 0 && rc == 0);
    }
    return rc < 0 ? failed(m, "sound", rc) : MN_OK;
}

// Encodes sound up to the file's time `until_us`.
static mn_err encode_sound(maker *m, int64_t until_us)
{
    if (m->cfg->samples == 0) return MN_OK;
    int64_t start = m->cfg->audio_start_us > 0 ? m->cfg->audio_start_us : 0;
    int64_t first = av_rescale(start, m->cfg->rate, 1000000);
    AVFrame *f = m->audio.frame;
    int room = f->nb_samples;
    while (av_rescale(first + m->encoded, 1000000, m->cfg->rate) < until_us) {
        int n = 0;
        MN_TRY(next_sound(m, &n));
        if (n == 0) return MN_OK;
        f->nb_samples = n;
        f->pts = first + m->encoded;
        m->encoded += n;
        mn_err err = encode(m, &m->audio, f);
        f->nb_samples = room;
        MN_TRY(err);
        if (n < room) return MN_OK;
    }
    return MN_OK;
}

static mn_err encode_frame(maker *m, int64_t *last_pts)
{
    AVFrame *f = m->video.frame;
    const AVRational *base = &m->video.codec->time_base;
    int64_t t_us;
    int stride = 3 * m->cfg->width;
    MN_TRY(take(m->in, &t_us, sizeof t_us));
    MN_TRY(take(m->in, m->rgb, (size_t)stride * (size_t)m->cfg->height));
    t_us += m->delay_us;
    MN_TRY(encode_sound(m, t_us));
    int rc = av_frame_make_writable(f);
    if (rc < 0) return failed(m, "frames", rc);
    rc = sws_scale(m->scale, (const uint8_t *const[]){m->rgb}, &stride, 0, m->cfg->height, f->data, f->linesize);
    if (rc < 0) return failed(m, "frames", rc);
    f->pts = av_rescale_q(t_us, AV_TIME_BASE_Q, *base);
    if (f->pts <= *last_pts) f->pts = *last_pts + 1;
    *last_pts = f->pts;
    return encode(m, &m->video, f);
}

static mn_err open_output(maker *m)
{
    const media_make_cfg *cfg = m->cfg;
    int rc = avformat_alloc_output_context2(&m->format, NULL, NULL, cfg->path);
    m->packet = av_packet_alloc();
    if (rc < 0 || !m->packet) return failed(m, "format", rc < 0 ? rc : AVERROR(ENOMEM));
    m->format->flags |= AVFMT_FLAG_BITEXACT;
    if (strcmp(m->format->oformat->name, "avi") == 0) // has no times: a shift would become an empty frame
        m->format->avoid_negative_ts = AVFMT_AVOID_NEG_TS_DISABLED;
    MN_TRY(open_video(m));
    if (cfg->samples > 0) MN_TRY(open_audio(m));
    rc = avio_open(&m->format->pb, cfg->path, AVIO_FLAG_WRITE);
    if (rc < 0) return mn_fail(MN_ECREATE, "%s: %s", cfg->path, media_error(rc));
    rc = avformat_write_header(m->format, NULL);
    return rc < 0 ? failed(m, "header", rc) : MN_OK;
}

static mn_err make_all(maker *m)
{
    const media_make_cfg *cfg = m->cfg;
    int64_t last_pts = -1;
    MN_TRY(take(m->in, m->pcm, (size_t)cfg->samples * sizeof *m->pcm));
    MN_TRY(open_output(m));
    for (int64_t i = 0; i < cfg->frames; i++)
        MN_TRY(encode_frame(m, &last_pts));
    MN_TRY(encode(m, &m->video, NULL));
    MN_TRY(encode_sound(m, INT64_MAX));
    if (cfg->samples > 0) MN_TRY(encode(m, &m->audio, NULL));
    int rc = av_write_trailer(m->format);
    if (rc >= 0) rc = avio_closep(&m->format->pb);
    return rc < 0 ? failed(m, "closing", rc) : MN_OK;
}

static void track_free(track *t)
{
    avcodec_free_context(&t->codec);
    av_frame_free(&t->frame);
}

mn_err media_make(const media_make_cfg *cfg, int in)
{
    maker m = {.cfg = cfg, .in = in};
    size_t pixels, bytes;
    if (cfg->width < 16 || cfg->height < 16 || cfg->width % 2 || cfg->height % 2 || cfg->frames < 1)
        return mn_fail(MN_EUSAGE, "%s: --size (even, at least 16x16) and --frames are needed", cfg->path);
    MN_TRY(mn_mul_size((size_t)cfg->width * 3, (size_t)cfg->height, &pixels));
    MN_TRY(mn_mul_size((size_t)cfg->samples, sizeof *m.pcm, &bytes));
    av_log_set_level(AV_LOG_QUIET);
    m.delay_us = cfg->audio_start_us < 0 ? -cfg->audio_start_us : 0;
    m.rgb = malloc(pixels);
    m.pcm = malloc(bytes + 1);
    mn_err err = m.rgb && m.pcm ? make_all(&m) : mn_fail(MN_EMEM, "%s: out of memory", cfg->path);
    if (m.format && m.format->pb) avio_closep(&m.format->pb); // after an error, whose message stays
    sws_freeContext(m.scale);
    swr_free(&m.swr);
    track_free(&m.video);
    track_free(&m.audio);
    av_packet_free(&m.packet);
    avformat_free_context(m.format);
    free(m.rgb);
    free(m.pcm);
    return err;
}
