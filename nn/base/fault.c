#include "nn/base/fault.h"

#include "nn/base/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mn_fault_armed;

enum { MAX_FAULTS = 32, NAME_SIZE = 48 };
typedef enum action { FAIL = 1, NAN_VALUE = 2, FULL = 3, KILL, EXIT, USR, TERM, STALL } action;
static struct {
    char point[NAME_SIZE];
    int nth;
    action action;
    _Atomic int passed;
} faults[MAX_FAULTS];

static int parse_action(const char *text, action *out)
{
    static const struct {
        const char *name;
        action action;
    } names[] = {{"fail", FAIL}, {"nan", NAN_VALUE}, {"full", FULL}, {"kill", KILL},
                 {"exit", EXIT}, {"usr", USR},       {"term", TERM}, {"stall", STALL}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].name, text) != 0) continue;
        *out = names[i].action;
        return 1;
    }
    return 0;
}

// One "point:nth[@rank]=action". Returns 0 when it cannot be read; *mine tells if it is for this rank.
static int parse_fault(const char *item, int rank, int slot, int *mine)
{
    char name[NAME_SIZE], where[32], what[16];
    int used = 0, only = rank;
    if (sscanf(item, "%47[^:]:%31[0-9@]=%15[a-z]%n", name, where, what, &used) != 3 || item[used]) return 0;
    char *end, *at = strchr(where, '@');
    if (at) {
        only = (int)strtol(at + 1, &end, 10);
        if (end == at + 1 || *end) return 0;
    }
    long nth = strtol(where, &end, 10);
    if (end == where || (*end && end != at)) return 0;
    faults[slot].nth = (int)nth;
    faults[slot].passed = 0;
    memcpy(faults[slot].point, name, sizeof name);
    *mine = only == rank;
    return parse_action(what, &faults[slot].action);
}

void mn_fault_init(int rank)
{
    mn_fault_armed = 0;
    const char *spec = getenv("MIEN_FAULT");
    char *copy = spec ? strdup(spec) : NULL, *rest = copy;
    for (char *item; rest && (item = strsep(&rest, ","));) {
        int mine = 0;
        if (!*item) continue;
        if (mn_fault_armed == MAX_FAULTS || !parse_fault(item, rank, mn_fault_armed, &mine)) {
            // A test that asks for a fault and gets none would pass for the wrong reason.
            mn_log(MN_ERROR,
                   "MIEN_FAULT: cannot read '%s'; expected point:n[@rank]=fail|full|nan|kill|exit|usr|term|stall",
                   item);
            _exit(64);
        }
        mn_fault_armed += mine;
    }
    free(copy);
}

int mn_fault_hit(const char *point)
{
    int answer = 0;
    for (int i = 0; i < mn_fault_armed; i++) {
        if (strcmp(faults[i].point, point) != 0) continue;
        int passage = ++faults[i].passed;
        if (faults[i].nth && faults[i].nth != passage) continue;
        switch (faults[i].action) {
        case KILL:
            kill(getpid(), SIGKILL);
            break;
        case EXIT:
            _exit(1);
        case USR:
            raise(SIGUSR2);
            break;
        case TERM:
            raise(SIGTERM);
            break;
        case STALL:
            for (;;)
                pause();
        default:
            answer = (int)faults[i].action;
        }
    }
    return answer;
}
