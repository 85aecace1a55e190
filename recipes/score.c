#include "recipes/score.h"

#include "dist/metrics.h"
#include "nn/base/log.h"
#include "nn/base/mem.h"

#include <stdio.h>
#include <stdlib.h>

struct mien_score {
    dist_metrics *metrics;
    dist_metric kind;
    double loss, rows; // of the global batches: the same on every rank
};

mn_err mien_score_begin(void *job)
{
    mien_job *j = job;
    mien_score_close(j->score);
    j->score = mn_calloc(1, sizeof *j->score);
    j->score->kind = (dist_metric)j->task->target(j); // DATA_EXPR, DATA_AU, DATA_VA: the same order
    j->score->metrics = dist_metrics_new(j->score->kind, j->score_videos);
    return MN_OK;
}

void mien_score_add(mien_score *s, int64_t video, const float *prediction, const float *target, const float *weight,
                    int by_column)
{
    dist_metrics_add(s->metrics, video, prediction, target, weight, by_column);
}

void mien_score_loss(mien_score *s, const nn_graph *g, const data_batch *b)
{
    const double *loss = nn_graph_buffer(g, "loss", NULL, NULL);
    if (!loss) return;
    s->loss += *loss * (double)b->global_rows;
    s->rows += (double)b->global_rows;
}

void mien_score_close(mien_score *s)
{
    if (!s) return;
    dist_metrics_free(s->metrics);
    free(s);
}

// --- as members of an event ---

typedef struct text {
    char *at;
    size_t left;
} text;

static void put(text *t, const char *format, ...) MN_PRINTF(2, 3);
static void put(text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->at, t->left, format, args);
    va_end(args);
    mn_assert(n >= 0 && (size_t)n < t->left);
    t->at += n;
    t->left -= (size_t)n;
}

static void put_list(text *t, const double *v, int n)
{
    for (int i = 0; i < n; i++)
        put(t, "%s%.6f", i ? ", " : "[", v[i]);
    put(t, "]");
}

static void put_f1(text *t, const char *name, const dist_metrics_result *r)
{
    put(t, "\"%s_f1\": %.6f, \"%s_f1_ci\": [%.6f, %.6f], \"%s_f1_per_class\": ", name, r->mean, name, r->low, r->high,
        name);
    put_list(t, r->value, r->classes);
    put(t, ", \"p_%s\": %.6f, \"%s_undefined\": %d, \"chance\": %.6f, \"frames\": %lld", name, r->mean, name,
        r->undefined, r->chance, (long long)r->frames);
}

static void put_confusion(text *t, const dist_metrics *m)
{
    put(t, ", \"confusion\": [");
    for (int i = 0; i < 8; i++) {
        put(t, "%s", i ? ", " : "");
        for (int k = 0; k < 8; k++)
            put(t, "%s%lld", k ? ", " : "[", (long long)dist_metrics_confusion(m, i, k));
        put(t, "]");
    }
    put(t, "]");
}

mn_err mien_score_finish(void *job, dist_comm *c, dist_score *out)
{
    mien_job *j = job;
    dist_metrics_result r;
    text t = {out->json, sizeof out->json};
    MN_TRY(dist_metrics_merge(j->score->metrics, c));
    dist_metrics_compute(j->score->metrics, (dist_zero_division)j->common.zero_division, j->common.seed, &r);
    if (j->score->kind == DIST_METRIC_VA) {
        put(&t,
            "\"ccc_valence\": %.6f, \"ccc_arousal\": %.6f, \"ccc_mean\": %.6f, \"ccc_mean_ci\": [%.6f, %.6f], "
            "\"p_va\": %.6f, \"frames\": %lld",
            r.value[0], r.value[1], r.mean, r.low, r.high, r.mean, (long long)r.frames);
    } else if (j->score->kind == DIST_METRIC_AU) {
        put_f1(&t, "au", &r);
    } else {
        put_f1(&t, "expr", &r);
        put_confusion(&t, j->score->metrics);
    }
    if (j->score->rows > 0) out->loss = j->score->loss / j->score->rows;
    static const char *const name[] = {
        [DIST_METRIC_EXPR] = "expr_f1", [DIST_METRIC_AU] = "au_f1", [DIST_METRIC_VA] = "ccc_mean"};
    int by_loss = j->common.select == MIEN_SELECT_LOSS;
    out->select = by_loss ? -out->loss : r.mean;
    out->name = by_loss ? "loss" : name[j->score->kind];
    if (j->common.zero_division == DIST_ZERO_SKLEARN13 && (!c || dist_rank(c) == 0))
        mn_warn("metric.zero_division sklearn13 counts a class that is always wrong as 1: these scores are not to be "
                "compared with anything but scikit-learn 1.3's");
    return MN_OK;
}
