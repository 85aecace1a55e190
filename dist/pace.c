#include "dist/pace.h"

#include "dist/backend.h"
#include "nn/base/log.h"

#include <string.h>

// Less is what an uneven machine costs; a rank that waits half as long as the others is late for a reason.
static const double least_share = .2, apart = .5;

typedef struct share { // of the time since the last comparison
    double waited;
    char host[64];
} share;

static void judge(dist_pace *p, const dist_comm *c)
{
    double least = 2, total = 0;
    int slow = -1;
    for (int r = 0; r < c->at.world; r++) {
        double waited = ((const share *)dist__from(c, r))->waited;
        total += waited;
        if (waited >= least) continue;
        least = waited;
        slow = r;
    }
    p->share = (total - least) / (c->at.world - 1);
    p->slow = p->share >= least_share && least <= apart * p->share ? slow : -1;
}

mn_err dist_pace_step(dist_pace *p, dist_comm *c)
{
    int64_t now = dist_now_ns();
    p->slow = -1;
    if (c->at.world == 1) return MN_OK;
    if (p->steps++ % DIST_PACE_STEPS == 0 && p->steps > 1) {
        share mine = {.waited = (double)(c->waited_ns - p->waited_ns) / (double)(now - p->began_ns)};
        memcpy(mine.host, c->at.host, sizeof mine.host);
        MN_TRY(dist__round(c, DIST_OP_GATHER, (int64_t)sizeof mine, 10, &mine, sizeof mine));
        judge(p, c);
        if (p->slow >= 0 && p->told != p->slow + 1 && c->at.rank == 0)
            mn_warn("rank %d (host %s) is slow: the others spend %.0f %% of their time waiting for it", p->slow,
                    ((const share *)dist__from(c, p->slow))->host, 100 * p->share);
        if (p->slow >= 0) p->told = p->slow + 1;
    }
    if (p->steps % DIST_PACE_STEPS != 1) return MN_OK;
    p->began_ns = dist_now_ns();
    p->waited_ns = c->waited_ns;
    return MN_OK;
}
