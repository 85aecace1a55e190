// `mien data info`, for people.
#include "data/info.h"
#include "data/info_parts.h"
#include "data/label.h"

#include <stdlib.h>
#include <string.h>

enum { BAR = 40 };

static int64_t number(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

// A count, its share, and a bar as long as the share.
static void print_share(FILE *to, const char *name, int64_t n, int64_t of)
{
    char bar[BAR + 1];
    double share = of ? (double)n / (double)of : 0;
    int length = (int)(share * BAR + 0.5);
    if (length == 0 && n > 0) length = 1;
    memset(bar, '#', BAR);
    bar[length < BAR ? length : BAR] = 0;
    fprintf(to, "    %-12s %10lld  %5.1f %%  %s\n", name, (long long)n, 100 * share, bar);
}

// Bins of a histogram as one character each, higher for more.
static void print_bins(FILE *to, const json_t *bins)
{
    static const char *const level[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    int64_t most = 1;
    for (size_t i = 0; i < json_array_size(bins); i++) {
        int64_t v = json_integer_value(json_array_get(bins, i));
        if (v > most) most = v;
    }
    fputs("  -1 [", to);
    for (size_t i = 0; i < json_array_size(bins); i++) {
        int64_t v = json_integer_value(json_array_get(bins, i));
        fputs(level[(v * 8 + most - 1) / most], to);
    }
    fputs("] 1\n", to);
}

static void print_affect(const json_t *split, const char *name, FILE *to)
{
    const json_t *o = json_object_get(split, name);
    if (!o) return;
    fprintf(to, "    %-12s %10lld  mean %6.3f  sd %.3f", name, (long long)number(o, "valid"),
            json_real_value(json_object_get(o, "mean")), json_real_value(json_object_get(o, "sd")));
    print_bins(to, json_object_get(o, "bins"));
}

static int64_t sum_of(const json_t *array)
{
    int64_t sum = 0;
    for (size_t i = 0; i < json_array_size(array); i++)
        sum += json_integer_value(json_array_get(array, i));
    return sum;
}

static void print_people(const json_t *split, FILE *to)
{
    static const char *const gender[] = {"female", "male"};
    const json_t *ages = json_object_get(split, "age_decades"), *genders = json_object_get(split, "gender");
    int64_t sum = sum_of(ages);
    if (sum) fprintf(to, "  age: %lld\n", (long long)sum);
    for (size_t i = 0; sum && i < json_array_size(ages); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "from %zu", 10 * i);
        if (json_integer_value(json_array_get(ages, i)))
            print_share(to, name, json_integer_value(json_array_get(ages, i)), sum);
    }
    sum = sum_of(genders);
    if (sum) fprintf(to, "  gender: %lld\n", (long long)sum);
    for (size_t i = 0; sum && i < 2; i++)
        print_share(to, gender[i], json_integer_value(json_array_get(genders, i)), sum);
}

// Of each kind of label, if there is one at all in this split.
static void print_labels(const json_t *split, FILE *to)
{
    const json_t *expr = json_object_get(split, "expr"), *valid = json_object_get(split, "au_valid");
    const json_t *active = json_object_get(split, "au_active");
    const json_t *valence = json_object_get(split, "valence"), *arousal = json_object_get(split, "arousal");
    int64_t sum = sum_of(expr);
    if (sum) fprintf(to, "  expression: %lld\n", (long long)sum);
    for (size_t i = 0; sum && i < DATA_EXPRESSIONS; i++)
        print_share(to, data_expression[i], json_integer_value(json_array_get(expr, i)), sum);
    sum = sum_of(valid);
    if (sum) fprintf(to, "  action units, active of those with a label:\n");
    for (size_t i = 0; sum && i < DATA_AUS; i++)
        print_share(to, data_au[i], json_integer_value(json_array_get(active, i)),
                    json_integer_value(json_array_get(valid, i)));
    print_people(split, to);
    sum = number(split, "identified");
    if (sum) fprintf(to, "  with an identity: %lld\n", (long long)sum);
    sum = json_integer_value(json_array_get(json_object_get(split, "attr_valid"), 0));
    if (sum) fprintf(to, "  with attributes: %lld\n", (long long)sum);
    if (number(valence, "valid") + number(arousal, "valid") == 0) return;
    fprintf(to, "  valence and arousal:\n");
    print_affect(split, "valence", to);
    print_affect(split, "arousal", to);
}

static void print_table(const char *head, const json_t *o, FILE *to)
{
    const char *key;
    json_t *v;
    if (json_object_size(o)) fprintf(to, "%s\n", head);
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
        fprintf(to, "  %-60s %10lld\n", key, (long long)json_integer_value(v));
}

// One line for each pair of splits that share people, or one that there is none.
static void print_overlap(const json_t *overlap, FILE *to)
{
    const char *kind, *pair;
    json_t *pairs, *o;
    json_object_foreach((json_t *)(uintptr_t)overlap, kind, pairs)
    {
        int shared = 0;
        json_object_foreach(pairs, pair, o)
        {
            if (number(o, "people") == 0) continue;
            const char *example = json_string_value(json_array_get(json_object_get(o, "examples"), 0));
            fprintf(to, "people in both %s, told by %s: %lld%s%s\n", pair, kind, (long long)number(o, "people"),
                    example ? ", for one " : "", example ? example : "");
            shared = 1;
        }
        if (!shared) fprintf(to, "people in two splits, told by %s: 0\n", kind);
    }
}

static void print_range(FILE *to, const json_t *range)
{
    int64_t least = json_integer_value(json_array_get(range, 0)), most = json_integer_value(json_array_get(range, 1));
    fprintf(to, least == most ? "%lld" : "%lld-%lld", (long long)least, (long long)most);
}

// Where it comes from, and what there is of pictures and sound.
static void print_origin(const json_t *report, FILE *to)
{
    const char *name, *version = json_string_value(json_object_get(report, "importer_version"));
    json_t *o;
    char *options = json_dumps(json_object_get(report, "options"), JSON_COMPACT);
    const char *when = json_string_value(json_object_get(report, "created_utc"));
    fprintf(to, "imported %s by mien %s, importer %s, options %s\n", when ? when : "at an unknown time",
            version ? version : "of an unknown version", json_string_value(json_object_get(report, "importer")),
            options ? options : "{}");
    free(options);
    json_object_foreach(json_object_get(report, "streams"), name, o)
    {
        int64_t records = number(o, "records"), full = records - number(o, "empty");
        fprintf(to, "%s: %lld shards, %lld records (%lld empty), %.1f MiB, %.1f KiB a record", name,
                (long long)number(o, "shards"), (long long)records, (long long)number(o, "empty"),
                (double)number(o, "bytes") / 1048576,
                full ? (double)number(o, "payload_bytes") / 1024 / (double)full : 0.0);
        if (json_object_get(o, "width")) {
            fputs(", ", to);
            print_range(to, json_object_get(o, "width"));
            fputs(" x ", to);
            print_range(to, json_object_get(o, "height"));
            fputs(" pixels", to);
        }
        fputc('\n', to);
    }
}

void data_info_print(const json_t *report, FILE *to)
{
    const char *name;
    json_t *split;
    if (json_is_true(json_object_get(report, "features"))) {
        data__info_print_features(report, to);
        return;
    }
    fprintf(to, "%s: %s, %lld records in %lld shards, %.1f MiB\n", json_string_value(json_object_get(report, "path")),
            json_string_value(json_object_get(report, "dataset")), (long long)number(report, "records"),
            (long long)number(report, "shards"), (double)number(report, "bytes") / 1048576);
    print_origin(report, to);
    json_object_foreach(json_object_get(report, "splits"), name, split)
    {
        fprintf(to, "%s: %lld records, %lld with a picture", name, (long long)number(split, "records"),
                (long long)number(split, "pictures"));
        if (json_object_get(split, "videos")) fprintf(to, ", %lld videos", (long long)number(split, "videos"));
        if (json_object_get(split, "sounds"))
            fprintf(to, ", %lld sounds of %.0f s", (long long)number(split, "sounds"),
                    json_real_value(json_object_get(split, "sound_seconds")));
        fprintf(to, "\n");
        print_labels(split, to);
    }
    print_overlap(json_object_get(report, "overlap"), to);
    print_table("rejected", json_object_get(report, "rejects"), to);
    print_table("worth knowing", json_object_get(report, "notes"), to);
}
