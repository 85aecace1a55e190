// Recipes: YAML read into plain C structs by tables of typed options, strictly. One row of a table gives an option its
// key, type, default, range, help text, and whether a resumed run may change it; parsing, --help, the resolved recipe
// and the resume check all come from the row.
//
//     typedef struct swin_conf { int64_t embed; mn_ints depths; double lr; int device; mn_list data; } swin_conf;
//     static const char *const devices[] = {"auto", "cpu", "cuda", NULL};
//     static const mn_option part_options[] = {
//         MN_OPT_STRING(part_conf, set, "set", NULL, 0, "dataset"),
//         MN_OPT_FLOAT(part_conf, weight, "weight", "1", 0, 1e6, 0, "how often it is drawn"),
//         {0},
//     };
//     static const mn_option options[] = {
//         MN_OPT_INT(swin_conf, embed, "model.embed", "96", 1, 4096, 0, "channels of the first stage"),
//         MN_OPT_INTS(swin_conf, depths, "model.depths", "[2, 2, 6, 2]", 1, 64, 0, "blocks per stage"),
//         MN_OPT_FLOAT(swin_conf, lr, "optim.lr", "1e-4", 0, 1, MN_ABOVE_LO, "peak learning rate"),
//         MN_OPT_ENUM(swin_conf, device, "device", "auto", devices, MN_FREE, "where to compute"),
//         MN_OPT_RECORDS(swin_conf, data, "data", NULL, part_conf, part_options, 0, "datasets"),
//         {0},
//     };
//     mn_recipe *r;
//     MN_TRY(mn_recipe_open(&r, "swin.yaml", overrides, n_overrides));  // "optim.lr=1e-3", ...
//     const char *task = mn_recipe_peek(r, "task");                     // which tables apply
//     mn_recipe_table(r, options, &conf);
//     MN_TRY(mn_recipe_resolve(r));                                     // conf is filled
//     if (conf.embed % 32) return mn_recipe_fail(r, "model.embed", "must be a multiple of 32");
//
// The message of every refusal starts with "file:line:column: " or "command line: key=value: ". Refused besides unknown
// keys, wrong types and values out of range: duplicate keys, anchors and aliases, tags, a second document, more than
// 1 MiB, 32 levels or 100,000 items, NUL, other control characters and bad UTF-8. All of these are MN_ECONFIG; a
// recipe that is missing or not a file is MN_ENOINPUT.
// Precedence: default < recipe < command line, where the last one wins.
// Threading: one thread fills a recipe; afterwards it may be read by any.
#ifndef MN_SCHEMA_H
#define MN_SCHEMA_H

#include "nn/base/err.h"

#include <stddef.h>
#include <stdint.h>

// Lists point into the recipe.
typedef struct mn_ints {
    int64_t n;
    const int64_t *v;
} mn_ints;
typedef struct mn_floats {
    int64_t n;
    const double *v;
} mn_floats;
typedef struct mn_strings {
    int64_t n;
    const char *const *v;
} mn_strings;
typedef struct mn_list { // of records: v is an array of n structs
    int64_t n;
    const void *v;
} mn_list;

typedef enum mn_option_type {
    MN_TYPE_END, // ends a table
    MN_TYPE_INT,
    MN_TYPE_FLOAT,
    MN_TYPE_BOOL,
    MN_TYPE_STRING,
    MN_TYPE_ENUM,
    MN_TYPE_INTS,
    MN_TYPE_FLOATS,
    MN_TYPE_STRINGS,
    MN_TYPE_RECORDS,
} mn_option_type;

enum {
    MN_FIXED = 0,     // a resumed run may not change it
    MN_FREE = 1,      // it may
    MN_ABOVE_LO = 2,  // lo itself is not allowed
    MN_BELOW_HI = 4,  // hi itself is not allowed
    MN_LOCAL = 16,    // may differ from host to host
    MN_FILE_NAME = 8, // a string that is one plain file name: [A-Za-z0-9._-]+, not starting with a dot or a dash
};

typedef enum mn_field_type { // what the struct holds
    MN_FIELD_INT,            // int, or an enum
    MN_FIELD_I64,
    MN_FIELD_FLOAT,
    MN_FIELD_DOUBLE,
    MN_FIELD_TEXT,
    MN_FIELD_INTS,
    MN_FIELD_FLOATS,
    MN_FIELD_STRINGS,
    MN_FIELD_LIST,
} mn_field_type;

typedef struct mn_option mn_option;
struct mn_option {
    const char *key;    // dotted
    const char *preset; // default, as it would stand in a recipe; NULL: the recipe must give it
    const char *help;
    mn_option_type type;
    mn_field_type field;
    size_t offset;
    unsigned flags;
    double lo, hi;              // numbers, and elements of lists of numbers
    const char *const *choices; // ENUM: NULL-terminated; the value is the index
    const mn_option *rows;      // RECORDS: the table of one record
    size_t record_size;
};

#define MN_FIELD(T, member)                                                                                            \
    .offset = offsetof(T, member), .field = _Generic(((T *)0)->member,                                                 \
                                                     int: MN_FIELD_INT,                                                \
                                                     unsigned: MN_FIELD_INT,                                           \
                                                     int64_t: MN_FIELD_I64,                                            \
                                                     uint64_t: MN_FIELD_I64,                                           \
                                                     float: MN_FIELD_FLOAT,                                            \
                                                     double: MN_FIELD_DOUBLE,                                          \
                                                     const char *: MN_FIELD_TEXT,                                      \
                                                     mn_ints: MN_FIELD_INTS,                                           \
                                                     mn_floats: MN_FIELD_FLOATS,                                       \
                                                     mn_strings: MN_FIELD_STRINGS,                                     \
                                                     mn_list: MN_FIELD_LIST)
#define MN_OPTION(T, member, name, default_text, kind, bits, text)                                                     \
    .key = (name), .preset = (default_text), .type = (kind), .flags = (bits), .help = (text), MN_FIELD(T, member)

// member: of struct T; preset: text or NULL; lo and hi are allowed themselves unless flags say otherwise.
#define MN_OPT_INT(T, member, key, preset, low, high, flags, help)                                                     \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_INT, flags, help), .lo = (low), .hi = (high)                         \
    }
#define MN_OPT_FLOAT(T, member, key, preset, low, high, flags, help)                                                   \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_FLOAT, flags, help), .lo = (low), .hi = (high)                       \
    }
#define MN_OPT_BOOL(T, member, key, preset, flags, help)                                                               \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_BOOL, flags, help)                                                   \
    }
#define MN_OPT_STRING(T, member, key, preset, flags, help)                                                             \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_STRING, flags, help)                                                 \
    }
#define MN_OPT_ENUM(T, member, key, preset, names, flags, help)                                                        \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_ENUM, flags, help), .choices = (names)                               \
    }
#define MN_OPT_INTS(T, member, key, preset, low, high, flags, help)                                                    \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_INTS, flags, help), .lo = (low), .hi = (high)                        \
    }
#define MN_OPT_FLOATS(T, member, key, preset, low, high, flags, help)                                                  \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_FLOATS, flags, help), .lo = (low), .hi = (high)                      \
    }
#define MN_OPT_STRINGS(T, member, key, preset, flags, help)                                                            \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_STRINGS, flags, help)                                                \
    }
#define MN_OPT_RECORDS(T, member, key, preset, R, table, flags, help)                                                  \
    {                                                                                                                  \
        MN_OPTION(T, member, key, preset, MN_TYPE_RECORDS, flags, help), .rows = (table), .record_size = sizeof(R)     \
    }

typedef struct mn_recipe mn_recipe;

// Reads the recipe and the overrides ("key=value") as YAML; names and types are looked at by mn_recipe_resolve.
MN_MUST_CHECK mn_err mn_recipe_open(mn_recipe **out, const char *path, const char *const *overrides, int64_t n);
// The same from memory; `name` stands for the file in messages.
MN_MUST_CHECK mn_err mn_recipe_parse(mn_recipe **out, const char *name, const char *text, size_t size,
                                     const char *const *overrides, int64_t n);
void mn_recipe_free(mn_recipe *r); // frees the strings and lists in the structs too

// Text of a plain value before any table is known; NULL when absent or not a plain value.
const char *mn_recipe_peek(const mn_recipe *r, const char *key);
// Was it given, in the recipe or on the command line?
int mn_recipe_given(const mn_recipe *r, const char *key);
// Adds a table, ended by {0}, for the struct `conf`; NULL: checked, stored nowhere. Both are borrowed.
void mn_recipe_table(mn_recipe *r, const mn_option *rows, void *conf);
// Checks everything against the tables and fills the structs. Call once.
MN_MUST_CHECK mn_err mn_recipe_resolve(mn_recipe *r);
// MN_ECONFIG with the place where the key was given: for rules that a row cannot state.
mn_err mn_recipe_fail(const mn_recipe *r, const char *key, const char *format, ...) MN_PRINTF(3, 4);

// The resolved recipe: complete YAML that resolves to the same values, numbers bit for bit. Caller frees.
char *mn_recipe_text(const mn_recipe *r);
// XXH3-64 of the options and their values, without those that have one of these flags: MN_FREE leaves what a resumed run
// may not change, MN_LOCAL what all hosts must have in common.
uint64_t mn_recipe_digest(const mn_recipe *r, unsigned without);
// Compares with the resolved recipe that a run was started with: MN_ECONFIG names every fixed option that differs.
MN_MUST_CHECK mn_err mn_recipe_resume(const mn_recipe *r, const char *saved_path);

// For --help: type and range ("integer from 1 to 16", "fp32 | bf16"). Caller frees.
char *mn_option_type_text(const mn_option *o);
// The name nearest to `word` (edit distance); NULL for an empty list. For "did you mean".
const char *mn_nearest(const char *word, const char *const *names, int64_t n);

#endif
