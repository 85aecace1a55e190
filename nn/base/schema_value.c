// One value of a recipe: a plain one, a list, or a list of records; and the message when it is none of these.
#include "nn/base/schema_internal.h"

#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

// A key with nothing behind it is a forgotten value, not an empty text: that is written "".
int mn__is_nothing(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return 0;
    const char *text = mn__text(node);
    return !*text || !strcmp(text, "~") || !strcmp(text, "null") || !strcmp(text, "Null") || !strcmp(text, "NULL");
}

static const char *found_text(const yaml_node_t *node, char text[MN__CLIP + 32])
{
    char clipped[MN__CLIP + 4];
    if (node->type == YAML_MAPPING_NODE) return "a group of options";
    if (node->type == YAML_SEQUENCE_NODE) return "a list";
    if (mn__is_nothing(node)) return "nothing";
    mn__clip(mn__text(node), node->data.scalar.length, clipped);
    int is_quoted = node->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE ||
                    node->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE;
    snprintf(text, MN__CLIP + 32, "%s'%s'", is_quoted ? "the quoted text " : "", clipped);
    return text;
}

static mn_err wrong_type(const mn_option *o, const char *path, const mn__source *from, const yaml_node_t *node)
{
    char found[MN__CLIP + 32], hint[128] = "";
    char *wanted = mn_option_type_text(o);
    int64_t n = 0;
    while (o->choices && o->choices[n])
        n++;
    if (n && node->type == YAML_SCALAR_NODE)
        snprintf(hint, sizeof hint, "; did you mean '%s'?", mn_nearest(mn__text(node), o->choices, n));
    mn_err err =
        mn__refuse(from, node->start_mark, "%s: expected %s, found %s%s", path, wanted, found_text(node, found), hint);
    free(wanted);
    return err;
}

static mn_err read_scalar(const mn_option *o, const char *path, const mn__source *from, const yaml_node_t *node,
                          mn__value *out)
{
    if (node->type != YAML_SCALAR_NODE || mn__is_nothing(node)) return wrong_type(o, path, from, node);
    yaml_scalar_style_t style = node->data.scalar.style;
    int is_text = o->type == MN_TYPE_STRING || o->type == MN_TYPE_STRINGS || o->type == MN_TYPE_ENUM;
    if (!is_text && style != YAML_PLAIN_SCALAR_STYLE && style != YAML_ANY_SCALAR_STYLE)
        return wrong_type(o, path, from, node);
    switch (mn__scalar_parse(o, mn__text(node), node->data.scalar.length, out)) {
    case MN__FITS:
        return MN_OK;
    case MN__WRONG_TYPE:
        return wrong_type(o, path, from, node);
    default:
        break;
    }
    char clipped[MN__CLIP + 4];
    char *wanted = mn_option_type_text(o);
    mn__clip(mn__text(node), node->data.scalar.length, clipped);
    mn_err err = mn__refuse(from, node->start_mark, "%s: %s is out of range, expected %s", path, clipped, wanted);
    free(wanted);
    return err;
}

mn_err mn__value_preset(mn_recipe *r, const mn_option *o, mn__value *out)
{
    static const mn__source built_in = {.key = ""};
    mn__source from = {.key = o->key};
    mn_err err = mn__yaml_load_value(&from, o->preset, strlen(o->preset));
    if (err == MN_OK) err = mn__value_read(r, o, o->key, &from, mn__node(&from, 1), out);
    if (from.loaded) yaml_document_delete(&from.document);
    out->from = &built_in;
    return err;
}

static mn_err unknown_in_record(const mn_option *rows, const char *path, const mn__source *from,
                                const yaml_node_t *name)
{
    const char *names[64];
    char clipped[MN__CLIP + 4];
    int64_t n = 0;
    for (; rows[n].key && n < 64; n++)
        names[n] = rows[n].key;
    return mn__refuse(from, name->start_mark, "unknown option '%s.%s'; did you mean '%s'?", path,
                      mn__clip(mn__text(name), name->data.scalar.length, clipped),
                      mn_nearest(mn__text(name), names, n));
}

static mn_err read_record(mn_recipe *r, const mn_option *rows, const char *path, const mn__source *from,
                          const yaml_node_t *node, mn__value *values)
{
    if (node->type != YAML_MAPPING_NODE)
        return mn__refuse(from, node->start_mark, "%s: expected {%s: ..., ...}", path, rows[0].key);
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = mn__node(from, pair->key), *value = mn__node(from, pair->value);
        if (name->type != YAML_SCALAR_NODE) return mn__refuse(from, name->start_mark, "%s: expected a name", path);
        int64_t i = 0;
        while (rows[i].key && strcmp(rows[i].key, mn__text(name)) != 0)
            i++;
        if (!rows[i].key) return unknown_in_record(rows, path, from, name);
        if (values[i].from)
            return mn__refuse(from, name->start_mark, "%s.%s is given twice, first at line %zu", path, rows[i].key,
                              values[i].mark.line + 1);
        char below[MN__PATH]; // of a known key: it fits
        if (snprintf(below, sizeof below, "%s.%s", path, rows[i].key) < 0) below[0] = 0;
        values[i].from = from;
        values[i].mark = name->start_mark;
        MN_TRY(mn__value_read(r, &rows[i], below, from, value, &values[i]));
    }
    for (int64_t i = 0; rows[i].key; i++) {
        if (values[i].from) continue;
        if (!rows[i].preset) return mn__refuse(from, node->start_mark, "%s.%s is missing", path, rows[i].key);
        MN_TRY(mn__value_preset(r, &rows[i], &values[i]));
    }
    return MN_OK;
}

static mn_err read_list(mn_recipe *r, const mn_option *o, const char *path, const mn__source *from,
                        const yaml_node_t *node, mn__value *out)
{
    if (node->type != YAML_SEQUENCE_NODE) return wrong_type(o, path, from, node);
    int64_t n = node->data.sequence.items.top - node->data.sequence.items.start;
    if (n > MN__MAX_LIST) return mn__refuse(from, node->start_mark, "%s: more than %d elements", path, MN__MAX_LIST);
    int64_t columns = o->type == MN_TYPE_RECORDS ? mn__rows_count(o->rows) : 1;
    size_t size = o->type == MN_TYPE_RECORDS ? sizeof(mn__value) : 8;
    out->i = n;
    out->list = mn__keep(r, mn_calloc((size_t)(n * columns), size));
    for (int64_t i = 0; i < n; i++) {
        char below[MN__PATH];
        if (snprintf(below, sizeof below, "%s[%lld]", path, (long long)i) < 0) below[0] = 0;
        const yaml_node_t *item = mn__node(from, node->data.sequence.items.start[i]);
        mn__value element = {0};
        if (o->type == MN_TYPE_RECORDS) {
            MN_TRY(read_record(r, o->rows, below, from, item, (mn__value *)out->list + i * columns));
            continue;
        }
        MN_TRY(read_scalar(o, below, from, item, &element));
        if (o->type == MN_TYPE_INTS) ((int64_t *)out->list)[i] = element.i;
        if (o->type == MN_TYPE_FLOATS) ((double *)out->list)[i] = element.f;
        if (o->type == MN_TYPE_STRINGS) ((char **)out->list)[i] = mn__keep(r, mn_strdup(element.s));
    }
    return MN_OK;
}

mn_err mn__value_read(mn_recipe *r, const mn_option *o, const char *path, const mn__source *from,
                      const yaml_node_t *node, mn__value *out)
{
    if (o->type >= MN_TYPE_INTS) return read_list(r, o, path, from, node, out);
    MN_TRY(read_scalar(o, path, from, node, out));
    if (o->type == MN_TYPE_STRING) out->s = mn__keep(r, mn_strdup(out->s));
    return MN_OK;
}
