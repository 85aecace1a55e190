// The folder of a run: RUNS/<name>/ with metrics.jsonl, log.txt, ckpt/, faults/. Everything in it is appended to, never
// rewritten; a resumed or requeued run goes on in the same folder under a new attempt number.
//
//     dist_run *r; MN_TRY(dist_run_open(&r, comm, "runs", "simmim-swin-t"));
//     MN_TRY(dist_run_event(r, "step", "\"step\":%lld,\"loss\":%s", step, dist_json(loss, text)));
//
// Only rank 0 writes; on the others every call but open and close returns at once.
// Threading: one thread.
#ifndef DIST_RUN_H
#define DIST_RUN_H

#include "dist/comm.h"

typedef struct dist_run dist_run;
MN_MUST_CHECK mn_err dist_run_open(dist_run **out, dist_comm *c, const char *runs, const char *name);
// Of a dry run: has no folder, writes nothing.
MN_MUST_CHECK mn_err dist_run_none(dist_run **out);
void dist_run_close(dist_run *r);
const char *dist_run_folder(const dist_run *r);      // NULL: it has none
void dist_run_attempt(dist_run *r, int64_t attempt); // carried by every later line
// Appends {"event":"kind",<members>,"attempt":n,"time":"..."} to metrics.jsonl. On a full disk or quota the line is left
// out whole, one warning says so, and a fault event of kind lines_lost counts them when there is room again.
MN_MUST_CHECK mn_err dist_run_event(dist_run *r, const char *kind, const char *members, ...) MN_PRINTF(3, 4);
// Creates or replaces a small file of the run (recipe.resolved.yaml, env.json).
MN_MUST_CHECK mn_err dist_run_file(dist_run *r, const char *name, const char *text);

// A number as JSON: %.9g for losses (bit-exact for fp32), null for what JSON cannot say.
#define DIST_JSON_NUMBER 32
const char *dist_json(double v, char text[DIST_JSON_NUMBER]);

#endif
