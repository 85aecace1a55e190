// Inside data/import: what one importer provides, and what the driver (run.c) gives it.
//
// An importer scans its source into a plan: groups (one per split and stream) of units (a picture, or a video) in a fixed
// order. The driver cuts each group into shards at unit borders and calls `write` for each unit of the shards that this
// rank makes. Scanning happens on every rank and must come to the same plan on all of them.
#ifndef DATA_IMPORT_IMPORTER_H
#define DATA_IMPORT_IMPORTER_H

#include "data/image.h"
#include "data/import/cut.h"
#include "data/import.h"
#include "data/shard.h"
#include "data/shard_seal.h"

// Why something was not imported. X(name, text, what it counts against: PICTURE, ROW, or NEITHER where the dataset itself says so,
// which is no fault of this copy and does not fail an import)
#define DATA__REASONS(X)                                                                                               \
    X(MISSING, "missing file", PICTURE)                                                                                \
    X(UNREADABLE, "unreadable file", PICTURE)                                                                          \
    X(OUTSIDE, "name leads out of the folder", PICTURE)                                                                \
    X(EMPTY, "empty file", PICTURE)                                                                                    \
    X(FORMAT, "not a JPEG or PNG", PICTURE)                                                                            \
    X(HEADER, "damaged header", PICTURE)                                                                               \
    X(LARGE, "too many pixels", PICTURE)                                                                               \
    X(DAMAGED, "damaged or cut off", PICTURE)                                                                          \
    X(NAME, "name is no frame number", PICTURE)                                                                        \
    X(DUPLICATE, "duplicate", PICTURE)                                                                                 \
    X(BOX, "face box outside of the picture", PICTURE)                                                                 \
    X(NO_BOX, "no face box to cut out", NEITHER)                                                                       \
    X(NO_FACE, "no face", NEITHER)                                                                                     \
    X(UNLABELLED, "no valid label", NEITHER)                                                                           \
    X(UNLISTED, "in no partition", ROW)                                                                                \
    X(COLUMNS, "wrong number of columns", ROW)                                                                         \
    X(NUMBER, "not a number", ROW)                                                                                     \
    X(RANGE, "label out of range", ROW)                                                                                \
    X(LIST, "unusable list", ROW)                                                                                      \
    X(ANNOTATION, "unusable annotation file", ROW)                                                                     \
    X(MEDIA, "unusable media file", PICTURE)
typedef enum data__reason {
#define DATA__REASON_ENUM(name, text, of) DATA__REJECT_##name,
    DATA__REASONS(DATA__REASON_ENUM)
#undef DATA__REASON_ENUM
        DATA__REASON_COUNT
} data__reason;

// What was imported but is worth knowing. Counted, not listed.
#define DATA__NOTES(X)                                                                                                 \
    X(GREY, "grey pictures")                                                                                           \
    X(CMYK, "CMYK pictures")                                                                                           \
    X(ALPHA, "pictures with alpha")                                                                                    \
    X(ROTATED, "pictures with an EXIF orientation")                                                                    \
    X(ENCODED, "pictures encoded anew")                                                                                \
    X(CUT_OUT, "faces cut out of their pictures")                                                                      \
    X(NO_BOX, "rows without a usable face box")                                                                        \
    X(BOX_OVER, "face boxes that reach over the edge of the picture")                                                  \
    X(REPEATED, "rows that repeat a picture")                                                                          \
    X(IN_TWO_LISTS, "rows of validation with a picture of training")                                                   \
    X(SAME_ROW, "rows that are there twice")                                                                           \
    X(IGNORED_LABELS, "label values marked invalid by the annotators")                                                 \
    X(NO_AFFECT, "pictures without a file of valence or arousal")                                                      \
    X(NO_MAJORITY, "faces without an expression that most voters gave")                                                \
    X(SECOND_FACE, "pictures with a second face: no age, gender or identity")                                          \
    X(UNSURE_FACE, "faces found with a score below 1: no age, gender or identity")                                     \
    X(NO_AGE, "rows from which no age from 0 to 100 follows")                                                          \
    X(NO_GENDER, "rows without a gender")                                                                              \
    X(NO_PICTURE, "frames without a picture")                                                                          \
    X(SECOND_CROPS, "folders of crops of videos that have better ones")                                                \
    X(SECOND_CROP, "pictures that another folder of crops has too: the first is taken")                                \
    X(NOTHING, "names in lists of which nothing is here")                                                              \
    X(NO_LABEL_FILE, "videos without labels")                                                                          \
    X(NO_MEDIA, "videos without a media file: 30 frames a second assumed")                                             \
    X(NO_SOUND, "media files without sound: silence stored")                                                           \
    X(PACKETS, "packets of media files that did not decode")                                                           \
    X(LENGTH, "videos whose label rows and frames differ by more than one")                                            \
    X(LENGTH_ONE, "label files with one row more or less than their video has frames")                                 \
    X(NO_VIDEO, "media files without crops or labels: left out")                                                       \
    X(UNLISTED, "files beside the pictures that no list names")                                                        \
    X(HIDDEN, "hidden files left out")                                                                                 \
    X(LINK, "links to folders left out")
typedef enum data__note {
#define DATA__NOTE_ENUM(name, text) DATA__NOTE_##name,
    DATA__NOTES(DATA__NOTE_ENUM)
#undef DATA__NOTE_ENUM
        DATA__NOTE_COUNT
} data__note;

typedef struct data__tally {                        // all int64_t: summed over ranks as one array
    int64_t records, pictures, sounds, bytes, rows; // records: pictures and frames without one, no sounds
    int64_t rejects[DATA__REASON_COUNT], notes[DATA__NOTE_COUNT];
} data__tally;

typedef struct data__sample {                   // what a dry run looked at as the import would; all int64_t
    int64_t pictures, bytes, encoded_bytes, ns; // pictures, the bytes they have and would have, the time they took
    int64_t damaged;                            // of them, found so only by looking at all of them
    int64_t media, media_ns, headers, media_skipped;
} data__sample;

typedef struct data__unit {
    int64_t item;           // the importer's own number
    int64_t records, bytes; // expected
} data__unit;

typedef struct data__group {
    const char *split, *stream; // literals
    int64_t n, capacity, records, bytes;
    data__unit *units;
    int n_shards;
} data__group;

#define DATA__GROUPS 6

typedef struct data__importer data__importer;
typedef struct data__import {
    const data_import_cfg *cfg;
    const data__importer *importer;
    void *state;                    // of the importer
    const data_writer_cfg *columns; // has_*, where scan finds out which labels there are; NULL: those of the importer
    int n_groups;
    data__group groups[DATA__GROUPS];
    XXH3_state_t *source; // digest of all that decides the result: see data__import_digest
    data_coder *coder;
    data_image image, resized;
    int width, height; // of the picture at hand, before --size
    data__cut cut;     // what of it is cut out
    char *file;        // contents of the picture at hand
    size_t file_capacity;
    char *scratch; // see data__import_scratch
    size_t scratch_capacity;
    struct data__team *team; // NULL: the driver's own thread
    int64_t every, turn;     // in a dry run: one of `every` pictures is looked at whole; pictures so far
    int64_t media;           // media files so far, in a dry run
    data__sample sample;
    data__tally *tally; // of the list or shard at hand
    int of_sounds;      // it is a shard of sounds
    char *listing;      // its lines of rejects.csv
    size_t listing_size, listing_capacity;
} data__import;

struct data__importer {
    mn_err (*scan)(data__import *im);
    // Writes the records of unit u, at most u->records.
    mn_err (*write)(data__import *im, const data__group *g, const data__unit *u, data_writer *w);
    void (*close)(void *state);
    data_writer_cfg columns; // has_*
    // 1: write changes nothing in state, so several threads may be in it, each with a data__import of its own. 0: it is
    // called by one thread, whatever --jobs says.
    int threads;
};

// For scan

// The group of a split and stream (literals), made on first use.
data__group *data__import_group(data__import *im, const char *split, const char *stream);
void data__import_unit(data__group *g, int64_t item, int64_t records, int64_t bytes);
// Mixes what decides the result (a list, the names in a folder) into the digest that a repeated import is known by.
void data__import_digest(data__import *im, const void *bytes, size_t n);
// Cuts the groups to cfg->limit records in all, for datasets whose units are one record.
void data__import_limit(data__import *im);

// For scan and write

// Between two pieces of work that the ranks share: an error says that it is to be ended.
MN_MUST_CHECK mn_err data__import_proceed(data__import *im);
// The end of such work, by all ranks: how it ended anywhere.
MN_MUST_CHECK mn_err data__import_end_share(data__import *im, mn_err mine);

// Counts and lists one thing that is not imported. file and detail may be any text; row 0: none.
void data__import_reject(data__import *im, data__reason reason, const char *file, int64_t row, const char *detail);
void data__import_note(data__import *im, data__note note, int64_t n);

// Adds the record and counts it.
MN_MUST_CHECK mn_err data__import_add(data__import *im, data_writer *w, const data_record *r);
// Says how many there are beside how many the published dataset has; a difference is worth knowing, not an error.
void data__import_compare(const data__import *im, const char *what, int64_t have, int64_t published);

// Reads `name` below the folder `root`, checks it, and makes it the payload of r (valid until the next call), encoded anew
// where the options ask for it; with --crop what is around r->box is cut out of it, unless that is NULL: the picture is a
// face then. *accepted 0: it was rejected, with `file` and `row` in the list.
MN_MUST_CHECK mn_err data__import_picture(data__import *im, int root, const char *name, const char *file, int64_t row,
                                          data_record *r, int *accepted);
// The same for a picture in memory, which is copied.
MN_MUST_CHECK mn_err data__import_bytes(data__import *im, const void *bytes, size_t size, const char *file, int64_t row,
                                        data_record *r, int *accepted);
// Before a media file is decoded. 0: in a dry run, when enough of them were: it is to be told from its list alone.
int data__import_media(data__import *im);
void data__import_media_done(data__import *im); // after it, for the estimate of time
// Memory of this thread for size bytes, valid until the next call: for files that are no pictures yet.
MN_MUST_CHECK mn_err data__import_scratch(data__import *im, size_t size, void **memory);
// Whether a face box (x, y, width, height) has a part of the picture at hand in it. 0: it was rejected. One that reaches
// over the edges is counted, and stays as it is.
int data__import_box(data__import *im, const float box[4], const char *file, int64_t row);
// Mean size of the pictures named, from at most 256 of them; missing ones do not count. Pure function of the source.
int64_t data__import_mean_size(int root, int64_t n, const char *(*name)(void *ctx, int64_t i), void *ctx);

#define X(id, name, help) extern const data__importer data__import_##id;
#include "data/import.def"
#undef X

#endif
