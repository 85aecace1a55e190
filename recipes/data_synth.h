// mien data synth: the generated corpora of data/synth on the command line.
#ifndef RECIPES_DATA_SYNTH_H
#define RECIPES_DATA_SYNTH_H

#include "nn/base/err.h"

mn_err mien_data_synth(int argc, char **argv);

#endif
