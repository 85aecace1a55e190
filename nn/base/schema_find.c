// Where a key was given, and what a wrong name may have been meant to be.
#include "nn/base/schema_internal.h"

#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>

// If `key` is `head`, or goes on below it, the rest of it; else NULL.
static const char *rest_below(const char *key, const char *head)
{
    size_t n = strlen(head);
    if (strncmp(key, head, n) != 0) return NULL;
    if (n == 0 || key[n] == 0 || key[n] == '[') return key + n;
    return key[n] == '.' ? key + n + 1 : NULL;
}

// The node that `key` leads to below `node`; marks of keys are better than those of values, which may be empty.
static int find_below(yaml_document_t *doc, yaml_node_t *node, const char *key, yaml_mark_t mark, mn__place *out)
{
    if (*key == 0) {
        out->node = node;
        out->mark = mark;
        return 1;
    }
    if (node->type == YAML_SEQUENCE_NODE && *key == '[') {
        char *end;
        long i = strtol(key + 1, &end, 10);
        yaml_node_item_t *items = node->data.sequence.items.start;
        if (*end != ']' || i < 0 || i >= node->data.sequence.items.top - items) return 0;
        yaml_node_t *item = yaml_document_get_node(doc, items[i]);
        return find_below(doc, item, end[1] == '.' ? end + 2 : end + 1, item->start_mark, out);
    }
    if (node->type != YAML_MAPPING_NODE) return 0;
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        yaml_node_t *name = yaml_document_get_node(doc, pair->key), *value = yaml_document_get_node(doc, pair->value);
        if (name->type != YAML_SCALAR_NODE || !*mn__text(name)) continue;
        const char *rest = rest_below(key, mn__text(name));
        if (rest && find_below(doc, value, rest, value->start_mark, out)) return 1;
    }
    return 0;
}

static int find_in(const mn__source *from, const char *key, mn__place *out)
{
    // libyaml's accessors want a document they could change; they do not.
    yaml_document_t *doc = (yaml_document_t *)&from->document;
    yaml_node_t *root = from->loaded ? yaml_document_get_root_node(doc) : NULL;
    const char *rest = root ? rest_below(key, from->key) : NULL;
    out->from = from;
    return rest && find_below(doc, root, rest, root->start_mark, out);
}

int mn__find(const mn_recipe *r, const char *key, mn__place *out)
{
    for (int64_t i = r->n_overrides - 1; i >= 0; i--)
        if (find_in(&r->overrides[i], key, out)) return 1;
    return find_in(&r->file, key, out);
}

const char *mn_recipe_peek(const mn_recipe *r, const char *key)
{
    mn__place place;
    if (!mn__find(r, key, &place) || place.node->type != YAML_SCALAR_NODE) return NULL;
    return mn__text(place.node);
}

int mn_recipe_given(const mn_recipe *r, const char *key)
{
    mn__place place;
    return mn__find(r, key, &place);
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

// Optimal string alignment distance: insert, delete, replace, or swap two neighbours. Only the beginnings of very long
// words are compared.
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 64 };
    int n = (int)strnlen(a, LONGEST), m = (int)strnlen(b, LONGEST);
    int rows[3][LONGEST + 1];
    for (int j = 0; j <= m; j++)
        rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *now = rows[i % 3], *before = rows[(i + 2) % 3], *earlier = rows[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            now[j] = least(before[j - 1] + (a[i - 1] != b[j - 1]), least(before[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return rows[n % 3][m];
}

const char *mn_nearest(const char *word, const char *const *names, int64_t n)
{
    const char *nearest = NULL;
    int best = 0;
    for (int64_t i = 0; i < n; i++) {
        int d = distance(word, names[i]);
        if (!nearest || d < best) {
            nearest = names[i];
            best = d;
        }
    }
    return nearest;
}

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

typedef struct search {
    const char *path;
    int best;
    char *nearest;
} search;

// A name in the wrong group ("lr" for "optim.lr") is nearer than one that merely has similar letters.
static void consider(search *s, const char *key, size_t size)
{
    char name[MN__PATH];
    if (size >= sizeof name) return;
    memcpy(name, key, size);
    name[size] = 0;
    int d = least(2 * distance(s->path, name), 2 * distance(last_part(s->path), last_part(name)) + 1);
    if (s->best >= 0 && d >= s->best) return;
    s->best = d;
    memcpy(s->nearest, name, size + 1);
}

const char *mn__nearest_key(const mn_recipe *r, const char *path, char nearest[MN__PATH])
{
    search s = {path, -1, nearest};
    nearest[0] = 0;
    for (int64_t t = 0; t < r->n_tables; t++)
        for (const mn_option *o = r->tables[t].rows; o->key; o++) {
            consider(&s, o->key, strlen(o->key));
            for (const char *dot = strchr(o->key, '.'); dot; dot = strchr(dot + 1, '.'))
                consider(&s, o->key, (size_t)(dot - o->key)); // its groups
        }
    return nearest;
}
