// Shards: immutable HDF5 files of packed records (JPEG, PNG or PCM bytes) with labels, and the folder that holds a
// dataset's shards with its manifest.json. The only file format the loader knows; importers write it.
//
//     data_shard *s; MN_TRY(data_shard_open(&s, "affwild2-all-00000-of-00004.h5"));   // checks the index digest
//     size_t size; MN_TRY(data_shard_read(s, i, buffer, capacity, &size));              // checks the record's CRC32C
//
// A record of size 0 is a frame without a picture (no face was found there): it keeps its labels. In the audio stream a
// record is the whole sound of a media file, from the time of its first frame; its video is named like the file's stem,
// which is `source` of the image stream's videos.
// Damage is MN_EDATA with file, record and byte offset. Threading: data_shard_read may be called from any thread; one
// thread opens and closes. Opened after fork and MPI_Init. HDF5 is touched by writing alone.
#ifndef DATA_SHARD_H
#define DATA_SHARD_H

#include "nn/base/err.h"

#include <stdint.h>

enum { DATA_EXPR = 0, DATA_AU = 1, DATA_VA = 2, DATA_TASKS = 3 }; // tasks of Aff-Wild2
enum { DATA_SPLIT_NONE, DATA_SPLIT_TRAIN, DATA_SPLIT_VALIDATION, DATA_SPLIT_TEST };
enum {
    DATA_CODEC_NONE,
    DATA_CODEC_JPEG,
    DATA_CODEC_PNG,
    DATA_CODEC_PCM16K
};     // PCM: s16le mono 16 kHz, one record a video
enum { // bits of label_mask: which targets of the record are valid
    DATA_HAS_EXPR = 1,
    DATA_HAS_VALENCE = 2,
    DATA_HAS_AROUSAL = 4,
    DATA_HAS_IDENTITY = 8,
    DATA_HAS_ATTR = 16,
    DATA_HAS_AU0 = 1 << 16 // .. << 27: one bit per action unit
};
#define DATA_AUS 12
#define DATA_ATTRIBUTES 40 // of CelebA
#define DATA_VOTES 10      // of FER+: eight expressions, unknown, no face
#define DATA_EXPRESSIONS 8

typedef struct data_video {    // one row of /video
    const char *name;          // of the crop folder and label files, subject suffix included: "video59_right"
    const char *source;        // stem of the media file, without the suffix: "video59"
    uint8_t split[DATA_TASKS]; // DATA_SPLIT_*: a video may train one task and validate another
    uint8_t subject;           // 0 none, 1 left, 2 right
    uint8_t has_audio;
    int32_t fps_num, fps_den;
    int64_t decoded;                 // frames of its media file, 0: there is none
    int64_t frames;                  // when read: the most of decoded, records and label rows
    int64_t first_record, n_records; // in this shard; records of a video are in frame order and in one shard
    int64_t labels[DATA_TASKS];      // rows of its label files, 0: none
    int64_t audio_offset_us;         // start of its sound after the first frame; the stored PCM is aligned already
} data_video;

// Columns of the index, borrowed from the shard; NULL: the dataset has no such column.
typedef struct data_index {
    int64_t n;              // records
    const uint64_t *offset; // (n + 1)
    const uint32_t *crc;    // (n) CRC32C
    const uint16_t *width, *height;
    const uint8_t *channels;    // of the picture as it is stored, 0 unknown
    const uint8_t *codec;       // DATA_CODEC_*
    const uint8_t *orientation; // EXIF orientation 1..8, 0 none: not yet applied to the pixels
    const int8_t *expr;         // (n), in Aff-Wild2's order 0..7 for every dataset; -1 none
    const int8_t *au;           // (n, 12): 0, 1, -1 none
    const float *va;            // (n, 2): NaN none
    const uint32_t *mask;       // (n): DATA_HAS_*
    const int32_t *identity;    // (n)
    const int8_t *attr;         // (n, 40)
    const uint8_t *votes;     // (n, 10): neutral happiness surprise sadness anger disgust fear contempt unknown no-face
    const float *age;         // (n): years, NaN none
    const int8_t *gender;     // (n): 0 female, 1 male, -1 none
    const float *box;         // (n, 4): x, y, width, height of the face in the source picture, NaN unknown
    const uint64_t *original; // (n): XXH3-64 of the source file where the record was encoded anew
    const int32_t *video;     // (n): row of the video table, -1 none
    const int32_t *frame;     // (n): 1-based
    const int64_t *t_us;      // (n): time of the frame
    const uint32_t *source_row; // (n): row of the source list
    int n_videos;
    const data_video *videos;
} data_index;

typedef struct data_shard_info {
    const char *path;
    char dataset[64], split[16], stream[16], importer[64];
    char created_utc[32];
    char source[33];             // digest of what it was made from and of the options, "" if unknown
    char payload[33], index[33]; // XXH3-128 in hexadecimal: of the payload, of every other dataset
    const char *options;         // of the import, JSON
    int shard, shards;           // number of this shard among those of its split and stream
    int64_t records, videos;
    uint64_t payload_offset, payload_bytes, file_bytes;
} data_shard_info;

// Version of the HDF5 library that is loaded, and whether it is safe with threads. Returns text.
const char *data_hdf5_version(char *text, size_t size, int *thread_safe);

// Columns of labels that training keeps in memory. With any set but DATA_KEEP_ALL an index has offsets, checksums, masks,
// video, frame and time of each record besides; the other columns are checked, then given back, and names are read anew
// by data_shard_name.
enum { DATA_KEEP_EXPR = 1, DATA_KEEP_AU = 2, DATA_KEEP_VA = 4, DATA_KEEP_IDENTITY = 8, DATA_KEEP_ALL = -1 };

typedef struct data_shard data_shard;
MN_MUST_CHECK mn_err data_shard_open(data_shard **out, const char *path);
MN_MUST_CHECK mn_err data_shard_open_with(data_shard **out, const char *path, int keep);
void data_shard_close(data_shard *s);
const data_index *data_shard_index(const data_shard *s);
// 32 hexadecimal digits that no other shard has: the digest of the seal (data/shard_seal.h).
void data_shard_key(const data_shard *s, char key[33]);
// Records are read from this copy of the file from now on, until -1 or another: data/copies.h. Damage and errors there
// send the reader back to the file itself. Any thread; the descriptor stays the caller's and open.
void data_shard_use_copy(const data_shard *s, int fd);
const data_shard_info *data_shard_about(const data_shard *s);
// Source path of the record, relative. "?" where it is not in memory and cannot be read.
const char *data_shard_name(const data_shard *s, int64_t i);
size_t data_shard_size(const data_shard *s, int64_t i);   // bytes of record i
uint64_t data_shard_byte(const data_shard *s, int64_t i); // where in the file record i begins
// Asks the kernel to have record i in memory soon: never waits, never fails, changes nothing but the time that reading
// takes (posix_fadvise; where a file system ignores it, nothing happens).
void data_shard_prefetch(const data_shard *s, int64_t i);
// Copies record i; MN_EDATA when its CRC is wrong, MN_EIO when reading fails.
MN_MUST_CHECK mn_err data_shard_read(const data_shard *s, int64_t i, void *buffer, size_t capacity, size_t *size);
// For records too large to be read whole each time (sound of a long video): the check of record i, in pieces, and bytes
// [at, at + n) of it, which are only as sound as a check before said.
MN_MUST_CHECK mn_err data_shard_check(const data_shard *s, int64_t i);
MN_MUST_CHECK mn_err data_shard_slice(const data_shard *s, int64_t i, size_t at, void *buffer, size_t n);

// Reads the whole payload once: every record's CRC32C and the digest of all. watch NULL: the first damage is the error;
// else each damage is told, a place that cannot be read among them, and the error is only what keeps it from going on.
typedef struct data_shard_watch {
    void *ctx;
    // record: -1 when no record's checksum tells which. byte: where in the file. err: MN_EDATA or MN_EIO.
    void (*damaged)(void *ctx, mn_err err, int64_t record, uint64_t byte, const char *message);
    // A record as it was written; NULL: not wanted.
    void (*sound)(void *ctx, int64_t record, uint64_t byte, const void *bytes, size_t size);
} data_shard_watch;
MN_MUST_CHECK mn_err data_shard_verify(const data_shard *s, const data_shard_watch *watch);

// A dataset folder: DIR/manifest.json and its shards, opened together. Records of all shards of one split and stream,
// numbered in manifest order: the record part of a sample id.
typedef struct data_folder data_folder;
// split: "train", "validation", "test", or NULL for all. stream: "image" or "audio". For Aff-Wild2 the split of a record
// is its video's for the task (DATA_EXPR...); others have one split per shard and ignore the task. With task DATA_TASKS,
// for training without labels, a video is in validation or test when any task puts it there, else in train.
// Nothing of the folder is damaged in its index, and no shard is missing or short, when this returns MN_OK.
MN_MUST_CHECK mn_err data_folder_open(data_folder **out, const char *dir, const char *split, int task,
                                      const char *stream);
MN_MUST_CHECK mn_err data_folder_open_with(data_folder **out, const char *dir, const char *split, int task,
                                           const char *stream, int keep);
void data_folder_close(data_folder *f);
int64_t data_folder_count(const data_folder *f);
// Which shard and which record of it sample i is.
const data_shard *data_folder_at(const data_folder *f, int64_t i, int64_t *record);
int data_folder_shards(const data_folder *f);
const data_shard *data_folder_shard(const data_folder *f, int k);
uint64_t data_folder_digest(const data_folder *f); // of all records and labels: for the handshake and the checkpoint

// Writing: one writer per shard; temporary name, closed, verified, fsync'ed, renamed.
typedef struct data_record {
    const void *payload;
    size_t size;
    const char *name;
    uint8_t codec, channels, orientation;
    uint16_t width, height;
    int8_t expr, au[DATA_AUS];
    float va[2];
    uint32_t mask;
    int32_t identity;
    const int8_t *attr;   // (40) or NULL
    const uint8_t *votes; // (10) or NULL
    float age;            // years, NaN none; of a dataset that has ages
    int8_t gender;        // 0 female, 1 male, -1 none
    const float *box;     // (4) or NULL
    uint64_t original;
    int32_t video, frame;
    int64_t t_us;
    uint32_t source_row;
} data_record;
typedef struct data_writer data_writer;
typedef struct data_writer_cfg {
    const char *dir, *dataset, *split, *stream, *importer, *options_json;
    const char *source; // digest of the source lists, NULL: unknown
    int index, count;   // of the shard
    int has_expr, has_au, has_va, has_identity, has_attr, has_votes, has_age, has_gender, has_box, has_original;
    int has_video;
    struct data_counts *counts; // not NULL: only counts what is added (data/counts.h), makes no file; ended by abort
} data_writer_cfg;
MN_MUST_CHECK mn_err data_writer_open(data_writer **out, const data_writer_cfg *cfg);
MN_MUST_CHECK mn_err data_writer_video(data_writer *w, const data_video *v, int32_t *row); // its records follow
MN_MUST_CHECK mn_err data_writer_add(data_writer *w, const data_record *r);
MN_MUST_CHECK mn_err data_writer_close(data_writer *w); // durable under its final name, or gone
void data_writer_abort(data_writer *w);
// "<dataset>-<split>[-audio]-00000-of-00004.h5" into name.
void data_writer_name(const data_writer_cfg *cfg, char *name, size_t size);

// Ends an import: writes manifest.json over the finished shards of the folder, in the order given. One process.
typedef struct data_manifest_cfg {
    const char *dir, *dataset, *importer, *options_json;
    const char *rejects_json; // {"reason": count, ...} or NULL
    const char *import_json;  // what else the importer wants to keep, an object, or NULL
    const char *const *files; // names in dir
    int n_files;
} data_manifest_cfg;
MN_MUST_CHECK mn_err data_folder_finish(const data_manifest_cfg *cfg);

#endif
