// What `mien doctor` reports, and the checks that make the lines of it. Each check adds one or more.
// Threading: one thread.
#ifndef RECIPES_DOCTOR_H
#define RECIPES_DOCTOR_H

#include "dist/comm.h"

#include <jansson.h>

typedef enum mien_level { MIEN_OK, MIEN_WARN, MIEN_FAIL } mien_level;

typedef struct mien_report {
    json_t *checks;
    int count[3]; // by level
} mien_report;

// fix: what to do; "" with MIEN_OK.
MN_PRINTF(5, 6)
void mien_report_add(mien_report *r, const char *name, mien_level l, const char *fix, const char *format, ...);

static inline double mien_gib(double bytes)
{
    return bytes / (1 << 30);
}

// doctor_host.c
void mien_check_processor(mien_report *r);
void mien_check_memory(mien_report *r);
void mien_check_limits(mien_report *r);
void mien_check_data(mien_report *r, const char *data); // paths.data of the recipes
void mien_check_runs(mien_report *r, const char *runs); // paths.runs

// doctor_gpu.c
void mien_check_cuda(mien_report *r);                 // what there is on this host
void mien_check_device(mien_report *r, dist_comm *c); // what device: auto would take; collective

// doctor_job.c: ranks, collective
void mien_check_launch(mien_report *r, dist_comm *c);
MN_MUST_CHECK mn_err mien_check_ranks(mien_report *r, dist_comm *c);
MN_MUST_CHECK mn_err mien_check_cores(mien_report *r, dist_comm *c);

#endif
