// The actions of `mien data` that have a file of their own: recipes/data_<action>.c. Each parses its arguments (argv[0] is
// what --help calls it) and returns an error whose message main prints.
#ifndef RECIPES_DATA_ACTIONS_H
#define RECIPES_DATA_ACTIONS_H

#include "data/kind.h"
#include "nn/base/err.h"

#include <jansson.h>

mn_err mien_data_synth(int argc, char **argv);
mn_err mien_data_import(int argc, char **argv);
mn_err mien_data_verify(int argc, char **argv);
mn_err mien_data_info(int argc, char **argv);
mn_err mien_data_export(int argc, char **argv);

// For the help filter of argp: the kinds go where it puts the text after the options.
char *mien_help_kinds(const data_kind *kinds, int key, const char *text);

// One object to stdout, with a line end; MN_EIO when it cannot be written.
MN_MUST_CHECK mn_err mien_print_json(const json_t *o);

#endif
