// mien data: datasets in and out of shards. Each action has a file of its own; what is done lives in data/.
#include "recipes/data_actions.h"
#include "recipes/usage.h"
#include "recipes/verbs.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

char *mien_help_kinds(const data_kind *kinds, int key, const char *text)
{
    char *out = NULL, *unchanged = (char *)(uintptr_t)text;
    size_t size = 0;
    int width = 0;
    if (key != ARGP_KEY_HELP_POST_DOC) return unchanged;
    FILE *f = open_memstream(&out, &size);
    if (!f) return unchanged;
    fputs("KIND is one of:\n", f);
    for (const data_kind *k = kinds; k->name; k++)
        if ((int)strlen(k->name) > width) width = (int)strlen(k->name);
    for (const data_kind *k = kinds; k->name; k++)
        fprintf(f, "  %-*s %s\n", width, k->name, k->help);
    fprintf(f, "\n%s", text);
    return fclose(f) == 0 ? out : unchanged;
}

typedef struct action {
    const char *name, *help;
    mn_err (*run)(int argc, char **argv);
} action;

static const action actions[] = {
    {"synth", "generated corpora in the layouts of the real ones", mien_data_synth},
    {"import", "a dataset's own files become shards", mien_data_import},
    {"verify", "reads every byte of a dataset and names what is damaged", mien_data_verify},
    {"info", "what a dataset or feature folder holds, and a sheet of its pictures", mien_data_info},
    {"export", "one record of a dataset: its bytes and its labels", mien_data_export},
};
enum { ACTIONS = sizeof(actions) / sizeof(actions[0]) };

static void print_help(void)
{
    puts("usage: mien data ACTION ...        mien data ACTION --help\n");
    for (int i = 0; i < ACTIONS; i++)
        printf("  %-9s %s\n", actions[i].name, actions[i].help);
    puts("\nExample: mien data import celeba --src /data/CelebA --out mien-data/celeba");
}

mn_err mien_data(int argc, char **argv)
{
    char name[64];
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        print_help();
        return MN_OK;
    }
    for (int i = 0; argc > 1 && i < ACTIONS; i++)
        if (strcmp(argv[1], actions[i].name) == 0) {
            (void)snprintf(name, sizeof(name), "mien data %s", argv[1]);
            argv[1] = name; // what argp calls the program in its messages
            return actions[i].run(argc - 1, argv + 1);
        }
    if (argc < 2)
        return mn_fail(MN_EUSAGE, "what to do is missing: synth, import, verify, info or export; see mien data --help");
    const char *names[ACTIONS];
    for (int i = 0; i < ACTIONS; i++)
        names[i] = actions[i].name;
    return mien_unknown("mien data", "action", argv[1], names, ACTIONS);
}
