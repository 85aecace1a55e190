// Lines for people: stderr and, when a run is open, its log.txt. Results for programs go elsewhere (metrics.jsonl).
//
//     mn_log_open(rank, "runs/a/log.txt");     // rank 0: log.txt; others: warnings and faults only, log.rank-N.txt
//     mn_info("import: %lld records", n);
//
// One line per call, prefixed with level and rank where it is not 0. Threading: any thread; lines never interleave.
#ifndef MN_LOG_H
#define MN_LOG_H

#include "nn/base/err.h"

typedef enum mn_level { MN_DEBUG, MN_INFO, MN_WARN, MN_ERROR } mn_level;

void mn_log_level(mn_level least);                  // what reaches stderr; default MN_INFO
void mn_log_rank(int rank);                         // ranks other than 0 print warnings and errors only
MN_MUST_CHECK mn_err mn_log_open(const char *path); // append lines to this file too
void mn_log_close(void);
void mn_log(mn_level level, const char *format, ...) MN_PRINTF(2, 3);
#define mn_debug(...) mn_log(MN_DEBUG, __VA_ARGS__)
#define mn_info(...) mn_log(MN_INFO, __VA_ARGS__)
#define mn_warn(...) mn_log(MN_WARN, __VA_ARGS__)

#endif
