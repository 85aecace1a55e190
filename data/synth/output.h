// What the makers of all corpora share: folders and files below one root, work spread over threads, pictures.
// Internal to data/synth. Threading: data__spread calls fn from several threads, each with its own worker.
#ifndef DATA_SYNTH_OUTPUT_H
#define DATA_SYNTH_OUTPUT_H

#include "data/image.h"
#include "data/synth/face.h"
#include "data/synth/synth.h"

// Memory of one thread.
typedef struct data__worker {
    data__canvas canvas;
    data_coder *coder;
    uint8_t *rgb;
    size_t rgb_capacity;
    int64_t pictures, bytes;
} data__worker;

typedef mn_err (*data__work)(void *ctx, data__worker *w, int64_t index);
// fn for every index in [0, n), in any order, on `threads` threads. The first error ends it and is returned with its
// message. What the workers counted is added to report.
MN_MUST_CHECK mn_err data__spread(int64_t n, int threads, data__work fn, void *ctx, data_synth_report *report);

// The configuration with its defaults filled in; MN_EUSAGE when a number is out of range.
MN_MUST_CHECK mn_err data__synth_defaults(const data_synth_cfg *in, data_synth_cfg *out);

// Renders into w->rgb (shot's size, 3 bytes a pixel); a NULL: nobody is there.
void data__worker_face(data__worker *w, const data__person *p, const data__affect *a, const data__shot *shot);
// Writes w->rgb as a file; png: 0 JPEG of `quality`, 1 PNG, 2 grey PNG.
MN_MUST_CHECK mn_err data__worker_save(data__worker *w, const char *path, int width, int height, int quality, int png);

// Text of a list or label file, collected and written at once.
typedef struct data__text {
    char *bytes;
    size_t size, capacity;
} data__text;
void data__text_add(data__text *t, const char *format, ...) MN_PRINTF(2, 3);
MN_MUST_CHECK mn_err data__text_write(data__text *t, const char *path); // and empties it
// A new file at path with these bytes.
MN_MUST_CHECK mn_err data__file_write(const char *path, const void *bytes, size_t size);

// The makers: everything below `root`.
mn_err data__make_affectnet(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_affectnet8(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_affwild2(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_aihub(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_casia_webface(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_celeba(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_expw(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_ferplus(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_imdb_wiki(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_s_affwild2(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
mn_err data__make_folder(const char *root, const data_synth_cfg *cfg, data_synth_report *report);

#endif
