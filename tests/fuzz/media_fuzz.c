// What mien-media says to its parent, if hostile media had taken it over: the first two bytes are how much comes at a
// time, the rest is the stream.
// fuzz-sources: data/media.c
#include "data/media.h"
#include "data/media_child.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const unsigned char *stream;
static size_t left, piece;

mn_err data__child_start(data__child *c, char *const argv[], int file, const char *name, double seconds)
{
    (void)argv;
    (void)file;
    *c = (data__child){.name = name, .deadline = seconds};
    return MN_OK;
}

mn_err data__child_read(data__child *c, void *bytes, size_t size, size_t *n)
{
    (void)c;
    *n = size < piece ? size : piece;
    if (*n > left) *n = left;
    memcpy(bytes, stream, *n);
    stream += *n;
    left -= *n;
    return MN_OK;
}

mn_err data__child_read_whole(data__child *c, void *bytes, size_t size, int *end)
{
    *end = 0;
    for (size_t at = 0, n; at < size && !*end; at += n) {
        MN_TRY(data__child_read(c, (char *)bytes + at, size - at, &n));
        *end = n == 0;
    }
    return MN_OK;
}

mn_err data__child_write(data__child *c, const void *bytes, size_t size)
{
    (void)c;
    (void)bytes;
    (void)size;
    abort();
}

mn_err data__child_end(data__child *c, int kill_it, int *status)
{
    (void)c;
    (void)kill_it;
    *status = 0;
    return MN_OK;
}

mn_err data__child_verdict(const char *name, int status, const char *failure)
{
    return mn_fail(MN_EDATA, "%s: status %d: %s", name, status, failure);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const data_media_limits limits = {.frames = 3000, .samples = 5000};
    data_media m;
    if (size < 2) return 0;
    (void)setenv("MIEN_MEDIA", "/bin/true", 1); // any program: it is not started
    piece = 1 + data[0] + 256u * (data[1] & 15);
    stream = data + 2;
    left = size - 2;
    mn_err err = data_media_read("/bin/true", DATA_MEDIA_FRAMES | DATA_MEDIA_SOUND, &limits, &m);
    if (err == MN_OK) {
        int64_t sum = 0; // every byte that it says it has is there
        for (int64_t i = 0; i < m.frames; i++)
            sum ^= m.t_us[i];
        for (int64_t i = 0; i < m.samples; i++)
            sum ^= m.pcm[i];
        volatile int64_t used = sum;
        (void)used;
        if (m.frames > limits.frames || m.samples > limits.samples) abort();
        if (m.width < 0 || m.height < 0 || m.fps_num < 0 || m.fps_den < 0 || m.audio_rate < 0) abort();
        if (!memchr(m.video_codec, 0, sizeof m.video_codec)) abort();
        data_media_free(&m);
    } else if (!*mn_errmsg()) {
        abort();
    }
    return 0;
}
