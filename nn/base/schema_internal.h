// What the parts of the recipe schema share: schema_yaml.c (documents and their rules), schema_scalar.c (strict values
// and their exact text), schema_value.c (lists and records), schema.c (tables,
// resolving), schema_find.c (where a key was given, nearest names),
// schema_print.c (resolved recipe, comparison).
#ifndef MN_SCHEMA_INTERNAL_H
#define MN_SCHEMA_INTERNAL_H

#include "nn/base/schema.h"

#include <stdio.h>
#include <yaml.h>

// One parsed text: the recipe, an override, or a default.
typedef struct mn__source {
    yaml_document_t document;
    int loaded;        // the document is to be freed
    const char *name;  // of the file; NULL otherwise
    const char *given; // "key=value" of the command line; NULL for a file or a default
    const char *key;   // what the root of the document is the value of; "" for the recipe
} mn__source;

typedef struct mn__value {
    const mn__source *from; // NULL: not yet set
    yaml_mark_t mark;
    int64_t i; // INT, BOOL, ENUM; number of elements of a list
    double f;
    const char *s;
    void *list; // (i) elements: int64_t, double, const char *; RECORDS: (i, rows of the table) of mn__value
} mn__value;

typedef struct mn__table {
    const mn_option *rows;
    void *conf;
    mn__value *values; // (n)
    int64_t n;
} mn__table;

enum {
    MN__MAX_TABLES = 16,
    MN__MAX_ITEMS = 100000,
    MN__MAX_DEPTH = 32,
    MN__MAX_SIZE = 1 << 20,
    MN__MAX_LIST = 4096,
    MN__CLIP = 64,  // bytes of text from outside that a message shows
    MN__PATH = 256, // longest dotted key, with indices
};

struct mn_recipe {
    mn__source file;
    mn__source *overrides; // (n_overrides)
    int64_t n_overrides;
    mn__table tables[MN__MAX_TABLES];
    int64_t n_tables;
    int resolved;
    void **kept; // everything that lives as long as the recipe
    int64_t n_kept, room;
};

void *mn__keep(mn_recipe *r, void *p); // frees p with the recipe; returns p
int64_t mn__rows_count(const mn_option *rows);
// Text from outside for a message: at most MN__CLIP bytes, cut between characters.
const char *mn__clip(const char *text, size_t size, char clipped[MN__CLIP + 4]);
mn_err mn__refuse(const mn__source *from, yaml_mark_t mark, const char *format, ...) MN_PRINTF(3, 4);

static inline const yaml_node_t *mn__node(const mn__source *from, int i)
{
    return yaml_document_get_node((yaml_document_t *)&from->document, i); // libyaml knows no const; nothing is changed
}
static inline const char *mn__text(const yaml_node_t *scalar)
{
    return (const char *)scalar->data.scalar.value;
}

// schema_yaml.c
// Loads a YAML text that keeps every rule of the header.
MN_MUST_CHECK mn_err mn__yaml_load(mn__source *out, const char *text, size_t size);
// Loads the value of an override or a default: YAML if it starts as a list, a mapping or quoted text, else one scalar.
MN_MUST_CHECK mn_err mn__yaml_load_value(mn__source *out, const char *text, size_t size);
// A character that recipes may hold; *used is its length. 0 if it is not one, or not UTF-8.
int mn__yaml_character(const char *at, size_t left, size_t *used);

// schema_scalar.c
typedef enum mn__verdict { MN__FITS, MN__WRONG_TYPE, MN__OUT_OF_RANGE } mn__verdict;
mn__verdict mn__scalar_parse(const mn_option *o, const char *text, size_t size, mn__value *out);
// MN__HASHED must never change: checkpoints hold digests of it, and a run with another digest is not resumed.
typedef enum mn__form { MN__SHOWN, MN__HASHED } mn__form;
void mn__value_print(FILE *out, const mn_option *o, const mn__value *v, mn__form form); // as YAML, in one line

// schema_value.c
int mn__is_nothing(const yaml_node_t *node); // an empty plain value
// path: for messages, "data[0].weight".
MN_MUST_CHECK mn_err mn__value_read(mn_recipe *r, const mn_option *o, const char *path, const mn__source *from,
                                    const yaml_node_t *node, mn__value *out);
MN_MUST_CHECK mn_err mn__value_preset(mn_recipe *r, const mn_option *o, mn__value *out);

// schema_find.c
typedef struct mn__place {
    const mn__source *from;
    yaml_mark_t mark;
    const yaml_node_t *node;
} mn__place;
int mn__find(const mn_recipe *r, const char *key, mn__place *out);
// The option or group nearest to an unknown path among the tables (or, in a record, among rows).
const char *mn__nearest_key(const mn_recipe *r, const char *path, char nearest[MN__PATH]);

#endif
