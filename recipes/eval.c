// mien eval RECIPE.yaml [key=value ...] --weights RUN|CKPT_DIR|FILE.safetensors [--json]
#include "recipes/verbs.h"

#include "data/label.h"
#include "dist/proceed.h"
#include "dist/run.h"
#include "dist/watchdog.h"
#include "nn/base/mem.h"
#include "recipes/arguments.h"
#include "recipes/inference.h"
#include "recipes/sources.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct argp_option options[] = {
    {"weights", 'w', "RUN|DIR|FILE", 0,
     "Weights: a run (its best checkpoint), a checkpoint folder, or a .safetensors file", 0},
    {"last", 'l', 0, 0, "Of a run, the newest checkpoint instead of the best", 0},
    {"json", 'j', 0, 0, "One JSON object on stdout", 0},
    {0},
};

typedef struct eval_arguments {
    mien_arguments recipe; // first: shared parser
    const char *weights;
    int last, json;
} eval_arguments;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    eval_arguments *a = state->input;
    switch (key) {
    case 'w':
        a->weights = arg;
        return 0;
    case 'l':
        a->last = 1;
        return 0;
    case 'j':
        a->json = 1;
        return 0;
    default:
        return mien_arguments_parse(key, arg, state);
    }
}

static const struct argp parser = {
    .options = options,
    .parser = parse,
    .args_doc = "RECIPE.yaml [key=value ...]",
    .doc =
        "Scores weights on eval.split with the challenge's metrics: every labelled frame once, the same numbers on any "
        "number of ranks, intervals by resampling videos.\v"
        "p_expr, p_au and p_va are the challenge's scores (macro F1, macro F1, mean CCC); _ci is the interval of 95 % "
        "of "
        "1,000 resamples of the videos; chance: what a constant answer scores (expressions: the commonest, action "
        "units: all active); undefined: classes neither labelled nor predicted.\n\n"
        "Example:\n  mien eval recipes/affwild2/expr.yaml --weights affwild2-expr --json"};

// The name of class i of n: expressions and action units are told apart by how many there are.
static const char *class_name(size_t i, size_t n)
{
    return n == DATA_EXPRESSIONS ? data_expression[i] : n == DATA_AUS ? data_au[i] : "";
}

static void print_confusion(const char *name, const json_t *rows)
{
    size_t i, k, n = json_array_size(rows);
    json_t *row, *v;
    printf("%s: a row for each class, a column for what it was called\n  %10s", name, "");
    for (i = 0; i < n; i++)
        printf(" %9s", class_name(i, n));
    printf("\n");
    json_array_foreach(rows, i, row)
    {
        printf("  %-10s", class_name(i, n));
        json_array_foreach(row, k, v) printf(" %9lld", (long long)json_integer_value(v));
        printf("\n");
    }
}

static void print_member(const char *name, const json_t *v)
{
    size_t i, n = json_array_size(v);
    json_t *x;
    if (json_is_array(json_array_get(v, 0)))
        print_confusion(name, v);
    else if (n == 2) // an interval
        printf("%-18s %.4f to %.4f\n", name, json_number_value(json_array_get(v, 0)),
               json_number_value(json_array_get(v, 1)));
    else if (json_is_array(v)) {
        printf("%s\n", name);
        json_array_foreach(v, i, x) printf("  %-16s %.4f\n", class_name(i, n), json_number_value(x));
    } else if (json_is_integer(v))
        printf("%-18s %lld\n", name, (long long)json_integer_value(v));
    else if (json_is_real(v))
        printf("%-18s %.4f\n", name, json_real_value(v));
    else
        printf("%-18s %s\n", name, json_string_value(v));
}

// The members of the JSON object are the one list of what a score has; without --json they are a table.
static void print_score(const eval_arguments *a, const mien_inference *m, const char *split, const dist_score *s)
{
    const char *name;
    json_t *v;
    json_t *path = json_string(m->from.path); // NULL: not UTF-8
    char *quoted = json_dumps(path, JSON_ENCODE_ANY);
    char number[DIST_JSON_NUMBER],
        *loss = isnan(s->loss) ? mn_strdup("") : mn_sprintf("\"loss\": %s, ", dist_json(s->loss, number));
    char *text = mn_sprintf("{\"weights\": %s, \"step\": %lld, \"split\": \"%s\", %s%s}", quoted ? quoted : "\"\"",
                            (long long)m->from.step, split, loss, s->json);
    json_t *score = a->json ? NULL : json_loads(text, 0, NULL);
    if (!score) puts(text);
    json_object_foreach(score, name, v) print_member(name, v);
    json_decref(score);
    json_decref(path);
    free(quoted);
    free(loss);
    free(text);
}

static mn_err eval(mien_job *j, const void *arguments)
{
    const eval_arguments *a = arguments;
    if (!j->task->score_begin) return mn_fail(MN_EUSAGE, "task %s has no score", j->task->name);
    const mien_common *c = &j->common;
    data_set *set = NULL;
    mien_inference *m = NULL;
    dist_evaluation evaluation = {.comm = j->comm, .batch = c->eval_batch, .threads = (int)c->loader_threads};
    dist_score *score = mn_calloc(1, sizeof *score);
    mn_err err;
    mn_err named = *c->eval_split ? MN_OK : mn_recipe_fail(j->recipe, "eval.split", "is empty: nothing to score");
    MN_TRY_OUT(err, dist_agree(j->comm, named));
    MN_TRY_OUT(err, dist_proceed(j->comm, j->task->open(j, MIEN_USE_SCORE, c->eval_split, &set)));
    j->score_set = set;
    int64_t rows = data_loader_plan_rows(c->eval_batch, dist_world(j->comm), 0);
    MN_TRY_OUT(err,
               dist_agree(j->comm, mien_inference_open(&m, j, set, rows, a->weights, a->last ? MIEN_LAST : MIEN_BEST)));
    MN_TRY_OUT(err, dist_agree(j->comm, mien_sources_check(j, set, m->from.path)));
    dist_task task = mien_dist_task(j, NULL, set);
    evaluation.task = &task;
    evaluation.graph = m->graph;
    evaluation.set = set;
    dist_watchdog_phase(dist_watchdog_of(j->comm), DIST_PHASE_EVAL, 0);
    MN_TRY_OUT(err, dist_evaluate(&evaluation, score));
    if (dist_rank(j->comm) == 0) print_score(a, m, c->eval_split, score);
out:
    dist_evaluation_close(&evaluation);
    mien_inference_close(m);
    data_set_close(set);
    free(score);
    return err;
}

mn_err mien_eval(int argc, char **argv)
{
    eval_arguments a = {0};
    MN_TRY(mien_arguments_read(&parser, argc, argv, &a.recipe));
    if (a.recipe.help_keys) return mien_print_keys(a.recipe.help_task);
    if (!a.weights) return mn_fail(MN_EUSAGE, "--weights is missing; see mien eval --help");
    return mien_with_job(&a.recipe, eval);
}
