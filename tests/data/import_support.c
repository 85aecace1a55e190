#include "import_support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

enum { MOST = 8 };

typedef struct team {
    pthread_barrier_t barrier;
    int64_t sum[4096];
    mn_err err[MOST];
    int world;
    data_import_cfg cfg;
} team;
typedef struct member {
    team *team;
    int rank;
    mn_err result;
    int64_t records;
} member;

static mn_err team_sum(void *ctx, int64_t *v, int64_t n)
{
    member *m = ctx;
    team *t = m->team;
    for (int k = 0; k < t->world; k++) {
        if (k == m->rank)
            for (int64_t i = 0; i < n; i++)
                t->sum[i] = (k ? t->sum[i] : 0) + v[i];
        pthread_barrier_wait(&t->barrier);
    }
    memcpy(v, t->sum, (size_t)n * sizeof(*v));
    pthread_barrier_wait(&t->barrier);
    return MN_OK;
}

static mn_err team_agree(void *ctx, mn_err mine)
{
    member *m = ctx;
    mn_err all = MN_OK;
    m->team->err[m->rank] = mine;
    pthread_barrier_wait(&m->team->barrier);
    for (int k = m->team->world - 1; k >= 0; k--)
        if (m->team->err[k] != MN_OK) all = m->team->err[k];
    pthread_barrier_wait(&m->team->barrier);
    return all;
}

static void *run_member(void *p)
{
    member *m = p;
    data_import_cfg cfg = m->team->cfg;
    data_import_report r;
    cfg.ranks = (data_ranks){.rank = m->rank, .world = m->team->world, .ctx = m, .sum = team_sum, .agree = team_agree};
    m->result = data_import(&cfg, &r);
    m->records = m->result == MN_OK ? json_integer_value(json_object_get(r.json, "records")) : -1;
    data_import_report_free(&r);
    return NULL;
}

void support_import_ranks(const data_import_cfg *cfg, int world, int64_t records)
{
    static team t;
    member m[MOST];
    pthread_t thread[MOST];
    cr_assert(world <= MOST);
    t.cfg = *cfg;
    t.world = world;
    pthread_barrier_init(&t.barrier, NULL, (unsigned)world);
    for (int k = 0; k < world; k++) {
        m[k] = (member){.team = &t, .rank = k};
        cr_assert(pthread_create(&thread[k], NULL, run_member, &m[k]) == 0);
    }
    for (int k = 0; k < world; k++) {
        pthread_join(thread[k], NULL);
        cr_assert(m[k].result == MN_OK && m[k].records == records, "rank %d of %d", k, world);
    }
    pthread_barrier_destroy(&t.barrier);
}
