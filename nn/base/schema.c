// Recipes: defaults, then the file, then the command line, into one value per row of the tables; when all is well the
// values are copied into the caller's structs.
#include "nn/base/schema_internal.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void *mn__keep(mn_recipe *r, void *p)
{
    r->kept = mn_grow(r->kept, r->n_kept, &r->room, sizeof *r->kept);
    return r->kept[r->n_kept++] = p;
}

int64_t mn__rows_count(const mn_option *rows)
{
    int64_t n = 0;
    while (rows[n].key)
        n++;
    return n;
}

const char *mn__clip(const char *text, size_t size, char clipped[MN__CLIP + 4])
{
    size_t n = size < MN__CLIP ? size : MN__CLIP;
    while (n < size && n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; // not inside a character
    memcpy(clipped, text, n);
    memcpy(clipped + n, n < size ? "..." : "", n < size ? 4 : 1);
    return clipped;
}

static mn_err refuse_v(const mn__source *from, yaml_mark_t mark, const char *format, va_list args)
{
    char text[1024], clipped[MN__CLIP + 4];
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    if (from->name) return mn_fail(MN_ECONFIG, "%s:%zu:%zu: %s", from->name, mark.line + 1, mark.column + 1, text);
    if (from->given)
        return mn_fail(MN_ECONFIG, "command line: %s: %s", mn__clip(from->given, strlen(from->given), clipped), text);
    return mn_fail(MN_ECONFIG, "default of %s: %s", from->key, text);
}

mn_err mn__refuse(const mn__source *from, yaml_mark_t mark, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    mn_err err = refuse_v(from, mark, format, args);
    va_end(args);
    return err;
}

mn_err mn_recipe_fail(const mn_recipe *r, const char *key, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    if (vsnprintf(text, sizeof text, format, args) < 0) text[0] = 0;
    va_end(args);
    mn__place place;
    if (mn__find(r, key, &place)) return mn__refuse(place.from, place.mark, "%s: %s", key, text);
    return mn_fail(MN_ECONFIG, "%s: %s (not given): %s", r->file.name, key, text);
}

static const mn_option *option_of(const mn_recipe *r, const char *path, mn__value **value)
{
    for (int64_t t = 0; t < r->n_tables; t++)
        for (int64_t i = 0; i < r->tables[t].n; i++) {
            if (strcmp(r->tables[t].rows[i].key, path) != 0) continue;
            *value = &r->tables[t].values[i];
            return &r->tables[t].rows[i];
        }
    return NULL;
}

// The first option below a path; NULL if the path is not a group.
static const char *first_in_group(const mn_recipe *r, const char *path)
{
    size_t n = strlen(path);
    for (int64_t t = 0; t < r->n_tables; t++)
        for (const mn_option *o = r->tables[t].rows; o->key; o++)
            if (strncmp(o->key, path, n) == 0 && o->key[n] == '.') return o->key;
    return NULL;
}

static mn_err apply(mn_recipe *r, const mn__source *from, const char *path, yaml_mark_t mark, const yaml_node_t *node);

static mn_err apply_group(mn_recipe *r, const mn__source *from, const char *path, const yaml_node_t *node)
{
    if (mn__is_nothing(node)) return MN_OK; // every line of the group is commented out
    if (node->type != YAML_MAPPING_NODE) {
        if (!*path) return mn__refuse(from, node->start_mark, "expected 'key: value' lines");
        return mn__refuse(from, node->start_mark, "%s is a group of options, like '%s'", path, first_in_group(r, path));
    }
    const yaml_node_pair_t *pairs = node->data.mapping.pairs.start;
    for (const yaml_node_pair_t *pair = pairs; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = mn__node(from, pair->key);
        char below[MN__PATH], clipped[MN__CLIP + 4];
        if (name->type != YAML_SCALAR_NODE) return mn__refuse(from, name->start_mark, "expected a name");
        // Names seen before are known ones, or reading would have stopped: this stays short.
        for (const yaml_node_pair_t *other = pairs; other < pair; other++)
            if (strcmp(mn__text(mn__node(from, other->key)), mn__text(name)) == 0)
                return mn__refuse(from, name->start_mark, "%s%s%s is given twice, first at line %zu", path,
                                  *path ? "." : "", mn__clip(mn__text(name), name->data.scalar.length, clipped),
                                  mn__node(from, other->key)->start_mark.line + 1);
        // A cut path is longer than any key, so it is refused as unknown.
        if (snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", mn__text(name)) < 0) below[0] = 0;
        MN_TRY(apply(r, from, below, name->start_mark, mn__node(from, pair->value)));
    }
    return MN_OK;
}

static mn_err apply(mn_recipe *r, const mn__source *from, const char *path, yaml_mark_t mark, const yaml_node_t *node)
{
    mn__value *value;
    const mn_option *o = option_of(r, path, &value);
    if (o) {
        if (value->from == from)
            return mn__refuse(from, mark, "%s is given twice, first at line %zu", path, value->mark.line + 1);
        *value = (mn__value){.from = from, .mark = mark};
        return mn__value_read(r, o, path, from, node, value);
    }
    if (first_in_group(r, path)) return apply_group(r, from, path, node);
    char nearest[MN__PATH], clipped[MN__CLIP + 4];
    return mn__refuse(from, mark, "unknown option '%s'; did you mean '%s'?", mn__clip(path, strlen(path), clipped),
                      mn__nearest_key(r, path, nearest));
}

static void store(const mn_option *o, const mn__value *v, void *conf)
{
    void *at = (char *)conf + o->offset;
    switch (o->field) {
    case MN_FIELD_INT:
        *(int *)at = (int)v->i;
        break;
    case MN_FIELD_I64:
        *(int64_t *)at = v->i;
        break;
    case MN_FIELD_FLOAT:
        *(float *)at = (float)v->f;
        break;
    case MN_FIELD_DOUBLE:
        *(double *)at = v->f;
        break;
    case MN_FIELD_TEXT:
        *(const char **)at = v->s;
        break;
    default:
        memcpy(at, &(mn_list){v->i, v->list}, sizeof(mn_list)); // the list types differ in what they point to
    }
}

// Records become an array of the caller's struct.
static void *records_of(mn_recipe *r, const mn_option *o, const mn__value *v)
{
    char *records = mn__keep(r, mn_calloc((size_t)v->i, o->record_size));
    int64_t columns = mn__rows_count(o->rows);
    for (int64_t i = 0; i < v->i; i++)
        for (int64_t c = 0; c < columns; c++)
            store(&o->rows[c], (const mn__value *)v->list + i * columns + c, records + (size_t)i * o->record_size);
    return records;
}

static void fill(mn_recipe *r, const mn__table *table)
{
    for (int64_t i = 0; i < table->n && table->conf; i++) {
        const mn_option *o = &table->rows[i];
        store(o, &table->values[i], table->conf);
        if (o->type == MN_TYPE_RECORDS)
            ((mn_list *)((char *)table->conf + o->offset))->v = records_of(r, o, &table->values[i]);
    }
}

mn_err mn_recipe_resolve(mn_recipe *r)
{
    mn_assert(!r->resolved);
    MN_TRY(apply_group(r, &r->file, "", mn__node(&r->file, 1)));
    for (int64_t i = 0; i < r->n_overrides; i++)
        MN_TRY(apply(r, &r->overrides[i], r->overrides[i].key, (yaml_mark_t){0}, mn__node(&r->overrides[i], 1)));
    for (int64_t t = 0; t < r->n_tables; t++)
        for (int64_t i = 0; i < r->tables[t].n; i++) {
            const mn_option *o = &r->tables[t].rows[i];
            if (r->tables[t].values[i].from) continue;
            if (!o->preset) return mn_fail(MN_ECONFIG, "%s: %s is missing: %s", r->file.name, o->key, o->help);
            MN_TRY(mn__value_preset(r, o, &r->tables[t].values[i]));
        }
    for (int64_t t = 0; t < r->n_tables; t++)
        fill(r, &r->tables[t]);
    r->resolved = 1;
    return MN_OK;
}

static int types_agree(const mn_option *o)
{
    int is_whole = o->field == MN_FIELD_INT || o->field == MN_FIELD_I64;
    switch (o->type) {
    case MN_TYPE_INT:
        return is_whole && (o->field == MN_FIELD_I64 || (o->lo >= INT_MIN && o->hi <= INT_MAX));
    case MN_TYPE_FLOAT:
        return o->field == MN_FIELD_FLOAT || o->field == MN_FIELD_DOUBLE;
    case MN_TYPE_BOOL:
        return is_whole;
    case MN_TYPE_ENUM:
        return is_whole && o->choices && o->choices[0];
    case MN_TYPE_STRING:
        return o->field == MN_FIELD_TEXT;
    case MN_TYPE_INTS:
        return o->field == MN_FIELD_INTS;
    case MN_TYPE_FLOATS:
        return o->field == MN_FIELD_FLOATS;
    case MN_TYPE_STRINGS:
        return o->field == MN_FIELD_STRINGS;
    case MN_TYPE_RECORDS:
        return o->field == MN_FIELD_LIST && o->rows && o->rows[0].key && o->record_size;
    case MN_TYPE_END:
        break;
    }
    return 0;
}

void mn_recipe_table(mn_recipe *r, const mn_option *rows, void *conf)
{
    mn_assert(!r->resolved && r->n_tables < MN__MAX_TABLES);
    for (const mn_option *o = rows; o->key; o++) {
        mn__value *ignored;
        mn_assert(strlen(o->key) < MN__PATH / 2 && types_agree(o) && !option_of(r, o->key, &ignored));
        for (const mn_option *column = o->rows; column && column->key; column++)
            mn_assert(types_agree(column) && column->type != MN_TYPE_RECORDS);
    }
    int64_t n = mn__rows_count(rows);
    mn__value *values = mn__keep(r, mn_calloc((size_t)n, sizeof *values));
    r->tables[r->n_tables++] = (mn__table){rows, conf, values, n};
}

static mn_err load_override(mn_recipe *r, mn__source *out, const char *given)
{
    out->given = mn__keep(r, mn_strdup(given));
    const char *equals = strchr(given, '=');
    if (!equals || equals == given) return mn__refuse(out, (yaml_mark_t){0}, "expected key=value");
    char *key = mn__keep(r, mn_strdup(given));
    key[equals - given] = 0;
    out->key = key;
    return mn__yaml_load_value(out, equals + 1, strlen(equals + 1));
}

mn_err mn_recipe_parse(mn_recipe **out, const char *name, const char *text, size_t size, const char *const *overrides,
                       int64_t n)
{
    *out = NULL;
    mn_recipe *r = mn_calloc(1, sizeof *r);
    r->file.name = mn__keep(r, mn_strdup(name));
    r->file.key = "";
    r->overrides = mn__keep(r, mn_calloc((size_t)n, sizeof *r->overrides));
    mn_err err = mn__yaml_load(&r->file, text, size);
    for (; err == MN_OK && r->n_overrides < n; r->n_overrides++)
        err = load_override(r, &r->overrides[r->n_overrides], overrides[r->n_overrides]);
    if (err == MN_OK)
        *out = r;
    else
        mn_recipe_free(r);
    return err;
}

mn_err mn_recipe_open(mn_recipe **out, const char *path, const char *const *overrides, int64_t n)
{
    *out = NULL;
    char *text;
    size_t size;
    mn_err err = mn_file_read(path, MN__MAX_SIZE, &text, &size);
    if (err == MN_EDATA) return mn_fail(MN_ECONFIG, "%s:1:1: larger than %d bytes", path, MN__MAX_SIZE);
    MN_TRY(err);
    err = mn_recipe_parse(out, path, text, size, overrides, n);
    free(text);
    return err;
}

void mn_recipe_free(mn_recipe *r)
{
    if (!r) return;
    if (r->file.loaded) yaml_document_delete(&r->file.document);
    for (int64_t i = 0; i < r->n_overrides; i++)
        if (r->overrides[i].loaded) yaml_document_delete(&r->overrides[i].document);
    for (int64_t i = 0; i < r->n_kept; i++)
        free(r->kept[i]);
    free(r->kept);
    free(r);
}
