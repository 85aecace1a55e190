#include "data/region.h"

#include "data/image.h"
#include "nn/base/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h> // after stdio.h, which it needs

enum {
    EXIF_BYTES = 64 << 10,
    MARGIN = 8, // columns more on each side: smooth chroma upsampling looks at neighbours
    ROWS_AT_ONCE = 16
};

struct data_region_reader {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    jmp_buf failed;
    const void *bytes;
    size_t size;
    int whole; // decode it through data/image.h
    data_coder *coder;
    data_image image;
    uint8_t *rgb;
    size_t capacity;
    data_region region;
};

static void on_error(j_common_ptr jpeg)
{
    longjmp(((data_region_reader *)jpeg->client_data)->failed, 1);
}

// The library decodes half a file with a warning: warnings are errors here.
static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0) on_error(jpeg);
}

static void on_output(j_common_ptr jpeg)
{
    (void)jpeg;
}

// The library's calls leave by longjmp: each group of them runs below this function, which has no locals to lose.
static mn_err guarded(data_region_reader *r, void (*calls)(data_region_reader *))
{
    if (setjmp(r->failed)) {
        char text[JMSG_LENGTH_MAX];
        r->jpeg.err->format_message((j_common_ptr)&r->jpeg, text);
        jpeg_abort_decompress(&r->jpeg);
        return mn_fail(MN_EDATA, "damaged JPEG: %s", text);
    }
    calls(r);
    return MN_OK;
}

static void create(data_region_reader *r)
{
    jpeg_create_decompress(&r->jpeg);
    jpeg_save_markers(&r->jpeg, JPEG_APP0 + 1, EXIF_BYTES);
}

mn_err data_region_open(data_region_reader **out)
{
    data_region_reader *r = mn_calloc(1, sizeof *r);
    r->jpeg.client_data = r;
    r->jpeg.err = jpeg_std_error(&r->errors);
    r->errors.error_exit = on_error;
    r->errors.emit_message = on_message;
    r->errors.output_message = on_output;
    mn_err err = guarded(r, create);
    if (err == MN_OK) err = data_coder_open(&r->coder);
    if (err != MN_OK) {
        data_region_close(r);
        return err;
    }
    *out = r;
    return MN_OK;
}

void data_region_close(data_region_reader *r)
{
    if (!r) return;
    jpeg_destroy_decompress(&r->jpeg);
    data_coder_close(r->coder);
    data_image_release(&r->image);
    free(r->rgb);
    free(r);
}

static void read_header(data_region_reader *r)
{
    jpeg_mem_src(&r->jpeg, r->bytes, r->size);
    jpeg_read_header(&r->jpeg, TRUE);
}

static int has_exif(const data_region_reader *r)
{
    for (jpeg_saved_marker_ptr m = r->jpeg.marker_list; m; m = m->next)
        if (m->data_length >= 6 && memcmp(m->data, "Exif\0\0", 6) == 0) return 1;
    return 0;
}

mn_err data_region_begin(data_region_reader *r, const void *bytes, size_t size, int *width, int *height)
{
    static const uint8_t jpeg_magic[] = {0xff, 0xd8, 0xff};
    r->bytes = bytes;
    r->size = size;
    r->whole = 1;
    if (size >= sizeof jpeg_magic && memcmp(bytes, jpeg_magic, sizeof jpeg_magic) == 0) {
        MN_TRY(guarded(r, read_header));
        int channels = r->jpeg.num_components;
        r->whole = jpeg_has_multiple_scans(&r->jpeg) || (channels != 1 && channels != 3) || has_exif(r) ||
                   (int64_t)r->jpeg.image_width * r->jpeg.image_height > DATA_IMAGE_MAX_PIXELS;
    }
    if (r->whole) {
        data_image_info info;
        jpeg_abort_decompress(&r->jpeg);
        MN_TRY(data_image_probe(r->coder, bytes, size, &info));
        *width = info.width;
        *height = info.height;
        return MN_OK;
    }
    *width = (int)r->jpeg.image_width;
    *height = (int)r->jpeg.image_height;
    return MN_OK;
}

static mn_err decode_whole(data_region_reader *r, data_region *out)
{
    MN_TRY(data_image_decode(r->coder, r->bytes, r->size, 0, &r->image));
    *out = (data_region){.rgb = r->image.rgb,
                         .stride = (size_t)r->image.width * 3,
                         .width = r->image.width,
                         .height = r->image.height,
                         .reduced = 1};
    return MN_OK;
}

static void start(data_region_reader *r)
{
    r->jpeg.out_color_space = JCS_RGB;
    r->jpeg.scale_num = 1;
    r->jpeg.scale_denom = (unsigned)r->region.reduced;
    jpeg_start_decompress(&r->jpeg);
    JDIMENSION x = (JDIMENSION)r->region.x, width = (JDIMENSION)r->region.width;
    jpeg_crop_scanline(&r->jpeg, &x, &width); // moves x to the left, to the border of a block
    r->region.x = (int)x;
    r->region.width = (int)width;
}

static void read_rows(data_region_reader *r)
{
    JDIMENSION top = (JDIMENSION)r->region.y;
    if (top > 0) jpeg_skip_scanlines(&r->jpeg, top);
    uint8_t *row[ROWS_AT_ONCE];
    for (int done = 0; done < r->region.height;) {
        int n = r->region.height - done < ROWS_AT_ONCE ? r->region.height - done : ROWS_AT_ONCE;
        for (int i = 0; i < n; i++)
            row[i] = r->rgb + (size_t)(done + i) * r->region.stride;
        done += (int)jpeg_read_scanlines(&r->jpeg, row, (JDIMENSION)n);
    }
    jpeg_abort_decompress(&r->jpeg); // what lies below is not needed
}

mn_err data_region_decode(data_region_reader *r, int x, int y, int width, int height, int least_width, int least_height,
                          data_region *out)
{
    if (r->whole) return decode_whole(r, out);
    int reduced = 1;
    while (reduced < 8 && least_width > 0 && width >= 2 * reduced * least_width && height >= 2 * reduced * least_height)
        reduced *= 2;
    int full_width = ((int)r->jpeg.image_width + reduced - 1) / reduced;
    int full_height = ((int)r->jpeg.image_height + reduced - 1) / reduced;
    int left = x / reduced - MARGIN, right = (x + width + reduced - 1) / reduced + MARGIN;
    int top = y / reduced, bottom = (y + height + reduced - 1) / reduced;
    mn_assert(x >= 0 && y >= 0 && width > 0 && height > 0 && bottom <= full_height && right - MARGIN <= full_width);
    if (left < 0) left = 0;
    if (right > full_width) right = full_width;
    r->region = (data_region){.x = left, .y = top, .width = right - left, .height = bottom - top, .reduced = reduced};
    MN_TRY(guarded(r, start));
    r->region.stride = (size_t)r->region.width * 3;
    size_t need = r->region.stride * (size_t)r->region.height; // at most DATA_IMAGE_MAX_PIXELS pixels
    if (need > r->capacity) {
        uint8_t *larger = realloc(r->rgb, need);
        if (!larger) {
            jpeg_abort_decompress(&r->jpeg);
            return mn_fail(MN_EMEM, "no memory for a picture of %zu bytes", need);
        }
        r->rgb = larger;
        r->capacity = need;
    }
    r->region.rgb = r->rgb;
    MN_TRY(guarded(r, read_rows));
    *out = r->region;
    return MN_OK;
}
