#include "dist/proceed.h"

#include "dist/signal.h"
#include "nn/base/fault.h"

static const int64_t second = 1000000000;

static int is_asked_to_stop(void)
{
    (void)mn_fault("proceed"); // where a test sends its signal
    return dist_signal_pending() != 0;
}

static mn_err stopped(void)
{
    return mn_fail(MN_EINTERRUPTED,
                   "stopped by a signal; the same command goes on, or starts over where nothing is kept");
}

mn_err dist_proceed(dist_comm *c, mn_err mine)
{
    dist_alive(c);
    if (is_asked_to_stop() && mine == MN_OK) mine = stopped();
    return dist_agree(c, mine);
}

void dist_share_begin(dist_share *s, dist_comm *c)
{
    *s = (dist_share){.comm = c, .met_ns = dist_now_ns()};
}

// Every rank joins every meeting, until one finds that nobody works any more.
static mn_err meet(dist_share *s, int works, int stop, int64_t *working)
{
    int64_t n[] = {works, stop};
    mn_err err = dist_sum_int(s->comm, n, 2);
    if (err == MN_OK && n[1]) err = stopped();
    s->over = err != MN_OK;
    s->met_ns = dist_now_ns();
    *working = n[0];
    dist_alive(s->comm);
    return err;
}

mn_err dist_share_proceed(dist_share *s)
{
    int64_t working;
    int stop = is_asked_to_stop();
    dist_alive(s->comm);
    if (!stop && dist_now_ns() - s->met_ns < second) return MN_OK;
    return meet(s, 1, stop, &working);
}

mn_err dist_share_end(dist_share *s, mn_err mine)
{
    int64_t working = 1;
    if (s->over) return mine;
    if (mine != MN_OK) return dist_agree(s->comm, mine); // the others learn of it where they meet
    while (working)
        MN_TRY(meet(s, 0, is_asked_to_stop(), &working));
    return MN_OK;
}
