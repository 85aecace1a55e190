// The resolved recipe as text, its digest, its comparison with an earlier one, and the words of --help.
#include "nn/base/schema_internal.h"

#include "nn/base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct item {
    const mn_option *option;
    const mn__value *value;
    int printed;
} item;

static int64_t list_items(const mn_recipe *r, item **out)
{
    int64_t n = 0;
    for (int64_t t = 0; t < r->n_tables; t++)
        n += r->tables[t].n;
    item *items = mn_calloc((size_t)n, sizeof *items);
    n = 0;
    for (int64_t t = 0; t < r->n_tables; t++)
        for (int64_t i = 0; i < r->tables[t].n; i++)
            items[n++] = (item){&r->tables[t].rows[i], &r->tables[t].values[i], 0};
    *out = items;
    return n;
}

static FILE *open_text(char **text, size_t *size)
{
    FILE *f = open_memstream(text, size);
    mn_assert(f); // only memory can be missing
    return f;
}

static void close_text(FILE *f)
{
    int failed = fclose(f);
    mn_assert(!failed);
}

static char *value_text(const mn_option *o, const mn__value *v)
{
    char *text;
    size_t size;
    FILE *f = open_text(&text, &size);
    mn__value_print(f, o, v, MN__SHOWN);
    close_text(f);
    return text;
}

static int in_group(const char *key, const char *group, size_t n)
{
    return strncmp(key, group, n) == 0;
}

// A group whose name is itself an option ("data" beside "data.invalid") cannot hold others: those stay dotted.
static int is_option(const item *items, int64_t n, const char *name, size_t size)
{
    for (int64_t i = 0; i < n; i++)
        if (strlen(items[i].option->key) == size && strncmp(items[i].option->key, name, size) == 0) return 1;
    return 0;
}

// Prints all that is left below the first `n_group` bytes of group ("" or "optim."), each inner group in one piece.
static void print_group(FILE *f, item *items, int64_t n, const char *group, size_t n_group, int indent)
{
    for (int64_t i = 0; i < n; i++) {
        const char *key = items[i].option->key;
        if (items[i].printed || !in_group(key, group, n_group)) continue;
        const char *dot = strchr(key + n_group, '.');
        if (dot && !is_option(items, n, key, (size_t)(dot - key))) {
            fprintf(f, "%*s%.*s:\n", indent, "", (int)(dot - key - (ptrdiff_t)n_group), key + n_group);
            print_group(f, items, n, key, (size_t)(dot - key) + 1, indent + 2);
            continue;
        }
        fprintf(f, "%*s%s: ", indent, "", key + n_group);
        mn__value_print(f, items[i].option, items[i].value, MN__SHOWN);
        fputc('\n', f);
        items[i].printed = 1;
    }
}

char *mn_recipe_text(const mn_recipe *r)
{
    mn_assert(r->resolved);
    item *items;
    int64_t n = list_items(r, &items);
    char *text;
    size_t size;
    FILE *f = open_text(&text, &size);
    print_group(f, items, n, "", 0, 0);
    close_text(f);
    free(items);
    return text;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const item *)a)->option->key, ((const item *)b)->option->key);
}

uint64_t mn_recipe_digest(const mn_recipe *r, unsigned without)
{
    mn_assert(r->resolved);
    item *items;
    int64_t n = list_items(r, &items);
    char *text;
    size_t size;
    FILE *f = open_text(&text, &size);
    if (n) qsort(items, (size_t)n, sizeof *items, by_key); // the order of the tables does not matter
    for (int64_t i = 0; i < n; i++) {
        if (items[i].option->flags & without) continue;
        fprintf(f, "%s: ", items[i].option->key);
        mn__value_print(f, items[i].option, items[i].value, MN__HASHED);
        fputc('\n', f);
    }
    close_text(f);
    uint64_t digest = XXH3_64bits(text, size);
    free(text);
    free(items);
    return digest;
}

// Appends "key (old there, new here)" for every fixed option that differs; returns how many there are.
static int64_t print_changes(FILE *f, const mn_recipe *now, const mn_recipe *then)
{
    enum { SHOWN = 8 };
    item *a, *b;
    int64_t n = list_items(now, &a), changes = 0;
    (void)list_items(then, &b); // the same tables
    for (int64_t i = 0; i < n; i++) {
        if (a[i].option->flags & MN_FREE) continue;
        char *here = value_text(a[i].option, a[i].value), *there = value_text(b[i].option, b[i].value);
        char here_clipped[MN__CLIP + 4], there_clipped[MN__CLIP + 4];
        if (strcmp(here, there) != 0 && changes++ < SHOWN)
            fprintf(f, "%s%s (%s there, %s here)", changes > 1 ? ", " : "", a[i].option->key,
                    mn__clip(there, strlen(there), there_clipped), mn__clip(here, strlen(here), here_clipped));
        free(here);
        free(there);
    }
    if (changes > SHOWN) fprintf(f, " and %lld more", (long long)(changes - SHOWN));
    free(a);
    free(b);
    return changes;
}

mn_err mn_recipe_resume(const mn_recipe *r, const char *saved_path)
{
    mn_assert(r->resolved);
    mn_recipe *then;
    MN_TRY(mn_recipe_open(&then, saved_path, NULL, 0));
    for (int64_t t = 0; t < r->n_tables; t++)
        mn_recipe_table(then, r->tables[t].rows, NULL);
    mn_err err = mn_while(mn_recipe_resolve(then), "comparing with the run's recipe");
    char *text = NULL;
    size_t size;
    if (err == MN_OK) {
        FILE *f = open_text(&text, &size);
        int64_t changes = print_changes(f, r, then);
        close_text(f);
        if (changes)
            err = mn_fail(MN_ECONFIG, "%s: a resumed run may not change %s; put it back or start a run of another name",
                          saved_path, text);
    }
    free(text);
    mn_recipe_free(then);
    return err;
}

static void print_range(FILE *f, const mn_option *o)
{
    int has_lo = o->lo > -0x1p63, has_hi = o->hi < 0x1p63;
    int above = (o->flags & MN_ABOVE_LO) != 0, below = (o->flags & MN_BELOW_HI) != 0;
    if (has_lo && has_hi && !above && !below)
        fprintf(f, " from %.16g to %.16g", o->lo, o->hi);
    else if (has_lo && has_hi)
        fprintf(f, " %s %.16g and %s %.16g", above ? "above" : "of at least", o->lo, below ? "below" : "at most",
                o->hi);
    else if (has_lo)
        fprintf(f, " %s %.16g", above ? "above" : "of at least", o->lo);
    else if (has_hi)
        fprintf(f, " %s %.16g", below ? "below" : "of at most", o->hi);
}

static void print_names(FILE *f, const mn_option *rows)
{
    fputs("a list of records {", f);
    for (int64_t i = 0; rows[i].key; i++)
        fprintf(f, "%s%s", i ? ", " : "", rows[i].key);
    fputc('}', f);
}

char *mn_option_type_text(const mn_option *o)
{
    char *text;
    size_t size;
    FILE *f = open_text(&text, &size);
    switch (o->type) {
    case MN_TYPE_INT:
        fputs("an integer", f);
        break;
    case MN_TYPE_FLOAT:
        fputs("a number", f);
        break;
    case MN_TYPE_BOOL:
        fputs("true or false", f);
        break;
    case MN_TYPE_STRING:
        fputs(o->flags & MN_FILE_NAME ? "a plain file name (letters, digits, . _ -)" : "a text", f);
        break;
    case MN_TYPE_ENUM:
        fputs("one of", f);
        break;
    case MN_TYPE_INTS:
        fputs("a list of integers", f);
        break;
    case MN_TYPE_FLOATS:
        fputs("a list of numbers", f);
        break;
    case MN_TYPE_STRINGS:
        fputs("a list of texts", f);
        break;
    case MN_TYPE_RECORDS:
        print_names(f, o->rows);
        break;
    case MN_TYPE_END:
        break;
    }
    for (int64_t i = 0; o->choices && o->choices[i]; i++)
        fprintf(f, "%s%s", i ? ", " : " ", o->choices[i]);
    if (o->type == MN_TYPE_INT || o->type == MN_TYPE_FLOAT || o->type == MN_TYPE_INTS || o->type == MN_TYPE_FLOATS)
        print_range(f, o);
    close_text(f);
    return text;
}
