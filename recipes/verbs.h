// The verbs of the command. Each gets its own arguments (argv[0] is the verb), parses them with argp, and returns an
// error whose message main prints. Results go to stdout, everything for people to stderr.
#ifndef RECIPES_VERBS_H
#define RECIPES_VERBS_H

#include "nn/base/err.h"

// X(name, one line of help): verb `name` is mien_<name>, in recipes/<name>.c.
#define MIEN_VERBS(X)                                                                                                  \
    X(data, "generated corpora, imports of datasets, checks of shards")                                                \
    X(train, "train the network of a recipe")                                                                          \
    X(eval, "score weights with the challenge's metrics")                                                              \
    X(extract, "write the features that a network makes of videos")                                                    \
    X(predict, "predict frames of videos, as a table or a challenge submission")                                       \
    X(weights, "look into files of weights, take them from other projects, hand them on")                              \
    X(bench, "measure a training step, sum of gradients, loader, checkpoint")                                          \
    X(doctor, "look at the machine: what would go wrong or slow, and the cure")

#define MIEN_VERB(name, help) mn_err mien_##name(int argc, char **argv);
MIEN_VERBS(MIEN_VERB)
#undef MIEN_VERB

#endif
