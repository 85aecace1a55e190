// Command lines, read with argp and refused in one way: MN_EUSAGE and one line that says what is wrong and ends in
// "see mien VERB --help". argp itself would print two or more and exit.
//
//     case 'b':
//         return mien_int(state, "--batch", arg, 1, 1000000, &a->batch);
//     case ARGP_KEY_END:
//         return a->out ? 0 : mien_usage(state, "--out is missing");
//     ...
//     MN_TRY(mien_parse(&parser, argc, argv, &arguments));
//
// Threading: one thread.
#ifndef RECIPES_USAGE_H
#define RECIPES_USAGE_H

#include "nn/base/err.h"

#include <argp.h>
#include <stdint.h>

// Parses argv, whose first element is the command as --help shall name it. --help prints and exits with 0.
MN_MUST_CHECK mn_err mien_parse(const struct argp *parser, int argc, char **argv, void *input);

// A word that is none of `names`: MN_EUSAGE, with all of them and the nearest. what: "verb", "action".
mn_err mien_unknown(const char *command, const char *what, const char *word, const char *const *names, int n);

// For parsers: each returns what the parser shall return.
error_t mien_usage(const struct argp_state *state, const char *format, ...) MN_PRINTF(2, 3);
// A whole number from least to most. what: the option, for the message.
error_t mien_int(const struct argp_state *state, const char *what, const char *text, int64_t least, int64_t most,
                 int64_t *out);
// A number above 0, and at most `most`.
error_t mien_positive(const struct argp_state *state, const char *what, const char *text, double most, double *out);

#endif
