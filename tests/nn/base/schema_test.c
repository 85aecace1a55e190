#include "nn/base/schema.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

#include <xxhash.h>

typedef struct part_conf {
    const char *set, *split;
    double weight;
} part_conf;

typedef enum precision { FP32, BF16 } precision;

typedef struct common_conf {
    const char *task, *run, *data_dir;
    int64_t seed;
    precision type;
    mn_list data;
    int invalid;
} common_conf;

typedef struct model_conf {
    int64_t embed;
    int image, timm;
    mn_ints depths;
    mn_floats scale;
    mn_strings metrics;
    double lr, wd;
    float drop;
} model_conf;

static const char *const precisions[] = {"fp32", "bf16", NULL};
static const char *const invalid_forms[] = {"frame", "column", NULL};
static const mn_option part_options[] = {
    MN_OPT_STRING(part_conf, set, "set", NULL, 0, "dataset"),
    MN_OPT_STRING(part_conf, split, "split", "train", 0, "split"),
    MN_OPT_FLOAT(part_conf, weight, "weight", "1", 0, 1e6, 0, "how often it is drawn"),
    {0},
};
static const mn_option common_options[] = {
    MN_OPT_STRING(common_conf, task, "task", NULL, 0, "what to train"),
    MN_OPT_STRING(common_conf, run, "run", "unnamed", MN_FILE_NAME, "name of the run"),
    MN_OPT_INT(common_conf, seed, "seed", "0", 0, 0x1p63, 0, "of everything random"),
    MN_OPT_STRING(common_conf, data_dir, "paths.data", "", MN_FREE, "where shards are"),
    MN_OPT_ENUM(common_conf, type, "precision", "bf16", precisions, 0, "compute type"),
    MN_OPT_RECORDS(common_conf, data, "data", "[]", part_conf, part_options, 0, "datasets"),
    MN_OPT_ENUM(common_conf, invalid, "data.invalid", "frame", invalid_forms, 0, "what an invalid label hides"),
    {0},
};
static const mn_option model_options[] = {
    MN_OPT_INT(model_conf, embed, "model.embed", "96", 1, 4096, 0, "channels of the first stage"),
    MN_OPT_INT(model_conf, image, "model.image", "192", 1, 4096, 0, "pixels"),
    MN_OPT_INTS(model_conf, depths, "model.depths", "[2, 2, 6, 2]", 1, 64, 0, "blocks per stage"),
    MN_OPT_FLOATS(model_conf, scale, "augment.crop.scale", "[0.67, 1]", 0, 1, MN_ABOVE_LO, "of the crop"),
    MN_OPT_STRINGS(model_conf, metrics, "eval.metrics", "[]", MN_FREE, "what to print"),
    MN_OPT_FLOAT(model_conf, lr, "optim.lr", "1e-4", 0, 1, MN_ABOVE_LO, "peak learning rate"),
    MN_OPT_FLOAT(model_conf, wd, "optim.weight_decay", "0.05", 0, INFINITY, 0, "weight decay"),
    MN_OPT_FLOAT(model_conf, drop, "model.drop", "0.1", 0, 1, MN_BELOW_HI, "dropout"),
    MN_OPT_BOOL(model_conf, timm, "optim.timm", "false", MN_FREE, "quirks"),
    {0},
};

typedef struct fixture {
    mn_recipe *r;
    common_conf common;
    model_conf model;
} fixture;

static mn_err read_n(fixture *f, const char *text, size_t size, const char *const *overrides, int64_t n)
{
    memset(f, 0, sizeof *f);
    MN_TRY(mn_recipe_parse(&f->r, "r.yaml", text, size, overrides, n));
    mn_recipe_table(f->r, common_options, &f->common);
    mn_recipe_table(f->r, model_options, &f->model);
    return mn_recipe_resolve(f->r);
}

static mn_err read_one(fixture *f, const char *text, const char *override)
{
    return read_n(f, text, strlen(text), &override, override != NULL);
}

Test(schema, fills_structs)
{
    fixture f;
    const char *text = "task: simmim   # a comment\n"
                       "run: swin_t-1.a\n"
                       "seed: 9223372036854775807\n"
                       "paths: {data: /data/a b}\n"
                       "data:\n"
                       "  - {set: affwild2, split: \"val\", weight: 0.5}\n"
                       "  - set: expw\n"
                       "data.invalid: column\n"
                       "model:\n"
                       "  depths: [1, 1]\n"
                       "  drop: .5\n"
                       "augment.crop: {scale: [0.5, 1]}\n"
                       "eval: {metrics: [a, 'b c']}\n"
                       "optim:\n"
                       "  lr: 1.25e-3\n"
                       "  timm: true\n";
    cr_assert_eq(read_one(&f, text, NULL), MN_OK, "%s", mn_errmsg());
    cr_expect_str_eq(f.common.task, "simmim");
    cr_expect_str_eq(f.common.run, "swin_t-1.a");
    cr_expect_eq(f.common.seed, INT64_MAX);
    cr_expect_str_eq(f.common.data_dir, "/data/a b");
    cr_expect_eq(f.common.type, BF16);
    cr_assert_eq(f.common.data.n, 2);
    const part_conf *parts = f.common.data.v;
    cr_expect_str_eq(parts[0].set, "affwild2");
    cr_expect_str_eq(parts[0].split, "val");
    cr_expect_eq(parts[0].weight, 0.5);
    cr_expect_str_eq(parts[1].set, "expw");
    cr_expect_str_eq(parts[1].split, "train");
    cr_expect_eq(parts[1].weight, 1);
    cr_expect_eq(f.common.invalid, 1);
    cr_expect_eq(f.model.embed, 96);
    cr_expect(f.model.depths.n == 2 && f.model.depths.v[1] == 1);
    cr_expect_eq(f.model.drop, 0.5f);
    cr_expect(f.model.scale.n == 2 && f.model.scale.v[0] == 0.5);
    cr_assert(f.model.metrics.n == 2);
    cr_expect_str_eq(f.model.metrics.v[1], "b c");
    cr_expect_eq(f.model.lr, 1.25e-3);
    cr_expect_eq(f.model.timm, 1);
    mn_recipe_free(f.r);
}

Test(schema, command_line_wins_and_the_last_of_it)
{
    fixture f;
    static const char *const overrides[] = {"optim.lr=1e-2",        "optim.lr=1e-3",       "model.depths=[3, 4]",
                                            "data=[{set: celeba}]", "model={embed: 24}",   "run=x",
                                            "paths.data=a: #b",     "data.invalid=column", "eval.metrics=[]"};
    const char *text = "{task: a, optim: {lr: 0.5}, data: [{set: x}, {set: y}], model: {embed: 48}}";
    cr_assert_eq(read_n(&f, text, strlen(text), overrides, 9), MN_OK, "%s", mn_errmsg());
    cr_expect_eq(f.model.lr, 1e-3);
    cr_expect(f.model.depths.n == 2 && f.model.depths.v[0] == 3);
    cr_expect_eq(f.model.embed, 24);
    cr_expect_eq(f.common.data.n, 1);
    cr_expect_str_eq(((const part_conf *)f.common.data.v)[0].set, "celeba");
    cr_expect_str_eq(f.common.data_dir, "a: #b");
    cr_expect_str_eq(mn_recipe_peek(f.r, "optim.lr"), "1e-3");
    cr_expect_str_eq(mn_recipe_peek(f.r, "task"), "a");
    cr_expect_null(mn_recipe_peek(f.r, "data"));
    cr_expect_null(mn_recipe_peek(f.r, "seed"));
    cr_expect(mn_recipe_given(f.r, "data[0].set") && !mn_recipe_given(f.r, "seed"));
    cr_expect_eq(mn_recipe_fail(f.r, "optim.lr", "too %s", "high"), MN_ECONFIG);
    cr_expect_str_eq(mn_errmsg(), "command line: optim.lr=1e-3: optim.lr: too high");
    mn_recipe_fail(f.r, "seed", "even");
    cr_expect_str_eq(mn_errmsg(), "r.yaml: seed (not given): even");
    mn_recipe_free(f.r);
}

Test(schema, later_checks_know_the_place)
{
    fixture f;
    cr_assert_eq(read_one(&f, "task: a\ndata:\n  - set: x\n  - set: y\n    weight: 3\n", NULL), MN_OK);
    mn_recipe_fail(f.r, "data[1].weight", "bad");
    cr_expect_str_eq(mn_errmsg(), "r.yaml:5:13: data[1].weight: bad");
    mn_recipe_fail(f.r, "data[0]", "bad");
    cr_expect_str_eq(mn_errmsg(), "r.yaml:3:5: data[0]: bad");
    mn_recipe_free(f.r);
}

// Every refusal: text, override, the exact beginning of the message, and a word that must follow.
static const struct {
    const char *text, *override, *start, *holds;
} refusals[] = {
    // unknown names
    {"task: a\noptim: {lrr: 1}\n", NULL, "r.yaml:2:9: unknown option 'optim.lrr'", "'optim.lr'"},
    {"task: a\noptim:\n  # hm\n  weigth_decay: 1\n", NULL, "r.yaml:4:3: unknown option", "'optim.weight_decay'"},
    {"task: a\nlr: 1\n", NULL, "r.yaml:2:1: unknown option 'lr'", "'optim.lr'"},
    {"tsak: a\n", NULL, "r.yaml:1:1: unknown option 'tsak'", "'task'"},
    {"task: a\noptm: {lr: 1}\n", NULL, "r.yaml:2:1: unknown option 'optm'", "'optim'"},
    {"task: a\nmodel: {embed: 1, x: {y: 1}}\n", NULL, "r.yaml:2:19: unknown option 'model.x'", "did you mean"},
    {"task: a\n\n\ndata: [{set: x, wieght: 2}]\n", NULL, "r.yaml:4:17: unknown option 'data[0].wieght'", "'weight'"},
    {"task: a\nmodel.embd: 1\n", NULL, "r.yaml:2:1: unknown option 'model.embd'", "'model.embed'"},
    {"task: a\n<<: {lr: 1}\n", NULL, "r.yaml:2:1: unknown option '<<'", ""},
    {"task: a\n", "optim.lrr=1", "command line: optim.lrr=1: unknown option 'optim.lrr'", "'optim.lr'"},
    {"task: a\n", "precison=fp32", "command line: precison=fp32: unknown option", "'precision'"},
    {"task: a\n\"\": 1\n", NULL, "r.yaml:2:1: unknown option ''", ""},
    // wrong types
    {"task: a\nmodel: {embed: 1e-4x}\n", NULL, "r.yaml:2:16: model.embed: expected an integer", "'1e-4x'"},
    {"task: a\nmodel:\n  embed: 64abc\n", NULL, "r.yaml:3:10: model.embed: expected an integer", "'64abc'"},
    {"task: a\nmodel: {embed: 010}\n", NULL, "r.yaml:2:16: model.embed: expected an integer", "'010'"},
    {"task: a\nmodel: {embed: 0x10}\n", NULL, "r.yaml:2:16: model.embed: expected", "'0x10'"},
    {"task: a\nmodel: {embed: +8}\n", NULL, "r.yaml:2:16: model.embed: expected", "'+8'"},
    {"task: a\nmodel: {embed: 1_000}\n", NULL, "r.yaml:2:16: model.embed: expected", ""},
    {"task: a\nmodel: {embed: 8.0}\n", NULL, "r.yaml:2:16: model.embed: expected", ""},
    {"task: a\nmodel: {embed: -}\n", NULL, "r.yaml:2:16: ", ""},
    {"task: a\nmodel: {embed: \"8\"}\n", NULL, "r.yaml:2:16: model.embed: expected", "quoted text '8'"},
    {"task: a\nmodel: {embed: [8]}\n", NULL, "r.yaml:2:16: model.embed: expected", "found a list"},
    {"task: a\nmodel: {embed: {a: 8}}\n", NULL, "r.yaml:2:16: model.embed: expected", "found a group"},
    {"task: a\nmodel: {embed: }\n", NULL, "r.yaml:2:16: model.embed: expected", "found nothing"},
    {"task: a\nmodel: {embed: ~}\n", NULL, "r.yaml:2:16: model.embed: expected", "found nothing"},
    {"task: a\noptim: {lr: 1e-4x}\n", NULL, "r.yaml:2:13: optim.lr: expected a number above 0 and at most 1",
     "'1e-4x'"},
    {"task: a\noptim: {lr: nan}\n", NULL, "r.yaml:2:13: optim.lr: expected a number", "'nan'"},
    {"task: a\noptim: {lr: .nan}\n", NULL, "r.yaml:2:13: optim.lr: expected", ""},
    {"task: a\noptim: {lr: inf}\n", NULL, "r.yaml:2:13: optim.lr: expected", ""},
    {"task: a\noptim: {lr: 01.5}\n", NULL, "r.yaml:2:13: optim.lr: expected", ""},
    {"task: a\noptim: {lr: 1.}\n", NULL, "r.yaml:2:13: optim.lr: expected", ""},
    {"task: a\noptim: {lr: 1e}\n", NULL, "r.yaml:2:13: optim.lr: expected", ""},
    {"task: a\noptim: {lr: 0x1p-3}\n", NULL, "r.yaml:2:13: optim.lr: expected", ""},
    {"task: a\noptim: {lr: 1 e-4}\n", NULL, "r.yaml:2:13: optim.lr: expected", "'1 e-4'"},
    {"task: a\noptim: {lr: '0.1'}\n", NULL, "r.yaml:2:13: optim.lr: expected", "quoted"},
    {"task: a\noptim: {timm: yes}\n", NULL, "r.yaml:2:15: optim.timm: expected true or false", "'yes'"},
    {"task: a\noptim: {timm: 1}\n", NULL, "r.yaml:2:15: optim.timm: expected true or false", ""},
    {"task: a\noptim: {timm: True}\n", NULL, "r.yaml:2:15: optim.timm: expected true or false", ""},
    {"task: a\nprecision: bf61\n", NULL, "r.yaml:2:12: precision: expected one of fp32, bf16", "'bf16'"},
    {"task: a\nprecision: 1\n", NULL, "r.yaml:2:12: precision: expected one of", ""},
    {"task: a\nmodel: {depths: 2}\n", NULL, "r.yaml:2:17: model.depths: expected a list of integers from 1 to 64",
     "'2'"},
    {"task: a\nmodel: {depths: [2, x]}\n", NULL, "r.yaml:2:21: model.depths[1]: expected", "'x'"},
    {"task: a\nmodel: {depths: [2, [2]]}\n", NULL, "r.yaml:2:21: model.depths[1]: expected", "a list"},
    {"task: a\nmodel:\n", "model.depths=2,2", "command line: model.depths=2,2: model.depths: expected a list", ""},
    {"task: a\ndata: affwild2\n", NULL, "r.yaml:2:7: data: expected a list of records {set, split, weight}", ""},
    {"task: a\ndata: [affwild2]\n", NULL, "r.yaml:2:8: data[0]: expected {set: ..., ...}", ""},
    {"task: a\ndata: [{split: val}]\n", NULL, "r.yaml:2:8: data[0].set is missing", ""},
    {"task: a\ndata: [{set: a}, {set: [b]}]\n", NULL, "r.yaml:2:24: data[1].set: expected a text", ""},
    {"task: a\noptim: 5\n", NULL, "r.yaml:2:8: optim is a group of options", "'optim.lr'"},
    {"task: a\noptim: [lr]\n", NULL, "r.yaml:2:8: optim is a group of options", ""},
    {"task: [a]\n", NULL, "r.yaml:1:7: task: expected a text, found a list", ""},
    {"task:\n", NULL, "r.yaml:1:6: task: expected a text, found nothing", ""},
    {"task: a\nrun: ../x\n", NULL, "r.yaml:2:6: run: expected a plain file name", ""},
    {"task: a\nrun: .x\n", NULL, "r.yaml:2:6: run: expected a plain file name", ""},
    {"task: a\n", "run=", "command line: run=: run: expected a plain file name", ""},
    {"task: a\n", "seed=", "command line: seed=: seed: expected an integer", ""},
    {"task: a\n", "seed= 1", "command line: seed= 1: seed: expected an integer", ""},
    {"task: a\npaths: {data: \"a\\nb\"}\n", NULL, "r.yaml:2:15: paths.data: expected a text", ""},
    {"task: a\npaths: {data: \"a\\0b\"}\n", NULL, "r.yaml:2:15: paths.data: expected a text", ""},
    {"task: a\npaths: {data: |\n  x\n  }\n", NULL, "r.yaml:2:15: ", ""},
    // out of range
    {"task: a\nmodel: {embed: 0}\n", NULL, "r.yaml:2:16: model.embed: 0 is out of range", "from 1 to 4096"},
    {"task: a\nmodel: {embed: 4097}\n", NULL, "r.yaml:2:16: model.embed: 4097 is out of range", ""},
    {"task: a\nmodel: {embed: -1}\n", NULL, "r.yaml:2:16: model.embed: -1 is out of range", ""},
    {"task: a\nseed: 9223372036854775808\n", NULL, "r.yaml:2:7: seed: 9223372036854775808 is out of range",
     "at least 0"},
    {"task: a\nseed: -1\n", NULL, "r.yaml:2:7: seed: -1 is out of range", ""},
    {"task: a\nmodel: {image: 99999999999999999999999}\n", NULL, "r.yaml:2:16: model.image: 99999999999999999999999 is",
     ""},
    {"task: a\noptim: {lr: 0}\n", NULL, "r.yaml:2:13: optim.lr: 0 is out of range", "above 0"},
    {"task: a\noptim: {lr: -0.0}\n", NULL, "r.yaml:2:13: optim.lr: -0.0 is out of range", ""},
    {"task: a\noptim: {lr: 1.0000001}\n", NULL, "r.yaml:2:13: optim.lr: 1.0000001 is out of range", ""},
    {"task: a\noptim: {lr: 1e-400}\n", NULL, "r.yaml:2:13: optim.lr: 1e-400 is out of range", ""},
    {"task: a\noptim: {weight_decay: 1e-400}\n", NULL, "r.yaml:2:23: optim.weight_decay: 1e-400 is out of range", ""},
    {"task: a\noptim: {weight_decay: 1e400}\n", NULL, "r.yaml:2:23: optim.weight_decay: 1e400 is out of range", ""},
    {"task: a\nmodel: {drop: 1}\n", NULL, "r.yaml:2:15: model.drop: 1 is out of range", "below 1"},
    {"task: a\nmodel: {drop: 1e-60}\n", NULL, "r.yaml:2:15: model.drop: 1e-60 is out of range", ""},
    {"task: a\nmodel: {depths: [2, 65]}\n", NULL, "r.yaml:2:21: model.depths[1]: 65 is out of range", ""},
    {"task: a\ndata: [{set: a, weight: -1}]\n", NULL, "r.yaml:2:25: data[0].weight: -1 is out of range", ""},
    {"task: a\n", "optim.lr=7", "command line: optim.lr=7: optim.lr: 7 is out of range", ""},
    // twice, missing
    {"task: a\ntask: b\n", NULL, "r.yaml:2:1: task is given twice, first at line 1", ""},
    {"task: a\noptim: {lr: 1}\noptim: {timm: true}\n", NULL, "r.yaml:3:1: optim is given twice, first at line 2", ""},
    {"task: a\noptim: {lr: 1, lr: 1}\n", NULL, "r.yaml:2:16: optim.lr is given twice", ""},
    {"task: a\noptim: {lr: 1}\noptim.lr: 1\n", NULL, "r.yaml:3:1: optim.lr is given twice, first at line 2", ""},
    {"task: a\ndata: [{set: a, set: b}]\n", NULL, "r.yaml:2:17: data[0].set is given twice", ""},
    {"seed: 1\n", NULL, "r.yaml: task is missing: what to train", ""},
    // the form
    {"", NULL, "r.yaml:1:1: the recipe is empty", ""},
    {"# nothing\n\n", NULL, "r.yaml:1:1: the recipe is empty", ""},
    {"- a\n", NULL, "r.yaml:1:1: expected 'key: value' lines", ""},
    {"task\n", NULL, "r.yaml:1:1: expected 'key: value' lines", ""},
    {"task: a\noptim: {lr: 1\n", NULL, "r.yaml:3:1: ", "'}'"},
    {"task: a\n\tseed: 1\n", NULL, "r.yaml:2:1: ", ""},
    {"task: a\n  seed: 1\n", NULL, "r.yaml:2:7: ", "mapping"},
    {"task: &x a\nrun: b\n", NULL, "r.yaml:1:7: anchors", ""},
    {"task: a\nrun: *x\n", NULL, "r.yaml:2:6: aliases", ""},
    {"task: a\nseed: !!int 5\n", NULL, "r.yaml:2:7: tags", ""},
    {"task: a\ndata: !x [a]\n", NULL, "r.yaml:2:7: tags", ""},
    {"task: a\n---\ntask: b\n", NULL, "r.yaml:2:1: a second document", ""},
    {"task: a\n...\n---\n", NULL, "r.yaml:3:1: a second document", ""},
    {"? [a, b]\n: 1\n", NULL, "r.yaml:1:3: expected a name", ""},
    {"task: \xff\n", NULL, "r.yaml:1:7: byte 0xff is not UTF-8", ""},
    {"# \xc3\xa9\xc3\xa9\ntask: \xc3\xa9\xed\xa0\x80\n", NULL, "r.yaml:2:8: byte 0xed is not UTF-8", ""},
    {"task: \xc0\x80\n", NULL, "r.yaml:1:7: byte 0xc0", ""},
    {"task: a\x01\n", NULL, "r.yaml:1:8: byte 0x01", ""},
    {"task: \xe4\xb8\n", NULL, "r.yaml:1:7: byte 0xe4", ""},
    {"# \xc3\xa9\ntask: {\xc3\xa9: 1}\n", NULL, "r.yaml:2:7: task: expected a text", ""},
    {"task: a\n", "seed", "command line: seed: expected key=value", ""},
    {"task: a\n", "=1", "command line: =1: expected key=value", ""},
    {"task: a\n", "run=\xff", "command line: run=\xff: byte 0xff", ""},
    {"task: a\n", "model.depths=[1", "command line: model.depths=[1: ", "']'"},
    {"task: a\n", "model.depths=[*a]", "command line: model.depths=[*a]: aliases", ""},
    {"task: a\n", "model=5", "command line: model=5: model is a group", ""},
};

Test(schema, refuses_with_place_and_reason)
{
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        fixture f;
        mn_err err = read_one(&f, refusals[i].text, refusals[i].override);
        cr_expect_eq(err, MN_ECONFIG, "%s | %s: accepted", refusals[i].text, refusals[i].override);
        cr_expect(!strncmp(mn_errmsg(), refusals[i].start, strlen(refusals[i].start)) &&
                      strstr(mn_errmsg(), refusals[i].holds),
                  "row %zu: %s", i, mn_errmsg());
        mn_recipe_free(f.r);
    }
}

// Nothing is written to the structs before all is well.
Test(schema, refusal_leaves_structs_alone)
{
    fixture f;
    cr_assert_eq(read_one(&f, "task: a\nmodel: {embed: 7, image: x}\n", NULL), MN_ECONFIG);
    cr_expect_eq(f.model.embed, 0);
    cr_expect_null(f.common.task);
    mn_recipe_free(f.r);
}

static char *repeated(const char *head, const char *piece, int64_t n, const char *tail)
{
    size_t h = strlen(head), p = strlen(piece);
    char *text = malloc(h + p * (size_t)n + strlen(tail) + 1);
    memcpy(text, head, h);
    for (int64_t i = 0; i < n; i++)
        memcpy(text + h + p * (size_t)i, piece, p);
    memcpy(text + h + p * (size_t)n, tail, strlen(tail) + 1);
    return text;
}

Test(schema, bombs)
{
    static const struct {
        const char *head, *piece, *tail, *holds;
        int64_t n;
    } rows[] = {
        {"data: ", "[", "", "r.yaml:1:38: nested deeper than 32 levels", 1000},
        {"task: ", "x", "\n", "larger than", 1 << 20},
        {"data: [", "1,", "1]", "more than 100000 items", 100001},
        {"data: [", "{set: a},", "]", "more than 4096", 4097},
        {"", "- ", "a", "nested deeper", 5000},
        {"", "a: {", "", "nested deeper", 5000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = repeated(rows[i].head, rows[i].piece, rows[i].n, rows[i].tail);
        fixture f;
        cr_expect_eq(read_one(&f, text, NULL), MN_ECONFIG);
        cr_expect(strstr(mn_errmsg(), rows[i].holds), "row %zu: %s", i, mn_errmsg());
        mn_recipe_free(f.r);
        free(text);
    }
    fixture f;
    cr_expect_eq(read_n(&f, "task: a\0b\n", 10, NULL, 0), MN_ECONFIG);
    cr_expect_str_eq(mn_errmsg(), "r.yaml:1:8: byte 0x00 is not UTF-8 text; save the file as plain UTF-8");
}

Test(schema, byte_order_mark_and_crlf)
{
    fixture f;
    cr_expect_eq(read_one(&f,
                          "\xef\xbb\xbf"
                          "task: a\r\nseed: 3\r\n",
                          NULL),
                 MN_OK, "%s", mn_errmsg());
    cr_expect_eq(f.common.seed, 3);
    mn_recipe_free(f.r);
    cr_expect_eq(read_one(&f,
                          "\xef\xbb\xbf"
                          "task: a\r\nsed: 3\r\n",
                          NULL),
                 MN_ECONFIG);
    cr_expect_eq(strncmp(mn_errmsg(), "r.yaml:2:1: unknown option 'sed'; did you mean 'seed'?", 40), 0);
    mn_recipe_free(f.r);
}

Test(schema, resolved_text_is_complete_and_reads_back)
{
    fixture f, g;
    static const char *const overrides[] = {"optim.lr=0.1000000000000000055511151231257827",
                                            "model.drop=0.3333333333333333", "optim.weight_decay=5e-324",
                                            "paths.data=C:\\\"x\" \xc3\xa9 # y"};
    const char *text = "task: a\ndata: [{set: x, weight: 0.1}, {set: 'null'}]\ndata.invalid: column\n";
    cr_assert_eq(read_n(&f, text, strlen(text), overrides, 4), MN_OK, "%s", mn_errmsg());
    char *first = mn_recipe_text(f.r);
    cr_expect_str_eq(
        first, "task: \"a\"\n"
               "run: \"unnamed\"\n"
               "seed: 0\n"
               "paths:\n"
               "  data: \"C:\\\\\\\"x\\\" \xc3\xa9 # y\"\n"
               "precision: bf16\n"
               "data: [{set: \"x\", split: \"train\", weight: 0.1}, {set: \"null\", split: \"train\", weight: 1}]\n"
               "data.invalid: column\n"
               "model:\n"
               "  embed: 96\n"
               "  image: 192\n"
               "  depths: [2, 2, 6, 2]\n"
               "  drop: 0.3333333333333333\n"
               "augment:\n"
               "  crop:\n"
               "    scale: [0.67, 1]\n"
               "eval:\n"
               "  metrics: []\n"
               "optim:\n"
               "  lr: 0.1\n"
               "  weight_decay: 5e-324\n"
               "  timm: false\n");
    cr_assert_eq(read_one(&g, first, NULL), MN_OK, "%s", mn_errmsg());
    cr_expect(g.model.lr == f.model.lr && g.model.drop == f.model.drop && g.model.wd == f.model.wd && g.model.wd > 0);
    cr_expect_str_eq(g.common.data_dir, f.common.data_dir);
    char *second = mn_recipe_text(g.r);
    cr_expect_str_eq(first, second);
    cr_expect_eq(mn_recipe_digest(f.r, MN_FREE), mn_recipe_digest(g.r, MN_FREE));
    free(first);
    free(second);
    mn_recipe_free(f.r);
    mn_recipe_free(g.r);
}

Test(schema, digest_is_of_the_fixed_options)
{
    static const struct {
        const char *override;
        int same;
    } rows[] = {
        {"paths.data=/x", 1}, {"optim.timm=true", 1}, {"seed=1", 0}, {"data=[{set: a}]", 0}, {"optim.lr=2e-4", 0}};
    fixture f;
    cr_assert_eq(read_one(&f, "task: a\n", NULL), MN_OK);
    uint64_t digest = mn_recipe_digest(f.r, MN_FREE);
    mn_recipe_free(f.r);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_assert_eq(read_one(&f, "task: a\n", rows[i].override), MN_OK);
        cr_expect_eq(mn_recipe_digest(f.r, MN_FREE) == digest, rows[i].same, "%s", rows[i].override);
        mn_recipe_free(f.r);
    }
}

// Checkpoints hold digests: they must not change with how numbers are shown.
Test(schema, digest_is_not_of_what_is_shown)
{
    static const mn_option rows[] = {MN_OPT_FLOAT(part_conf, weight, "weight", "1", 0, 1e6, 0, ""), {0}};
    static const struct {
        const char *recipe, *shown, *hashed;
    } cases[] = {{"weight: 3e2\n", "weight: 300\n", "weight: 3e+02\n"},
                 {"weight: 10.0\n", "weight: 10\n", "weight: 1e+01\n"},
                 {"weight: 250\n", "weight: 250\n", "weight: 2.5e+02\n"},
                 {"weight: .05\n", "weight: 0.05\n", "weight: 0.05\n"},
                 {"weight: 1000000\n", "weight: 1000000\n", "weight: 1e+06\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        mn_recipe *r;
        const char *text = cases[i].recipe, *hashed = cases[i].hashed;
        cr_assert_eq(mn_recipe_parse(&r, "r.yaml", text, strlen(text), NULL, 0), MN_OK, "%s", mn_errmsg());
        mn_recipe_table(r, rows, NULL);
        cr_assert_eq(mn_recipe_resolve(r), MN_OK, "%s", mn_errmsg());
        char *shown = mn_recipe_text(r);
        cr_expect_str_eq(shown, cases[i].shown);
        cr_expect_eq(mn_recipe_digest(r, 0), XXH3_64bits(hashed, strlen(hashed)), "%s", shown);
        free(shown);
        mn_recipe_free(r);
    }
}

Test(schema, resume_names_what_changed)
{
    fixture f;
    char path[] = "schema_test_XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    const char *saved = "task: a\nseed: 3\noptim: {lr: 0.5, timm: true}\n";
    cr_assert_eq(write(fd, saved, strlen(saved)), (ssize_t)strlen(saved));
    close(fd);
    cr_assert_eq(read_one(&f, "task: a\nseed: 3\noptim: {lr: 5e-1}\n", "paths.data=/elsewhere"), MN_OK);
    cr_expect_eq(mn_recipe_resume(f.r, path), MN_OK, "%s", mn_errmsg());
    mn_recipe_free(f.r);
    cr_assert_eq(read_one(&f, "task: a\nseed: 4\n", "model.depths=[1]"), MN_OK);
    cr_expect_eq(mn_recipe_resume(f.r, path), MN_ECONFIG);
    cr_expect(strstr(mn_errmsg(), "may not change seed (3 there, 4 here), model.depths ([2, 2, 6, 2] there, [1] here), "
                                  "optim.lr (0.5 there, 0.0001 here); "),
              "%s", mn_errmsg());
    cr_expect_eq(mn_recipe_resume(f.r, "does/not/exist"), MN_ENOINPUT);
    mn_recipe_free(f.r);
    unlink(path);
}

Test(schema, opens_files)
{
    mn_recipe *r;
    cr_expect_eq(mn_recipe_open(&r, "no/such.yaml", NULL, 0), MN_ENOINPUT);
    cr_expect_eq(mn_recipe_open(&r, "/", NULL, 0), MN_ENOINPUT);
    cr_expect_eq(mn_recipe_open(&r, "/dev/zero", NULL, 0), MN_ENOINPUT);
    char path[] = "schema_fifo_XXXXXX";
    close(mkstemp(path));
    unlink(path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_eq(mn_recipe_open(&r, path, NULL, 0), MN_ENOINPUT); // and does not wait for a writer
    unlink(path);
}

Test(schema, words_of_help)
{
    static const struct {
        const mn_option *option;
        const char *text;
    } rows[] = {
        {&common_options[2], "an integer of at least 0"},
        {&common_options[4], "one of fp32, bf16"},
        {&model_options[0], "an integer from 1 to 4096"},
        {&model_options[5], "a number above 0 and at most 1"},
        {&model_options[6], "a number of at least 0"},
        {&model_options[7], "a number of at least 0 and below 1"},
        {&model_options[8], "true or false"},
        {&common_options[5], "a list of records {set, split, weight}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = mn_option_type_text(rows[i].option);
        cr_expect_str_eq(text, rows[i].text);
        free(text);
    }
    static const char *const verbs[] = {"train", "eval", "extract", "predict"};
    cr_expect_str_eq(mn_nearest("tarin", verbs, 4), "train");
    cr_expect_str_eq(mn_nearest("extrcat", verbs, 4), "extract");
    cr_expect_null(mn_nearest("x", verbs, 0));
}
