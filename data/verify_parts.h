// What data/verify*.c share: the problems of a file, the check of one shard, and the state of an interrupted check.
// Internal to data. Threading: a data__findings belongs to one thread, a data__verify_state to one at a time.
#ifndef DATA_VERIFY_PARTS_H
#define DATA_VERIFY_PARTS_H

#include "data/image.h"
#include "data/shard_manifest.h"
#include "nn/base/err.h"

#include <jansson.h>
#include <stdint.h>

// What kind of problem, in the report as its text.
// X(id, text)
#define DATA__PROBLEM_MAP(X)                                                                                           \
    X(MISSING, "missing")   /* the manifest names it, it is not there */                                               \
    X(MANIFEST, "manifest") /* the manifest is damaged, or disagrees with the shard */                                 \
    X(SIZE, "size")         /* cut, or added to */                                                                     \
    X(INDEX, "index")       /* labels, offsets, structure */                                                           \
    X(RECORD, "record")     /* bytes of one record */                                                                  \
    X(PAYLOAD, "payload")   /* bytes of the payload that no record's checksum blames */                                \
    X(PICTURE, "picture")   /* the picture is not what the index says */                                               \
    X(LABEL, "label")       /* out of range, or against its mask */                                                    \
    X(ORDER, "order")       /* of frames and times */                                                                  \
    X(FEATURES, "features") /* in a file of features */                                                                \
    X(READ, "read")         /* the file system failed */
typedef enum data__problem {
#define DATA__PROBLEM_ENUM(id, text) DATA__PROBLEM_##id,
    DATA__PROBLEM_MAP(DATA__PROBLEM_ENUM)
#undef DATA__PROBLEM_ENUM
} data__problem;

typedef struct data__findings {
    json_t *problems;                  // as the report lists them; NULL until there is one
    int64_t n_problems, n_read, bytes; // n_read: of them, failures of the file system
    int64_t records, sounds;           // pictures and frames; sounds
} data__findings;

enum { DATA__LISTED_MOST = 100000 }; // of one shard; more are only counted

// record, byte: -1 where it is of no one record, or the place is not known. name: of the record, or NULL.
void data__report_problem(data__findings *f, const char *file, data__problem kind, int64_t record, const char *name,
                          int64_t byte, const char *text);
json_t *data__json_text(const char *text); // what is not UTF-8 as \xNN

typedef struct data__shard_check {
    const char *dir, *file;
    const data__manifest *manifest; // NULL: none, or damaged
    data_coder *coder;
    int decode;
    void (*read)(void *ctx, int64_t bytes); // told what was read; NULL: nobody
    void *ctx;
} data__shard_check;
void data__check_shard(const data__shard_check *c, data__findings *out);

// Text of the state file: a line for the check and one for each finished shard, each with its own digest, so that a torn
// end is ignored. *head is NULL when it does not begin as one; done: {file: entry}; both are the caller's. Returns the
// bytes of the sound lines. Pure function.
size_t data__verify_state_parse(const char *text, size_t size, json_t **head, json_t **done);

typedef struct data__verify_state {
    int fd;
    const char *path;
    json_t *done;
} data__verify_state;
// what: a text that names this very check.
MN_MUST_CHECK mn_err data__verify_state_open(data__verify_state *s, const char *path, const char *what);
// 1 when the shard was checked before and is the same file since.
int data__verify_state_has(const data__verify_state *s, const char *dir, const char *file, data__findings *out);
// What a shard is known by, taken before it is checked; NULL: it cannot be read. A new reference.
json_t *data__verify_identity(const char *dir, const char *file);
MN_MUST_CHECK mn_err data__verify_state_add(const data__verify_state *s, const char *file, json_t *identity,
                                            const data__findings *f);
MN_MUST_CHECK mn_err data__verify_state_close(data__verify_state *s, int finished); // finished: the file is removed

#endif
