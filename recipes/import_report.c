#include "recipes/import_report.h"

#include "data/label.h"

#include <string.h>

enum { BAR = 24, LEVELS = 8 };

static long long number(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static long long element(const json_t *array, size_t i)
{
    return (long long)json_integer_value(json_array_get(array, i));
}

static long long sum_of(const json_t *array)
{
    long long sum = 0;
    for (size_t i = 0; i < json_array_size(array); i++)
        sum += element(array, i);
    return sum;
}

static void print_bytes(FILE *to, double bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int k = 0;
    for (; bytes >= 1024 && k < 4; k++)
        bytes /= 1024;
    fprintf(to, "%.*f %s", k ? 1 : 0, bytes, unit[k]);
}

static void print_seconds(FILE *to, double s)
{
    if (s < 60)
        fprintf(to, "%.0f s", s < 1 ? 1 : s);
    else if (s < 5400)
        fprintf(to, "%.0f min", s / 60);
    else
        fprintf(to, "%.1f h", s / 3600);
}

// Labels

static void print_share(FILE *to, const char *name, long long n, long long of)
{
    double share = of > 0 ? (double)n / (double)of : 0;
    fprintf(to, "    %-12s %12lld  %5.1f %%  ", name, n, 100 * share);
    for (int i = 0; i < (int)(share * BAR + 0.5); i++)
        fputc('#', to);
    fputc('\n', to);
}

// Twenty bins from -1 to 1, as many steps high as there are characters.
static void print_affect(FILE *to, const json_t *split, const char *name)
{
    static const char *const level[LEVELS + 1] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const json_t *o = json_object_get(split, name), *bins = json_object_get(o, "bins");
    long long most = 1;
    if (number(o, "valid") == 0) return;
    fprintf(to, "    %-12s %12lld  mean %6.3f  sd %.3f  -1 [", name, number(o, "valid"),
            json_real_value(json_object_get(o, "mean")), json_real_value(json_object_get(o, "sd")));
    for (size_t i = 0; i < json_array_size(bins); i++)
        if (element(bins, i) > most) most = element(bins, i);
    for (size_t i = 0; i < json_array_size(bins); i++)
        fputs(level[(element(bins, i) * LEVELS + most - 1) / most], to);
    fputs("] 1\n", to);
}

static void print_ages(FILE *to, const json_t *ages)
{
    long long sum = sum_of(ages);
    if (sum == 0) return;
    fprintf(to, "  age: %lld\n", sum);
    for (size_t i = 0; i < json_array_size(ages); i++) {
        char name[32];
        (void)snprintf(name, sizeof(name), i + 1 < json_array_size(ages) ? "%zu to %zu" : "%zu and more", i * 10,
                       i * 10 + 9);
        if (element(ages, i)) print_share(to, name, element(ages, i), sum);
    }
}

static void print_labels(FILE *to, const json_t *split)
{
    static const char *const gender[] = {"female", "male"};
    const json_t *expr = json_object_get(split, "expr"), *valid = json_object_get(split, "au_valid");
    const json_t *genders = json_object_get(split, "gender"), *attributes = json_object_get(split, "attr_valid");
    long long sum = sum_of(expr);
    if (sum) fprintf(to, "  expression: %lld\n", sum);
    for (size_t i = 0; sum && i < DATA_EXPRESSIONS; i++)
        print_share(to, data_expression[i], element(expr, i), sum);
    if (sum_of(valid)) fputs("  action units, active of those with a label:\n", to);
    for (size_t i = 0; sum_of(valid) && i < DATA_AUS; i++)
        print_share(to, data_au[i], element(json_object_get(split, "au_active"), i), element(valid, i));
    if (number(json_object_get(split, "valence"), "valid") + number(json_object_get(split, "arousal"), "valid")) {
        fputs("  valence and arousal:\n", to);
        print_affect(to, split, "valence");
        print_affect(to, split, "arousal");
    }
    if (sum_of(genders)) fprintf(to, "  gender: %lld\n", sum_of(genders));
    for (size_t i = 0; sum_of(genders) && i < 2; i++)
        print_share(to, gender[i], element(genders, i), sum_of(genders));
    print_ages(to, json_object_get(split, "age_decades"));
    if (number(split, "identified")) fprintf(to, "  identity: %lld\n", number(split, "identified"));
    if (sum_of(attributes))
        fprintf(to, "  attributes: %lld pictures, %.1f of %zu set in one\n", element(attributes, 0),
                (double)sum_of(json_object_get(split, "attr_set")) / (double)element(attributes, 0),
                json_array_size(attributes));
}

static int has_labels(const json_t *split)
{
    static const char *const lists[] = {"expr", "au_valid", "gender", "age_decades", "attr_valid"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (sum_of(json_object_get(split, lists[i]))) return 1;
    return number(json_object_get(split, "valence"), "valid") || number(json_object_get(split, "arousal"), "valid") ||
           number(split, "identified");
}

// Tables

static void print_splits(FILE *to, const json_t *labels)
{
    const char *name;
    json_t *split;
    if (json_object_size(labels) == 0) return;
    fprintf(to, "\n  %-12s %12s %12s %12s\n", "split", "records", "pictures", "MiB");
    json_object_foreach((json_t *)(uintptr_t)labels, name, split)
    {
        fprintf(to, "  %-12s %12lld %12lld %12.1f", name, number(split, "records"), number(split, "pictures"),
                (double)number(split, "bytes") / 1048576);
        if (json_object_get(split, "videos")) fprintf(to, "   %lld videos", number(split, "videos"));
        if (json_object_get(split, "sounds"))
            fprintf(to, ", %lld sounds of %.0f s", number(split, "sounds"),
                    json_real_value(json_object_get(split, "sound_seconds")));
        fputc('\n', to);
    }
    json_object_foreach((json_t *)(uintptr_t)labels, name, split)
    {
        fprintf(to, "\n%s%s\n", name, has_labels(split) ? "" : ": no labels");
        print_labels(to, split);
    }
}

static void print_counts(FILE *to, const char *head, const json_t *o)
{
    const char *key;
    json_t *v;
    if (json_object_size(o)) fprintf(to, "\n%s\n", head);
    json_object_foreach((json_t *)(uintptr_t)o, key, v)
        fprintf(to, "  %-62s %12lld\n", key, (long long)json_integer_value(v));
}

static void print_indented(FILE *to, const char *text)
{
    for (const char *end; (end = strchr(text, '\n')); text = end + 1)
        fprintf(to, "    %.*s\n", (int)(end - text), text);
}

static void print_rejects(FILE *to, const json_t *r, const char *where)
{
    char head[64];
    const char *examples = json_string_value(json_object_get(r, "first_rejects"));
    long long n = number(r, "rejected");
    (void)snprintf(head, sizeof(head), "rejected: %lld%s", n, where);
    print_counts(to, head, json_object_get(r, "rejects"));
    if (examples && *examples) fputs("  the first of them (reason, file, row, detail)\n", to);
    if (examples) print_indented(to, examples);
}

// Reports

static void print_looked_at(FILE *to, const json_t *r)
{
    const json_t *o = json_object_get(r, "looked_at");
    if (json_is_true(json_object_get(o, "exact"))) {
        fputs("\nEverything was looked at as the import would: these are the numbers it will come to.\n", to);
        return;
    }
    fprintf(to, "\nLists and headers were read in full, %lld of %lld pictures to their end",
            number(o, "pictures_whole"), number(o, "pictures_whole") + number(o, "pictures_header"));
    if (number(o, "damaged"))
        fprintf(to, ": %lld of those are damaged, so about %lld of all", number(o, "damaged"),
                number(o, "damaged_expected"));
    fputs(".\n", to);
    if (number(o, "media_skipped"))
        fprintf(to, "%lld of %lld media files were not decoded.\n", number(o, "media_skipped"),
                number(o, "media") + number(o, "media_skipped"));
}

void mien_print_survey(FILE *to, const json_t *r, const char *src, const char *out, int makers)
{
    const json_t *disk = json_object_get(r, "disk");
    fprintf(to, "%s: %s -> %s: dry run, nothing was written\n", json_string_value(json_object_get(r, "kind")), src,
            out);
    print_splits(to, json_object_get(r, "labels"));
    print_rejects(to, r, "");
    print_counts(to, "worth knowing", json_object_get(r, "notes"));
    print_looked_at(to, r);
    fputs("Disk: ", to);
    print_bytes(to, (double)number(disk, "needed_bytes"));
    fprintf(to, " needed for %lld shards", number(r, "shards"));
    if (number(disk, "free_bytes") >= 0) {
        fputs(", ", to);
        print_bytes(to, (double)number(disk, "free_bytes"));
        fprintf(to, " free%s", number(disk, "free_bytes") < number(disk, "needed_bytes") ? ": TOO LITTLE" : "");
    }
    fputs(".\nTime: about ", to);
    print_seconds(to, json_real_value(json_object_get(r, "seconds_expected")));
    fprintf(to, " with %d at a time (--jobs and ranks), as fast as this look at the pictures was.\n", makers);
}

void mien_print_imported(FILE *to, const json_t *r, const char *out, int anew)
{
    fprintf(to, "%s: %lld records, %lld pictures, ", out, number(r, "records"), number(r, "pictures"));
    if (number(r, "sounds")) fprintf(to, "%lld sounds, ", number(r, "sounds"));
    print_bytes(to, (double)number(r, "bytes"));
    fprintf(to, " in %lld shard%s", number(r, "shards"), number(r, "shards") == 1 ? "" : "s");
    if (json_is_true(json_object_get(r, "repeated"))) {
        fputs(" (it was all there already)", to);
    } else {
        if (number(r, "shards_kept"))
            fprintf(to, ", %lld of them from an import before this one", number(r, "shards_kept"));
        fputs(", ", to);
        print_seconds(to, json_real_value(json_object_get(r, "seconds")));
    }
    fputc('\n', to);
    print_splits(to, json_object_get(r, "labels"));
    print_rejects(to, r, " (see rejects.csv)");
    print_counts(to, "worth knowing", json_object_get(r, "notes"));
    if (!json_object_get(json_object_get(r, "notes"), "faces cut out of their pictures"))
        if (!anew) fputs("\nPictures were stored as they are: faces are expected cropped.\n", to);
}
