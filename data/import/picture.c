// One picture of a source: read, checked, and encoded anew where the options ask for it.
#include "data/file.h"
#include "data/import/importer.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

// Shrinks the decoded picture so that its longer side is the wanted one, and makes it the record's payload.
static mn_err encode(data__import *im, data_record *r)
{
    const data_image *p = &im->image;
    int most = im->cfg->size, longer = p->width > p->height ? p->width : p->height;
    int width = (int)((int64_t)p->width * most / longer), height = (int)((int64_t)p->height * most / longer);
    const uint8_t *bytes;
    double box[4] = {0, 0, p->width, p->height};
    if (width < 1) width = 1;
    if (height < 1) height = 1;
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
    int most = im->cfg->size, smaller = most == 0 || (info->width <= most && info->height <= most);
    if (smaller && im->cfg->headers_only) return MN_OK;
    // Only to be looked at: at 1/8, where every bit of the entropy code is still read, which is where damage shows.
    MN_TRY(data_image_decode(im->coder, im->file, size, smaller ? 1 : most, &im->image));
    return smaller ? MN_OK : encode(im, r);
}

// Makes what is in im->file the record's payload, or rejects it.
static mn_err take_or_reject(data__import *im, size_t size, const char *file, int64_t row, data_record *r,
                             int *accepted)
{
    data_image_info info;
    mn_err err = take(im, size, r, &info);
    *accepted = err == MN_OK;
    if (err == MN_EDATA) {
        data__import_reject(im, picture_reason(data_coder_fault(im->coder)), file, row, mn_errmsg());
        return MN_OK;
    }
    if (err != MN_OK) return mn_while(err, "importing %s", file);
    note_kind(im, &info);
    return MN_OK;
}

mn_err data__import_bytes(data__import *im, const void *bytes, size_t size, const char *file, int64_t row,
                          data_record *r, int *accepted)
{
    *accepted = 0;
    MN_TRY(make_room(&im->file, &im->file_capacity, file, size));
    memcpy(im->file, bytes, size);
    return take_or_reject(im, size, file, row, r, accepted);
}

mn_err data__import_picture(data__import *im, int root, const char *name, const char *file, int64_t row, data_record *r,
                            int *accepted)
{
    int fd = -1;
    int64_t size = 0;
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
    err = read_file(im, fd, name, size);
    (void)close(fd);
    if (err == MN_EDATA) { // it became shorter meanwhile
        data__import_reject(im, DATA__REJECT_DAMAGED, file, row, mn_errmsg());
        return MN_OK;
    }
    if (err != MN_OK) return mn_while(err, "importing %s", file);
    return take_or_reject(im, (size_t)size, file, row, r, accepted);
}

int data__import_box(data__import *im, const float box[4], const char *file, int64_t row)
{
    const float right = box[0] + box[2], bottom = box[1] + box[3], width = (float)im->width, height = (float)im->height;
    char detail[128];
    if (box[2] > 0 && box[3] > 0 && box[0] < width && box[1] < height && right > 0 && bottom > 0) {
        if (box[0] < 0 || box[1] < 0 || right > width || bottom > height) data__import_note(im, DATA__NOTE_BOX_OVER, 1);
        return 1;
    }
    (void)snprintf(detail, sizeof(detail), "left %g top %g right %g bottom %g in %d x %d pixels", (double)box[0],
                   (double)box[1], (double)right, (double)bottom, im->width, im->height);
    data__import_reject(im, DATA__REJECT_BOX, file, row, detail);
    return 0;
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
