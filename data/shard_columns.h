// The datasets of a shard as one table: the writer, the reader and the digest of the index walk it in this order, so a
// new column is one line here (and one in data_index, if it is used).
#ifndef DATA_SHARD_COLUMNS_H
#define DATA_SHARD_COLUMNS_H

#include "data/shard.h"
#include "data/shard_type.h"

#include <xxhash.h>

// What a column has one row for. BOUNDS: a record, and one more.
typedef enum data__rows { DATA__RECORDS, DATA__BOUNDS, DATA__VIDEOS, DATA__STRINGS, DATA__BYTES } data__rows;

// X(id, dataset, element type, values a row, rows, required)
#define DATA__COLUMN_MAP(X)                                                                                            \
    X(OFFSET, "offset", U64, 1, BOUNDS, 1)                                                                             \
    X(CRC, "crc", U32, 1, RECORDS, 1)                                                                                  \
    X(WIDTH, "image/width", U16, 1, RECORDS, 1)                                                                        \
    X(HEIGHT, "image/height", U16, 1, RECORDS, 1)                                                                      \
    X(CHANNELS, "image/channels", U8, 1, RECORDS, 1)                                                                   \
    X(CODEC, "image/codec", U8, 1, RECORDS, 1)                                                                         \
    X(ORIENTATION, "image/exif_orientation", U8, 1, RECORDS, 1)                                                        \
    X(EXPR, "label/expr", I8, 1, RECORDS, 0)                                                                           \
    X(VA, "label/va", F32, 2, RECORDS, 0)                                                                              \
    X(AU, "label/au", I8, DATA_AUS, RECORDS, 0)                                                                        \
    X(MASK, "label/mask", U32, 1, RECORDS, 1)                                                                          \
    X(IDENTITY, "label/identity", I32, 1, RECORDS, 0)                                                                  \
    X(ATTR, "label/attr", I8, 40, RECORDS, 0)                                                                          \
    X(VOTES, "label/votes", U8, DATA_VOTES, RECORDS, 0)                                                                \
    X(AGE, "label/age", F32, 1, RECORDS, 0)                                                                            \
    X(GENDER, "label/gender", I8, 1, RECORDS, 0)                                                                       \
    X(BOX, "label/box", F32, 4, RECORDS, 0)                                                                            \
    X(ORIGINAL, "image/original_xxh3", U64, 1, RECORDS, 0)                                                             \
    X(VIDEO, "key/video", I32, 1, RECORDS, 0)                                                                          \
    X(FRAME, "key/frame", I32, 1, RECORDS, 0)                                                                          \
    X(T_US, "key/t_us", I64, 1, RECORDS, 0)                                                                            \
    X(SUBJECT, "key/subject", U8, 1, RECORDS, 0)                                                                       \
    X(SOURCE_ROW, "key/source_row", U32, 1, RECORDS, 1)                                                                \
    X(STRING_OFFSET, "strings/offset", U32, 1, STRINGS, 1)                                                             \
    X(STRING_BYTES, "strings/bytes", U8, 1, BYTES, 1)                                                                  \
    X(V_NAME, "video/name", U32, 1, VIDEOS, 0)                                                                         \
    X(V_SOURCE, "video/source", U32, 1, VIDEOS, 0)                                                                     \
    X(V_SPLIT, "video/split", U8, DATA_TASKS, VIDEOS, 0)                                                               \
    X(V_SUBJECT, "video/subject", U8, 1, VIDEOS, 0)                                                                    \
    X(V_HAS_AUDIO, "video/has_audio", U8, 1, VIDEOS, 0)                                                                \
    X(V_AUDIO_OFFSET, "video/audio_offset_us", I64, 1, VIDEOS, 0)                                                      \
    X(V_FPS_NUM, "video/fps_num", I32, 1, VIDEOS, 0)                                                                   \
    X(V_FPS_DEN, "video/fps_den", I32, 1, VIDEOS, 0)                                                                   \
    X(V_FRAMES, "video/frames_decoded", I64, 1, VIDEOS, 0)                                                             \
    X(V_LABELS, "video/labels", I64, DATA_TASKS, VIDEOS, 0)                                                            \
    X(V_FIRST, "video/first_record", I64, 1, VIDEOS, 0)                                                                \
    X(V_COUNT, "video/n_records", I64, 1, VIDEOS, 0)

typedef enum data__column_id {
#define DATA__COLUMN_ENUM(id, name, type, width, rows, required) DATA__##id,
    DATA__COLUMN_MAP(DATA__COLUMN_ENUM)
#undef DATA__COLUMN_ENUM
        DATA__COLUMN_COUNT
} data__column_id;

typedef struct data__column_row {
    const char *name;
    data__type type;
    int width;
    data__rows rows;
    int required;
} data__column_row;
extern const data__column_row data__column[DATA__COLUMN_COUNT];

typedef struct data__columns { // NULL: the shard does not have it
    void *values[DATA__COLUMN_COUNT];
    int64_t rows[DATA__COLUMN_COUNT];
} data__columns;

// XXH3-128 over every column that is there: name, rows, width, bytes.
MN_MUST_CHECK mn_err data__columns_digest(const data__columns *c, XXH128_hash_t *digest);
void data__columns_free(data__columns *c);

uint32_t data__crc32c(const void *bytes, size_t n);                       // n < 2^31
uint32_t data__crc32c_more(uint32_t before, const void *bytes, size_t n); // of what came before and these; 0: nothing

#define DATA__FORMAT "mien-shard"
#define DATA__FORMAT_VERSION 1
#define DATA__RECORD_MOST ((size_t)1 << 30) // bytes of one record

#endif
