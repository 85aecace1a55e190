// Command lines: what is looked at before argp reads them.
#include "recipes/usage.h"

#include <criterion/criterion.h>
#include <string.h>

enum { OPT_CROP = 1, OPT_SIZE };

typedef struct seen {
    int crop;
    const char *margin, *size;
} seen;

static error_t parse(int key, char *arg, struct argp_state *state)
{
    seen *s = state->input;
    if (key == OPT_CROP) {
        s->crop = 1;
        s->margin = arg;
        return 0;
    }
    if (key != OPT_SIZE) return ARGP_ERR_UNKNOWN;
    s->size = arg;
    return 0;
}

static const struct argp_option options[] = {
    {"crop", OPT_CROP, "MARGIN", OPTION_ARG_OPTIONAL, "Crop", 0}, {"size", OPT_SIZE, "PX", 0, "Size", 0}, {0}};
static const struct argp parser = {options, parse, NULL, "Test", NULL, NULL, NULL};

static mn_err read_line(int argc, const char *const *words, seen *s)
{
    char *argv[8];
    cr_assert(argc < 8);
    for (int i = 0; i < argc; i++)
        argv[i] = strdup(words[i]);
    argv[argc] = NULL;
    *s = (seen){0};
    return mien_parse(&parser, argc, argv, s); // the words stay: what was seen points into them
}

Test(usage, a_value_may_be_left_out_where_it_is_optional)
{
    seen s;
    cr_assert(read_line(4, (const char *[]){"test", "--size", "64", "--crop"}, &s) == MN_OK, "%s", mn_errmsg());
    cr_assert(s.crop && !s.margin && strcmp(s.size, "64") == 0);
    cr_assert(read_line(4, (const char *[]){"test", "--crop", "--size", "64"}, &s) == MN_OK, "%s", mn_errmsg());
    cr_assert(s.crop && !s.margin && strcmp(s.size, "64") == 0);
    cr_assert(read_line(2, (const char *[]){"test", "--crop=0.3"}, &s) == MN_OK, "%s", mn_errmsg());
    cr_assert(s.crop && strcmp(s.margin, "0.3") == 0);
    cr_assert(read_line(2, (const char *[]){"test", "--size"}, &s) == MN_EUSAGE &&
              strstr(mn_errmsg(), "wants a value"));
}
