// What happens before the first step: who started us, do all run the same, which cores, which signals.
#include "dist/cores.h"
#include "dist/handshake.h"
#include "dist/launch.h"
#include "dist/proceed.h"
#include "dist/signal.h"

#include "nn/base/log.h"

#include <criterion/criterion.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static dist_comm *open_comm(void)
{
    dist_comm *c;
    cr_assert_eq(dist_open(&c), MN_OK, "%s", mn_errmsg());
    return c;
}

static void clear_launcher(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "PMI_SIZE",  "PMI_RANK",
                                        "SLURM_STEP_NUM_TASKS", "SLURM_PROCID",         "PMIX_RANK", "SLURM_NTASKS"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
}

Test(launch, reads_the_environment)
{
    static const struct {
        const char *set[6];
        int tasks, task, use_mpi;
        mn_err err;
    } rows[] = {
        {{NULL}, 1, 0, 0, MN_OK},
        {{"OMPI_COMM_WORLD_SIZE=4", "OMPI_COMM_WORLD_RANK=2"}, 4, 2, 1, MN_OK},
        {{"OMPI_COMM_WORLD_SIZE=1", "OMPI_COMM_WORLD_RANK=0", "PMIX_RANK=0"}, 1, 0, 0, MN_OK},
        {{"SLURM_STEP_NUM_TASKS=3", "SLURM_PROCID=1", "PMIX_RANK=1"}, 3, 1, 1, MN_OK},
        {{"SLURM_STEP_NUM_TASKS=1", "SLURM_PROCID=0"}, 1, 0, 0, MN_OK},
        {{"SLURM_NTASKS=8", "SLURM_PROCID=0"}, 1, 0, 0, MN_OK}, // a batch script's own process is not a task of a step
        {{"SLURM_STEP_NUM_TASKS=3", "SLURM_PROCID=0"}, 3, 0, 0, MN_EDEVICE},
        {{"SLURM_STEP_NUM_TASKS=3", "SLURM_PROCID=2"}, 3, 2, 0, MN_EDEVICE},
        {{"SLURM_STEP_NUM_TASKS=3", "SLURM_PROCID=2", "OMPI_COMM_WORLD_SIZE=2", "OMPI_COMM_WORLD_RANK=1"},
         2,
         1,
         1,
         MN_OK},
        {{"PMIX_RANK=0"}, 1, 0, 1, MN_OK},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        clear_launcher();
        for (int k = 0; rows[i].set[k]; k++) {
            char text[64];
            snprintf(text, sizeof text, "%s", rows[i].set[k]);
            char *value = strchr(text, '=');
            *value++ = 0;
            setenv(text, value, 1);
        }
        dist_launch l;
        cr_assert_eq(dist_launch_detect(&l), rows[i].err, "row %zu", i);
        cr_assert_eq(l.tasks, rows[i].tasks, "row %zu", i);
        cr_assert_eq(l.task, rows[i].task, "row %zu", i);
        if (rows[i].err == MN_OK)
            cr_assert_eq(l.use_mpi, rows[i].use_mpi, "row %zu", i);
        else
            cr_assert_eq(mn_errmsg()[0] != 0, l.task == 0, "one task speaks, row %zu", i);
    }
}

static void check_handshake_agrees(dist_comm *c)
{
    dist_fact f[3] = {dist_fact_text("recipe", "r"), dist_fact_hex("plan", 0x1234), {"", ""}};
    char text[400];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = 0;
    f[2] = dist_fact_text("libraries", text);
    cr_assert_eq(strlen(f[2].value), 16, "too long: its digest");
    cr_assert_str_eq(f[1].value, "0000000000001234");
    cr_assert_eq(dist_handshake(c, f, 3), MN_OK, "%s", mn_errmsg());
}

// The odd one out is named on every rank, be it the last or the first, and so is the field.
static void check_handshake_names(dist_comm *c)
{
    int world = dist_world(c);
    for (int odd = 0; odd < world && world > 2; odd += world - 1) {
        dist_fact f[2] = {dist_fact_text("dtype", "bf16"), dist_fact_text("data", dist_rank(c) == odd ? "old" : "new")};
        char wanted[64];
        snprintf(wanted, sizeof wanted, "'data': rank %d: 'old', rank %d and others: 'new'", odd, odd ? 0 : 1);
        cr_assert_eq(dist_handshake(c, f, 2), MN_ECONFIG);
        cr_assert(strstr(mn_errmsg(), wanted), "%s", mn_errmsg());
    }
}

// Shares of which one is longer: nobody leaves before all are through, and what ends one ends all.
static void check_shares(dist_comm *c)
{
    int last = dist_world(c) - 1, me = dist_rank(c);
    int64_t all = 0;
    dist_share s;
    dist_share_begin(&s, c);
    for (int i = 0; i < (me == last ? 50 : 1); i++)
        cr_assert_eq(dist_share_proceed(&s), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(dist_share_end(&s, MN_OK), MN_OK, "%s", mn_errmsg());
    mn_err mine = me == last ? mn_fail(MN_EDATA, "shard 7 is damaged") : MN_OK;
    cr_assert_eq(dist_share_end(&s, mine), MN_EDATA);
    cr_assert(strstr(mn_errmsg(), "shard 7"), "%s", mn_errmsg());
    dist_share_begin(&s, c);
    if (me == last) raise(SIGUSR2);
    mine = me == last ? dist_share_proceed(&s) : MN_OK;
    cr_assert_eq(mine, me == last ? MN_EINTERRUPTED : MN_OK);
    cr_assert_eq(dist_share_end(&s, mine), MN_EINTERRUPTED);
    cr_assert_eq(dist_proceed(c, MN_OK), MN_EINTERRUPTED);
    dist_signal_reset();
    cr_assert_eq(dist_proceed(c, MN_OK), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(dist_sum_int(c, &all, 1), MN_OK, "the ranks are still in step");
}

static void check_cores(dist_comm *c)
{
    dist_cores k;
    cpu_set_t before, after;
    unsetenv("OMP_NUM_THREADS");
    cr_assert_eq(sched_getaffinity(0, sizeof before, &before), 0);
    cr_assert_eq(dist_cores_plan(c, 0, &k), MN_OK, "%s", mn_errmsg());
    cr_assert_eq(sched_getaffinity(0, sizeof after, &after), 0);
    cr_assert(CPU_EQUAL(&before, &after), "looking must not change the binding");
    int share = k.node / dist_world(c);
    cr_assert_eq(k.threads, share > 0 ? share : 1);
    cr_assert_eq(k.warning[0] != 0, dist_world(c) > k.node, "%s", k.warning);
    char text[40];
    snprintf(text, sizeof text, "%d rank%s x %d thread", dist_world(c), dist_world(c) > 1 ? "s" : "", k.threads);
    cr_assert_eq(strncmp(k.report, text, strlen(text)), 0, "%s", k.report);
    cr_assert_eq(dist_cores_plan(c, 2 * k.node, &k), MN_OK, "%s", mn_errmsg());
    cr_assert(strstr(k.warning, "share") && strstr(k.warning, "threads of the recipe"), "%s", k.warning);
    snprintf(text, sizeof text, "%d", 2 * k.node);
    cr_assert_eq(setenv("OMP_NUM_THREADS", text, 1), 0);
    cr_assert_eq(dist_cores_plan(c, 0, &k), MN_OK, "%s", mn_errmsg());
    cr_assert(strstr(k.warning, "share") && strstr(k.warning, "set OMP_NUM_THREADS="), "%s", k.warning);
    unsetenv("OMP_NUM_THREADS");
}

Test(start, ranks)
{
    dist_comm *c = open_comm();
    check_handshake_agrees(c);
    check_handshake_names(c);
    check_cores(c);
    cr_assert_eq(dist_signal_install(), MN_OK);
    check_shares(c);
    dist_close(c);
}

// A launcher that binds to one core: the cure is that launcher's.
Test(cores, says_the_cure_of_a_binding)
{
    dist_comm *c = open_comm();
    dist_cores k;
    cpu_set_t one;
    cr_assert_eq(dist_cores_plan(c, 2, &k), MN_OK);
    if (k.node < 2 || dist_world(c) > 1) cr_skip_test("needs two cores and one rank");
    int cpu = 0;
    cr_assert_eq(sched_getaffinity(0, sizeof one, &one), 0);
    while (!CPU_ISSET(cpu, &one))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    cr_assert_eq(sched_setaffinity(0, sizeof one, &one), 0);
    setenv("OMPI_COMM_WORLD_SIZE", "1", 1);
    cr_assert_eq(dist_cores_plan(c, 2, &k), MN_OK);
    cr_assert(strstr(k.warning, "--bind-to none (or --map-by slot:PE=2)"), "%s", k.warning);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    setenv("SLURM_STEP_NUM_TASKS", "1", 1);
    cr_assert_eq(dist_cores_plan(c, 2, &k), MN_OK);
    cr_assert(strstr(k.warning, "--cpus-per-task=2"), "%s", k.warning);
    dist_close(c);
}

Test(signals, ask_once)
{
    cr_assert_eq(dist_signal_install(), MN_OK);
    cr_assert_eq(dist_signal_pending(), 0);
    cr_assert(dist_signal_has_time(1e6));
    raise(SIGUSR2);
    cr_assert_eq(dist_signal_pending(), SIGUSR2);
    cr_assert(dist_signal_has_time(1e6), "USR2 leaves all the time there is");
    setenv("MIEN_TERM_SECONDS", "30", 1);
    raise(SIGTERM);
    cr_assert_eq(dist_signal_pending(), SIGTERM, "the more urgent one counts");
    cr_assert(dist_signal_has_time(25));
    cr_assert(!dist_signal_has_time(31));
    dist_signal_reset();
    raise(SIGINT);
    cr_assert_eq(dist_signal_pending(), SIGINT);
}

Test(signals, second_interrupt_stops, .exit_code = 130)
{
    cr_assert_eq(dist_signal_install(), MN_OK);
    raise(SIGINT);
    raise(SIGINT);
    cr_assert_fail("still here");
}
