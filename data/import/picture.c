// One picture of a source: read, checked, and encoded anew where the options ask for it.
#include "data/file.h"
#include "data/import/importer.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_MOST ((int64_t)256 << 20)
enum { SAMPLE = 256 };

// Why the file could not be opened; DATA__REASON_COUNT: that is no property of the source.
static data__reason open_reason(mn_err err)
{
    return err == MN_ENOINPUT ? DATA__REJECT_MISSING : err == MN_EDATA ? DATA__REJECT_OUTSIDE : DATA__REJECT_UNREADABLE;
}

static data__reason picture_reason(data_image_fault f)
{
    switch (f) {
    case DATA_IMAGE_EMPTY:
        return DATA__REJECT_EMPTY;
    case DATA_IMAGE_FORMAT:
        return DATA__REJECT_FORMAT;
    case DATA_IMAGE_HEADER:
        return DATA__REJECT_HEADER;
    case DATA_IMAGE_LARGE:
        return DATA__REJECT_LARGE;
    default:
        return DATA__REJECT_DAMAGED;
    }
}

static mn_err make_room(char **memory, size_t *capacity, const char *name, size_t size)
{
    if (size <= *capacity) return MN_OK;
    free(*memory);
    *memory = malloc(size * 2);
    *capacity = *memory ? size * 2 : 0;
    return *memory ? MN_OK : mn_fail(MN_EMEM, "%s: no memory for %zu bytes", name, size);
}

mn_err data__import_scratch(data__import *im, size_t size, void **memory)
{
    MN_TRY(make_room(&im->scratch, &im->scratch_capacity, im->cfg->src, size));
    *memory = im->scratch;
    return MN_OK;
}

static mn_err read_file(data__import *im, int fd, const char *name, int64_t size)
{
    MN_TRY(make_room(&im->file, &im->file_capacity, name, (size_t)size));
    return data_file_pread(fd, name, im->file, (size_t)size, 0);
}

// How large the picture, or the face that is cut out of it, becomes.
static void sizes(const data__import *im, int *width, int *height)
{
    int most = im->cfg->size, longer = *width > *height ? *width : *height;
    if (most == 0 || longer <= most) return;
    *width = (int)((int64_t)*width * most / longer);
    *height = (int)((int64_t)*height * most / longer);
    if (*width < 1) *width = 1;
    if (*height < 1) *height = 1;
}

// Cuts the face out of the decoded picture, shrinks it so that its longer side is the wanted one, and makes it the
// record's payload. The picture may have been decoded smaller than it is.
static mn_err encode(data__import *im, data_record *r)
{
    const data_image *p = &im->image;
    const data__cut *c = &im->cut;
    int cuts = c->kind == DATA__CUT_FACE, width = cuts ? c->width : im->width, height = cuts ? c->height : im->height;
    double across = (double)p->width / im->width, down = (double)p->height / im->height;
    double box[4] = {0, 0, p->width, p->height};
    const uint8_t *bytes;
    if (cuts) {
        box[0] = c->x * across;
        box[1] = c->y * down;
        box[2] = c->width * across;
        box[3] = c->height * down;
    }
    sizes(im, &width, &height);
    int quality = im->cfg->quality ? im->cfg->quality : DATA_IMPORT_QUALITY;
    MN_TRY(data_image_resize_by(p, box, width, height, (data_kernel)im->cfg->filter, &im->resized));
    MN_TRY(data_jpeg_encode(im->coder, im->resized.rgb, width, height, quality, 1, &bytes, &r->size));
    r->payload = bytes;
    r->codec = DATA_CODEC_JPEG;
    r->width = (uint16_t)width;
    r->height = (uint16_t)height;
    r->channels = 3;
    r->orientation = 0; // applied
    data__import_note(im, DATA__NOTE_ENCODED, 1);
    return MN_OK;
}

static void note_kind(data__import *im, const data_image_info *info)
{
    if (info->channels <= 2) data__import_note(im, DATA__NOTE_GREY, 1);
    if (info->channels == 2 || (info->channels == 4 && info->codec == DATA_CODEC_PNG))
        data__import_note(im, DATA__NOTE_ALPHA, 1);
    if (info->channels == 4 && info->codec == DATA_CODEC_JPEG) data__import_note(im, DATA__NOTE_CMYK, 1);
    if (info->orientation > 1) data__import_note(im, DATA__NOTE_ROTATED, 1);
}

// Dry runs

enum { HEAD = 64 << 10, MEDIA = 32 }; // bytes of a file in which its header is; media files of a shard

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// 1: the next picture is looked at as the import does.
static int whole(data__import *im)
{
    return !im->cfg->dry_run || im->turn++ % im->every == 0;
}

int data__import_media(data__import *im)
{
    if (!im->cfg->dry_run) return 1;
    if (im->media >= MEDIA) {
        im->sample.media_skipped++;
        return 0;
    }
    im->media++;
    im->sample.media++;
    im->sample.media_ns -= now_ns();
    return 1;
}

void data__import_media_done(data__import *im)
{
    if (im->cfg->dry_run) im->sample.media_ns += now_ns();
}

static void find_cut(data__import *im, const data_record *r)
{
    im->cut = (data__cut){0};
    if (im->cfg->crop && r->box) im->cut = data__cut_of(r->box, im->cfg->margin, im->width, im->height);
}

// Whether the whole picture is to be shrunk.
static int larger(const data__import *im)
{
    return im->cfg->size && (im->width > im->cfg->size || im->height > im->cfg->size);
}

// How long the shorter side of the picture must be decoded, so that the face in it is as large as it is to become.
static int side_needed(const data__import *im)
{
    const data__cut *c = &im->cut;
    int64_t most = im->cfg->size, longer = c->width > c->height ? c->width : c->height;
    if (most == 0 || longer <= most) return 0;
    return (int)((most * (im->width < im->height ? im->width : im->height) + longer - 1) / longer);
}

// Of a picture that is not looked at whole: its header, from the first `have` of its `size` bytes.
static mn_err take_header(data__import *im, size_t have, size_t size, data_record *r, data_image_info *info)
{
    MN_TRY(data_image_probe(im->coder, im->file, have, info));
    r->payload = im->file;
    r->size = size;
    r->codec = (uint8_t)info->codec;
    im->width = info->width;
    im->height = info->height;
    im->sample.headers++;
    find_cut(im, r);
    if (im->cut.kind == DATA__CUT_FACE || (im->cut.kind == DATA__CUT_NOTHING && larger(im)))
        data__import_note(im, DATA__NOTE_ENCODED, 1);
    return MN_OK;
}

static void sample(data__import *im, int64_t began, size_t size, mn_err err, const data_record *r)
{
    if (!im->cfg->dry_run) return;
    im->sample.ns += now_ns() - began;
    im->sample.pictures++;
    im->sample.damaged += err == MN_EDATA && data_coder_fault(im->coder) == DATA_IMAGE_DAMAGED;
    if (err != MN_OK) return;
    im->sample.bytes += (int64_t)size;
    im->sample.encoded_bytes += (int64_t)r->size;
}

// Fills r from the file's bytes; MN_EDATA: the coder's fault says why not.
static mn_err take(data__import *im, size_t size, data_record *r, data_image_info *info)
{
    MN_TRY(data_image_probe(im->coder, im->file, size, info));
    r->payload = im->file;
    r->size = size;
    r->codec = (uint8_t)info->codec;
    r->width = (uint16_t)info->width;
    r->height = (uint16_t)info->height;
    r->channels = (uint8_t)info->channels;
    r->orientation = (uint8_t)(info->orientation > 1 ? info->orientation : 0);
    im->width = info->width;
    im->height = info->height;
    r->original = XXH3_64bits(im->file, size);
    find_cut(im, r);
    if (im->cut.kind == DATA__CUT_FACE) {
        MN_TRY(data_image_decode(im->coder, im->file, size, side_needed(im), &im->image));
        return encode(im, r);
    }
    if (!larger(im) && im->cfg->headers_only) return MN_OK;
    // Only to be looked at: at 1/8, where every bit of the entropy code is still read, which is where damage shows.
    MN_TRY(data_image_decode(im->coder, im->file, size, larger(im) ? im->cfg->size : 1, &im->image));
    return larger(im) && im->cut.kind == DATA__CUT_NOTHING ? encode(im, r) : MN_OK;
}

// The record of a frame stands without its picture: nothing of a rejected one stays in it.
static void drop_picture(data_record *r)
{
    r->payload = NULL;
    r->size = 0;
    r->codec = DATA_CODEC_NONE;
    r->width = r->height = 0;
    r->channels = r->orientation = 0;
    r->original = 0;
}

// Makes what is in im->file (have < size: the beginning of it) the record's payload, or rejects it. began: when reading
// it did, 0 when only its header is to be looked at.
static mn_err take_or_reject(data__import *im, size_t have, size_t size, int64_t began, const char *file, int64_t row,
                             data_record *r, int *accepted)
{
    data_image_info info;
    mn_err err;
    if (began) {
        err = take(im, size, r, &info);
        sample(im, began, size, err, r);
    } else {
        err = take_header(im, have, size, r, &info);
    }
    *accepted = err == MN_OK;
    if (err == MN_EDATA) {
        drop_picture(r);
        data__import_reject(im, picture_reason(data_coder_fault(im->coder)), file, row, mn_errmsg());
        return MN_OK;
    }
    if (err != MN_OK) return mn_while(err, "importing %s", file);
    note_kind(im, &info);
    if (im->cut.kind == DATA__CUT_FACE) data__import_note(im, DATA__NOTE_CUT_OUT, 1);
    if (im->cut.kind == DATA__CUT_NO_BOX) data__import_reject(im, DATA__REJECT_NO_BOX, file, row, "");
    *accepted = im->cut.kind != DATA__CUT_NO_BOX &&
                (im->cut.kind != DATA__CUT_OUTSIDE || data__import_box(im, r->box, file, row));
    if (!*accepted) drop_picture(r);
    return MN_OK;
}

mn_err data__import_bytes(data__import *im, const void *bytes, size_t size, const char *file, int64_t row,
                          data_record *r, int *accepted)
{
    int64_t began = whole(im) ? now_ns() : 0;
    *accepted = 0;
    MN_TRY(make_room(&im->file, &im->file_capacity, file, size));
    memcpy(im->file, bytes, size);
    return take_or_reject(im, size, size, began, file, row, r, accepted);
}

// The file, or the beginning of it when that is enough to know what kind of picture it is.
static mn_err read_picture(data__import *im, int fd, const char *name, int64_t size, int all, size_t *have)
{
    data_image_info info;
    *have = all || size < HEAD ? (size_t)size : HEAD;
    MN_TRY(read_file(im, fd, name, (int64_t)*have));
    if (*have == (size_t)size || data_image_probe(im->coder, im->file, *have, &info) == MN_OK) return MN_OK;
    *have = (size_t)size; // the header may be longer
    return read_file(im, fd, name, size);
}

mn_err data__import_picture(data__import *im, int root, const char *name, const char *file, int64_t row, data_record *r,
                            int *accepted)
{
    int64_t began = whole(im) ? now_ns() : 0, size = 0;
    size_t have;
    int fd = -1;
    *accepted = 0;
    mn_err err = data_file_open_beneath(&fd, root, name, &size);
    if (err != MN_OK) {
        data__import_reject(im, open_reason(err), file, row, mn_errmsg());
        return MN_OK;
    }
    if (size == 0 || size > FILE_MOST) {
        (void)close(fd); // opened for reading: nothing can be lost
        data__import_reject(im, size ? DATA__REJECT_LARGE : DATA__REJECT_EMPTY, file, row, "");
        return MN_OK;
    }
    err = read_picture(im, fd, name, size, began != 0, &have);
    (void)close(fd);
    if (err == MN_EDATA) { // it became shorter meanwhile
        data__import_reject(im, DATA__REJECT_DAMAGED, file, row, mn_errmsg());
        return MN_OK;
    }
    if (err != MN_OK) return mn_while(err, "importing %s", file);
    return take_or_reject(im, have, (size_t)size, began, file, row, r, accepted);
}

int64_t data__import_mean_size(int root, int64_t n, const char *(*name)(void *ctx, int64_t i), void *ctx)
{
    int64_t count = n < SAMPLE ? n : SAMPLE, found = 0, sum = 0;
    for (int64_t k = 0; k < count; k++) {
        int fd;
        int64_t size;
        if (data_file_open_beneath(&fd, root, name(ctx, n * k / count), &size) != MN_OK)
            continue; // listed when imported
        (void)close(fd);
        sum += size;
        found++;
    }
    return found ? sum / found + 1 : 1;
}
