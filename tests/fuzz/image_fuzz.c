// Pictures: the first byte chooses a reduced decode, the rest is the file, as it is or behind a whole header. What is
// refused has a reason; what is not has the size that its header announced and all its pixels.
// fuzz-sources: data/image.c data/image_resize.c
// fuzz-libraries: libturbojpeg spng
#include "data/image.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

// Larger ones only cost the fuzzer time: the limit itself is a unit test's.
enum { MOST = 1 << 20 };

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    data_coder *c;
    data_image im = {0}, small = {0};
    data_image_info info;
    if (size < 1 || data_coder_open(&c) != MN_OK) return 0;
    int at_least = data[0] % 3 * 8;
    if (data_image_probe(c, data + 1, size - 1, &info) != MN_OK) {
        if (data_coder_fault(c) == DATA_IMAGE_FINE) abort();
    } else if ((int64_t)info.width * info.height <= MOST) {
        if (info.width < 1 || info.height < 1 || info.channels < 1 || info.channels > 4) abort();
        mn_err err = data_image_decode(c, data + 1, size - 1, at_least, &im);
        if (err != MN_OK && err != MN_EMEM && data_coder_fault(c) == DATA_IMAGE_FINE) abort();
        if (err == MN_OK && at_least == 0 && (im.width != info.width || im.height != info.height)) abort();
        const double box[4] = {-2, data[0] % 7, info.width + 3, info.height};
        if (err == MN_OK && data_image_resize(&im, box, 9, 5, &small) == MN_OK && small.width != 9) abort();
    }
    data_image_release(&im);
    data_image_release(&small);
    data_coder_close(c);
    return 0;
}
