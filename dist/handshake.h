// Do all ranks run the same thing? Asked once, before the first step.
//
//     dist_fact facts[] = {{"binary", ""}, {"recipe", ""}, {"plan", ""}, ...};
//     dist_fact_hex(&facts[2], nn_graph_hash(graph)); ...
//     MN_TRY(dist_handshake(comm, facts, n));
//
// Threading: the thread of the communicator.
#ifndef DIST_HANDSHAKE_H
#define DIST_HANDSHAKE_H

#include "dist/comm.h"

enum { DIST_MOST_FACTS = 32 };

typedef struct dist_fact {
    char name[24]; // "recipe"
    char value[104];
} dist_fact;

dist_fact dist_fact_text(const char *name, const char *value); // a value that is too long is replaced by its digest
dist_fact dist_fact_hex(const char *name, uint64_t value);

// Collective; at most DIST_MOST_FACTS facts, the same names in the same order. MN_ECONFIG names the field, the ranks
// that differ from the majority, and both values; the same message on every rank. Wall clocks that are more than 5 s
// apart are warned of.
MN_MUST_CHECK mn_err dist_handshake(dist_comm *c, const dist_fact *facts, int n);
// The same of what is known only later; without the clocks.
MN_MUST_CHECK mn_err dist_facts_compare(dist_comm *c, const dist_fact *facts, int n);

#endif
