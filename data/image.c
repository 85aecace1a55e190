#include "data/image.h"

#include "data/shard.h"
#include "nn/base/mem.h"

#include <limits.h>
#include <spng.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

struct data_coder {
    tjhandle decoder, encoder;
    data_image_fault fault;
    uint8_t *jpeg; // grown by libturbojpeg
    unsigned long jpeg_capacity;
    void *png;           // the last PNG encoded
    data_image unturned; // what an orientation is applied to
    uint8_t *cmyk;
    size_t cmyk_capacity;
};

typedef struct stored { // what a header says, before orientation
    int codec, width, height, channels, orientation;
    int cmyk, inverted;
} stored;

mn_err data_coder_open(data_coder **out)
{
    data_coder *c = mn_calloc(1, sizeof *c);
    c->decoder = tjInitDecompress();
    c->encoder = tjInitCompress();
    if (!c->decoder || !c->encoder) {
        mn_err err = mn_fail(MN_EMEM, "libturbojpeg: %s", tjGetErrorStr2(NULL));
        data_coder_close(c);
        return err;
    }
    *out = c;
    return MN_OK;
}

void data_coder_close(data_coder *c)
{
    if (!c) return;
    if (c->decoder) tjDestroy(c->decoder);
    if (c->encoder) tjDestroy(c->encoder);
    tjFree(c->jpeg);
    free(c->png);
    free(c->cmyk);
    data_image_release(&c->unturned);
    free(c);
}

data_image_fault data_coder_fault(const data_coder *c)
{
    return c->fault;
}

static const char *fault_text(data_image_fault f)
{
    static const char *const texts[] = {
#define TEXT(name, text) text,
        DATA_IMAGE_FAULTS(TEXT)
#undef TEXT
    };
    return texts[f];
}

void data_image_release(data_image *im)
{
    free(im->rgb);
    *im = (data_image){0};
}

static mn_err grow(uint8_t **p, size_t *capacity, size_t need)
{
    if (need <= *capacity) return MN_OK;
    uint8_t *larger = realloc(*p, need);
    if (!larger) return mn_fail(MN_EMEM, "no memory for a picture of %zu bytes", need);
    *p = larger;
    *capacity = need;
    return MN_OK;
}

static mn_err shape_image(data_image *im, int width, int height)
{
    size_t need;
    MN_TRY(mn_mul_size((size_t)width * 3, (size_t)height, &need));
    MN_TRY(grow(&im->rgb, &im->capacity, need));
    im->width = width;
    im->height = height;
    return MN_OK;
}

static mn_err refuse(data_coder *c, data_image_fault fault, const char *detail)
{
    c->fault = fault;
    return mn_fail(MN_EDATA, "%s%s%s%s", fault_text(fault), detail ? " (" : "", detail ? detail : "",
                   detail ? ")" : "");
}

static unsigned be16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

static uint32_t tiff_number(const uint8_t *p, int bytes, int big_endian)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)p[big_endian ? bytes - 1 - i : i] << (8 * i);
    return v;
}

// Tag 0x112 of the first directory of an APP1 segment (`p` after its length); 1 where there is none or it is broken.
static int exif_orientation(const uint8_t *p, size_t size)
{
    if (size < 20 || memcmp(p, "Exif\0\0", 6) != 0) return 1;
    const uint8_t *tiff = p + 6;
    size_t n = size - 6;
    int big = tiff[0] == 'M';
    size_t at = tiff_number(tiff + 4, 4, big);
    if (at > n - 2) return 1;
    size_t entries = tiff_number(tiff + at, 2, big);
    for (size_t i = 0; i < entries; i++) {
        size_t entry = at + 2 + 12 * i;
        if (entry + 12 > n) return 1;
        if (tiff_number(tiff + entry, 2, big) != 0x112) continue;
        uint32_t value = tiff_number(tiff + entry + 8, 2, big);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

// What libturbojpeg's header call does not tell: orientation, and whether Adobe's marker says inverted CMYK.
static void scan_segments(const uint8_t *p, size_t size, stored *s)
{
    size_t at = 2;
    while (at + 4 <= size && p[at] == 0xff) {
        unsigned marker = p[at + 1];
        size_t length = be16(p + at + 2);
        if (marker == 0xda || length < 2 || length > size - at - 2) return;
        const uint8_t *body = p + at + 4;
        if (marker == 0xe1 && s->orientation == 1) s->orientation = exif_orientation(body, length - 2);
        if (marker == 0xee && length >= 7 && memcmp(body, "Adobe", 5) == 0) s->inverted = 1;
        at += 2 + length;
    }
}

// libturbojpeg 2.1 leaves a decoder that failed inside a header in the middle of that header: the next picture, a good
// one, would be refused.
static mn_err renew_decoder(data_coder *c)
{
    tjDestroy(c->decoder);
    c->decoder = tjInitDecompress();
    return c->decoder ? MN_OK : mn_fail(MN_EMEM, "libturbojpeg: %s", tjGetErrorStr2(NULL));
}

static mn_err read_jpeg_header(data_coder *c, const uint8_t *p, size_t size, stored *s)
{
    int subsampling = 0, colours = 0;
    if (tjDecompressHeader3(c->decoder, p, (unsigned long)size, &s->width, &s->height, &subsampling, &colours) != 0) {
        mn_err err = refuse(c, DATA_IMAGE_HEADER, tjGetErrorStr2(c->decoder));
        MN_TRY(renew_decoder(c));
        return err;
    }
    if (s->width <= 0 || s->height <= 0) return refuse(c, DATA_IMAGE_HEADER, "tables without a picture");
    s->codec = DATA_CODEC_JPEG;
    s->cmyk = colours == TJCS_CMYK || colours == TJCS_YCCK;
    s->channels = s->cmyk ? 4 : colours == TJCS_GRAY ? 1 : 3;
    scan_segments(p, size, s);
    return MN_OK;
}

// A PNG must be whole: CRCs are checked, unneeded chunks are not kept, and their memory is capped.
static mn_err open_png(data_coder *c, const uint8_t *p, size_t size, spng_ctx **out, struct spng_ihdr *header)
{
    spng_ctx *png = spng_ctx_new(0);
    if (!png) return mn_fail(MN_EMEM, "no memory for a PNG reader");
    int rc = spng_set_image_limits(png, INT_MAX, INT_MAX);
    if (!rc) rc = spng_set_chunk_limits(png, 1 << 20, 1 << 20);
    if (!rc) rc = spng_set_crc_action(png, SPNG_CRC_ERROR, SPNG_CRC_ERROR);
    if (!rc) rc = spng_set_png_buffer(png, p, size);
    if (!rc) rc = spng_get_ihdr(png, header);
    if (rc) {
        spng_ctx_free(png);
        return refuse(c, DATA_IMAGE_HEADER, spng_strerror(rc));
    }
    *out = png;
    return MN_OK;
}

static mn_err read_png_header(data_coder *c, const uint8_t *p, size_t size, stored *s)
{
    spng_ctx *png;
    struct spng_ihdr header;
    MN_TRY(open_png(c, p, size, &png, &header));
    spng_ctx_free(png);
    s->codec = DATA_CODEC_PNG;
    s->width = (int)header.width;
    s->height = (int)header.height;
    s->channels = header.color_type == SPNG_COLOR_TYPE_GRAYSCALE         ? 1
                  : header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ? 2
                  : header.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA ? 4
                                                                         : 3;
    return MN_OK;
}

static mn_err read_header(data_coder *c, const uint8_t *p, size_t size, stored *s)
{
    static const uint8_t png_magic[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    *s = (stored){.orientation = 1};
    c->fault = DATA_IMAGE_FINE;
    if (size == 0) return refuse(c, DATA_IMAGE_EMPTY, NULL);
    if (size >= 3 && p[0] == 0xff && p[1] == 0xd8 && p[2] == 0xff)
        MN_TRY(read_jpeg_header(c, p, size, s));
    else if (size >= 8 && memcmp(p, png_magic, 8) == 0)
        MN_TRY(read_png_header(c, p, size, s));
    else
        return refuse(c, DATA_IMAGE_FORMAT, NULL);
    if ((int64_t)s->width * s->height > DATA_IMAGE_MAX_PIXELS) {
        c->fault = DATA_IMAGE_LARGE;
        return mn_fail(MN_EDATA, "%d x %d pixels, more than the %lld that are allowed", s->width, s->height,
                       (long long)DATA_IMAGE_MAX_PIXELS);
    }
    return MN_OK;
}

mn_err data_image_probe(data_coder *c, const void *bytes, size_t size, data_image_info *out)
{
    stored s;
    MN_TRY(read_header(c, bytes, size, &s));
    int turned = s.orientation >= 5;
    *out = (data_image_info){.codec = s.codec,
                             .width = turned ? s.height : s.width,
                             .height = turned ? s.width : s.height,
                             .channels = s.channels,
                             .orientation = s.orientation};
    return MN_OK;
}

static int scaled(int side, int denominator)
{
    return (side + denominator - 1) / denominator;
}

static mn_err decompress(data_coder *c, const uint8_t *p, size_t size, uint8_t *to, int width, int height, int format)
{
    int flags = TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS | TJFLAG_ACCURATEDCT;
    if (tjDecompress2(c->decoder, p, (unsigned long)size, to, width, 0, height, format, flags) == 0) return MN_OK;
    mn_err err = refuse(c, DATA_IMAGE_DAMAGED, tjGetErrorStr2(c->decoder));
    MN_TRY(renew_decoder(c));
    return err;
}

static mn_err decode_cmyk(data_coder *c, const uint8_t *p, size_t size, const stored *s, data_image *out)
{
    size_t pixels = (size_t)out->width * (size_t)out->height;
    MN_TRY(grow(&c->cmyk, &c->cmyk_capacity, pixels * 4));
    MN_TRY(decompress(c, p, size, c->cmyk, out->width, out->height, TJPF_CMYK));
    unsigned flip = s->inverted ? 0 : 255; // stored inverted: the values are already "how much light"
    for (size_t i = 0; i < pixels; i++) {
        const uint8_t *ink = c->cmyk + 4 * i;
        unsigned black = ink[3] ^ flip;
        for (int k = 0; k < 3; k++)
            out->rgb[3 * i + (size_t)k] = (uint8_t)(((ink[k] ^ flip) * black + 127) / 255);
    }
    return MN_OK;
}

static mn_err decode_jpeg(data_coder *c, const uint8_t *p, size_t size, const stored *s, int at_least, data_image *out)
{
    int shorter = s->width < s->height ? s->width : s->height, denominator = 1;
    while (at_least > 0 && denominator < 8 && scaled(shorter, denominator * 2) >= at_least)
        denominator *= 2;
    MN_TRY(shape_image(out, scaled(s->width, denominator), scaled(s->height, denominator)));
    if (s->cmyk) return decode_cmyk(c, p, size, s, out);
    return decompress(c, p, size, out->rgb, out->width, out->height, TJPF_RGB);
}

// Whether the chunks reach a whole IEND: the decoder is content with a file cut inside that last one.
static int png_ends(const uint8_t *p, size_t size)
{
    size_t at = 8;
    while (size - at >= 12) {
        size_t length = (size_t)be16(p + at) << 16 | be16(p + at + 2);
        if (length > size - at - 12) return 0;
        if (memcmp(p + at + 4, "IEND", 4) == 0) return 1;
        at += 12 + length;
    }
    return 0;
}

static mn_err decode_png(data_coder *c, const uint8_t *p, size_t size, data_image *out)
{
    spng_ctx *png;
    struct spng_ihdr header;
    MN_TRY(open_png(c, p, size, &png, &header));
    mn_err err;
    MN_TRY_OUT(err, shape_image(out, (int)header.width, (int)header.height));
    size_t bytes = (size_t)out->width * (size_t)out->height * 3;
    int rc = spng_decode_image(png, out->rgb, bytes, SPNG_FMT_RGB8, 0);
    if (!rc) rc = spng_decode_chunks(png); // checks what follows the pixels too
    if (rc) err = refuse(c, DATA_IMAGE_DAMAGED, spng_strerror(rc));
    if (!rc && !png_ends(p, size)) err = refuse(c, DATA_IMAGE_DAMAGED, "no end mark");
out:
    spng_ctx_free(png);
    return err;
}

// EXIF: where the pixel (x, y) of the upright picture is in the stored one.
static void stored_position(int orientation, int width, int height, int x, int y, int *sx, int *sy)
{
    int turned = orientation >= 5;
    int a = turned ? y : x, b = turned ? x : y; // (a, b): stored axes
    int flip_a = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    int flip_b = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    *sx = flip_a ? width - 1 - a : a;
    *sy = flip_b ? height - 1 - b : b;
}

static mn_err turn_upright(const data_image *in, int orientation, data_image *out)
{
    int turned = orientation >= 5;
    MN_TRY(shape_image(out, turned ? in->height : in->width, turned ? in->width : in->height));
    for (int y = 0; y < out->height; y++) {
        for (int x = 0; x < out->width; x++) {
            int sx, sy;
            stored_position(orientation, in->width, in->height, x, y, &sx, &sy);
            memcpy(out->rgb + ((size_t)y * (size_t)out->width + (size_t)x) * 3,
                   in->rgb + ((size_t)sy * (size_t)in->width + (size_t)sx) * 3, 3);
        }
    }
    return MN_OK;
}

mn_err data_image_decode(data_coder *c, const void *bytes, size_t size, int at_least, data_image *out)
{
    stored s;
    MN_TRY(read_header(c, bytes, size, &s));
    if (s.codec == DATA_CODEC_PNG) return decode_png(c, bytes, size, out);
    if (s.orientation == 1) return decode_jpeg(c, bytes, size, &s, at_least, out);
    MN_TRY(decode_jpeg(c, bytes, size, &s, at_least, &c->unturned));
    return turn_upright(&c->unturned, s.orientation, out);
}

mn_err data_jpeg_encode(data_coder *c, const uint8_t *rgb, int width, int height, int quality, int full_colour,
                        const uint8_t **bytes, size_t *size)
{
    unsigned long written = c->jpeg_capacity;
    int subsampling = full_colour ? TJSAMP_444 : TJSAMP_420;
    unsigned long worst = tjBufSize(width, height, subsampling);
    if (worst == (unsigned long)-1) return mn_fail(MN_EINTERNAL, "%d x %d is no size for a JPEG", width, height);
    if (worst > c->jpeg_capacity) {
        tjFree(c->jpeg);
        c->jpeg = tjAlloc((int)worst);
        c->jpeg_capacity = c->jpeg ? worst : 0;
        if (!c->jpeg) return mn_fail(MN_EMEM, "no memory for a JPEG of %lu bytes", worst);
    }
    if (tjCompress2(c->encoder, rgb, width, 0, height, TJPF_RGB, &c->jpeg, &written, subsampling, quality,
                    TJFLAG_NOREALLOC) != 0)
        return mn_fail(MN_EINTERNAL, "JPEG encoder: %s", tjGetErrorStr2(c->encoder));
    *bytes = c->jpeg;
    *size = written;
    return MN_OK;
}

mn_err data_png_encode(data_coder *c, const uint8_t *pixels, int width, int height, int channels, const uint8_t **bytes,
                       size_t *size)
{
    struct spng_ihdr header = {.width = (uint32_t)width,
                               .height = (uint32_t)height,
                               .bit_depth = 8,
                               .color_type = channels == 1 ? SPNG_COLOR_TYPE_GRAYSCALE : SPNG_COLOR_TYPE_TRUECOLOR};
    size_t length;
    MN_TRY(mn_mul_size((size_t)width * (size_t)channels, (size_t)height, &length));
    spng_ctx *png = spng_ctx_new(SPNG_CTX_ENCODER);
    if (!png) return mn_fail(MN_EMEM, "no memory for a PNG writer");
    free(c->png);
    c->png = NULL;
    int rc = spng_set_ihdr(png, &header);
    if (!rc) rc = spng_set_option(png, SPNG_ENCODE_TO_BUFFER, 1);
    if (!rc) rc = spng_encode_image(png, pixels, length, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    if (!rc) c->png = spng_get_png_buffer(png, size, &rc);
    spng_ctx_free(png);
    if (rc || !c->png) return mn_fail(MN_EINTERNAL, "PNG encoder: %s", spng_strerror(rc));
    *bytes = c->png;
    return MN_OK;
}
