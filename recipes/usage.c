#include "recipes/usage.h"

#include "nn/base/schema.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS = 40, TEXT = 1024, HELP = 0x100 };

static mn_err refuse(const char *command, const char *text)
{
    return mn_fail(MN_EUSAGE, "%s; see %s --help", text, command);
}

mn_err mien_unknown(const char *command, const char *what, const char *word, const char *const *names, int n)
{
    char text[TEXT], list[TEXT / 2] = "";
    for (int i = 0, used = 0; i < n && used < (int)sizeof list; i++)
        used += snprintf(list + used, sizeof list - (size_t)used, "%s%s", i ? ", " : "", names[i]);
    snprintf(text, sizeof text, "there is no %s '%s' (did you mean '%s'?): %s", what, word, mn_nearest(word, names, n),
             list);
    return refuse(command, text);
}

error_t mien_usage(const struct argp_state *state, const char *format, ...)
{
    char text[TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)refuse(state->name, text); // argp passes on what a parser returns; the code is that of mien_parse
    return EINVAL;
}

error_t mien_int(const struct argp_state *state, const char *what, const char *text, int64_t least, int64_t most,
                 int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *out = v;
    if (!errno && end != text && !*end && v >= least && v <= most) return 0;
    if (most == INT64_MAX)
        return mien_usage(state, "%s wants a whole number from %lld on, not '%s'", what, (long long)least, text);
    return mien_usage(state, "%s wants a whole number from %lld to %lld, not '%s'", what, (long long)least,
                      (long long)most, text);
}

error_t mien_positive(const struct argp_state *state, const char *what, const char *text, double most, double *out)
{
    char *end;
    *out = strtod(text, &end);
    if (end != text && !*end && *out > 0 && *out <= most && isfinite(*out)) return 0;
    if (isinf(most)) return mien_usage(state, "%s wants a number above 0, not '%s'", what, text);
    return mien_usage(state, "%s wants a number above 0, at most %g, not '%s'", what, most, text);
}

// What getopt takes of the options of argp: argp reads them with it, but lets it print what it refuses.
typedef struct accepted {
    struct option option[OPTIONS + 1];
    const char *name[OPTIONS];
    char letters[3 * OPTIONS + 3]; // "-:": keep the order, tell errors apart; then each letter, ':' if it has a value
    int n, used;
} accepted;

static void accept_option(accepted *a, const char *name, int key, int value) // no_argument, ...
{
    mn_assert(a->n < OPTIONS);
    a->option[a->n] = (struct option){name, value, NULL, key};
    a->name[a->n++] = name;
    if (key > 0 && key < 128 && isalnum(key)) {
        a->letters[a->used++] = (char)key;
        for (int i = 0; i < value; i++) // one colon: required; two: optional
            a->letters[a->used++] = ':';
    }
}

// `which` is getopt's optopt: 0 for a long option that there is not, else the key or letter it stumbled over.
static mn_err refuse_option(const accepted *a, const char *command, const char *word, int which, int no_value)
{
    char text[TEXT];
    int length = (int)strcspn(word, "=");
    if (no_value)
        snprintf(text, sizeof text, "%s wants a value", word);
    else if (which == 0)
        snprintf(text, sizeof text, "there is no option '%.*s' (did you mean '--%s'?)", length, word,
                 mn_nearest(word + 2, a->name, a->n));
    else if (word[length])
        snprintf(text, sizeof text, "%.*s takes no value", length, word);
    else
        snprintf(text, sizeof text, "there is no option '-%c'", which);
    return refuse(command, text);
}

static mn_err check_options(const struct argp *parser, int argc, char **argv)
{
    accepted a = {.letters = "-:", .used = 2};
    int key;
    for (const struct argp_option *o = parser->options; o->name; o++)
        accept_option(&a, o->name, o->key,
                      !o->arg                          ? no_argument
                      : o->flags & OPTION_ARG_OPTIONAL ? optional_argument
                                                       : required_argument);
    accept_option(&a, "help", HELP, no_argument);
    accept_option(&a, "usage", HELP, no_argument);
    opterr = 0;
    optind = 0; // from the start
    while ((key = getopt_long(argc, argv, a.letters, a.option, NULL)) != -1) {
        if (key == ':' || (key == '?' && optopt != '?')) // -? is argp's --help
            return refuse_option(&a, argv[0], argv[optind - 1], optopt, key == ':');
    }
    return MN_OK;
}

mn_err mien_parse(const struct argp *parser, int argc, char **argv, void *input)
{
    MN_TRY(check_options(parser, argc, argv));
    // Wide enough for --weights=RUN|DIR|FILE; and without a note on short options below each list.
    if (setenv("ARGP_HELP_FMT", "opt-doc-col=31,no-dup-args-note", 0) != 0)
        return mn_fail(MN_EMEM, "no memory for the environment");
    return argp_parse(parser, argc, argv, 0, NULL, input) == 0 ? MN_OK : MN_EUSAGE;
}
