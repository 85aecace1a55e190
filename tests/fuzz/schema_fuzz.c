// Recipes from outside: the first line of the input is an override (none if it is empty), the rest is the file.
// Whatever is accepted must print as a recipe that resolves to the same text.
#include "nn/base/schema.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct part_conf {
    const char *set;
    double weight;
} part_conf;
typedef struct conf {
    const char *task, *run;
    int64_t seed;
    int precision, quirks, invalid, image;
    float drop;
    double lr, decay;
    mn_ints depths;
    mn_floats scale;
    mn_strings metrics;
    mn_list data;
} conf;

static const char *const precisions[] = {"fp32", "bf16", NULL};
static const mn_option part_options[] = {
    MN_OPT_STRING(part_conf, set, "set", NULL, 0, ""),
    MN_OPT_FLOAT(part_conf, weight, "weight", "1", 0, 1e6, 0, ""),
    {0},
};
static const mn_option options[] = {
    MN_OPT_STRING(conf, task, "task", "a", 0, ""),
    MN_OPT_STRING(conf, run, "run", "x", MN_FILE_NAME, ""),
    MN_OPT_INT(conf, seed, "seed", "0", -INFINITY, INFINITY, 0, ""),
    MN_OPT_ENUM(conf, precision, "precision", "bf16", precisions, 0, ""),
    MN_OPT_BOOL(conf, quirks, "optim.quirks", "false", MN_FREE, ""),
    MN_OPT_FLOAT(conf, lr, "optim.lr", "1e-4", 0, 1, MN_ABOVE_LO, ""),
    MN_OPT_FLOAT(conf, decay, "optim.decay", "0", -INFINITY, INFINITY, 0, ""),
    MN_OPT_INT(conf, image, "model.image", "192", -4096, 4096, 0, ""),
    MN_OPT_FLOAT(conf, drop, "model.drop", "0", -1, 1, MN_BELOW_HI, ""),
    MN_OPT_INTS(conf, depths, "model.depths", "[2, 2]", 1, 64, 0, ""),
    MN_OPT_FLOATS(conf, scale, "model.crop.scale", "[0.67, 1]", 0, 1, 0, ""),
    MN_OPT_STRINGS(conf, metrics, "metrics", "[]", 0, ""),
    MN_OPT_RECORDS(conf, data, "data", "[]", part_conf, part_options, 0, ""),
    MN_OPT_ENUM(conf, invalid, "data.invalid", "fp32", precisions, 0, ""),
    {0},
};

static void require(int truth, const char *what)
{
    if (truth) return;
    fprintf(stderr, "%s: %s\n", what, mn_errmsg());
    abort();
}

static char *resolve(const char *text, size_t size, const char *override)
{
    conf c;
    mn_recipe *r;
    mn_err err = mn_recipe_parse(&r, "fuzz.yaml", text, size, &override, *override != 0);
    if (err == MN_OK) {
        mn_recipe_table(r, options, &c);
        err = mn_recipe_resolve(r);
    }
    require(err == MN_OK || err == MN_ECONFIG, "an unexpected error");
    require(err == MN_OK || !strncmp(mn_errmsg(), "fuzz.yaml:", 10) || !strncmp(mn_errmsg(), "command line: ", 14),
            "a message without a place");
    char *resolved = err == MN_OK ? mn_recipe_text(r) : NULL;
    mn_recipe_free(r);
    return resolved;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t first = end ? (size_t)(end - data) : 0;
    char *override = calloc(first + 1, 1);
    memcpy(override, data, first);
    char *once = resolve((const char *)data + first, size - first, override);
    char *twice = once ? resolve(once, strlen(once), "") : NULL;
    require(!once || (twice && !strcmp(once, twice)), "the resolved recipe does not read back");
    free(override);
    free(once);
    free(twice);
    return 0;
}
