// Any folder of pictures. Folders train, validation (or valid, val) and test directly in it are splits; else all is train.
// Whether a file is a picture is told by its first bytes, so a file that is none ends in the list of rejects.
#include "data/import/find.h"
#include "data/import/importer.h"
#include "nn/base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { DEPTH = 16 };

typedef struct folder_state {
    int root;
    size_t root_bytes; // of its name and a slash
    int64_t n, capacity;
    char **names;
    int64_t links;
    struct stat out; // the folder of the shards, which may lie in here; st_ino 0: it is not there
} folder_state;

static int keep(void *ctx, const char *path, const char *name, data__kind kind)
{
    folder_state *s = ctx;
    (void)name;
    if (kind == DATA__FOLDER && data__is_folder(path, &s->out)) return 0;
    if (kind == DATA__FOLDER_LINK) s->links++;
    if (kind == DATA__FOLDER || kind == DATA__FOLDER_LINK) return kind == DATA__FOLDER;
    s->names = mn_grow(s->names, s->n, &s->capacity, sizeof(*s->names));
    s->names[s->n++] = mn_strdup(path + s->root_bytes);
    return 0;
}

static const char *split_of(const char *name)
{
    static const struct {
        const char *folder, *split;
    } known[] = {{"train/", "train"},      {"training/", "train"}, {"validation/", "validation"},
                 {"valid/", "validation"}, {"val/", "validation"}, {"test/", "test"}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strncasecmp(name, known[i].folder, strlen(known[i].folder)) == 0) return known[i].split;
    return "train";
}

static const char *name_at(void *ctx, int64_t i)
{
    return ((folder_state *)ctx)->names[i];
}

static mn_err scan(data__import *im)
{
    folder_state *s = im->state = mn_calloc(1, sizeof(*s));
    s->root = -1;
    MN_TRY(data__open_folder(&s->root, im->cfg->src));
    s->root_bytes = strlen(im->cfg->src) + 1;
    if (stat(im->cfg->out, &s->out) != 0) s->out.st_ino = 0;
    MN_TRY(data__walk(im->cfg->src, DEPTH, keep, s));
    data__import_note(im, DATA__NOTE_LINK, s->links);
    int64_t size = data__import_mean_size(s->root, s->n, name_at, s);
    static const char *const split[] = {"train", "validation", "test"}; // the order of the shards
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < s->n; i++)
            if (strcmp(split_of(s->names[i]), split[k]) == 0)
                data__import_unit(data__import_group(im, split[k], "image"), i, 1, size);
    for (int64_t i = 0; i < s->n; i++)
        data__import_digest(im, s->names[i], strlen(s->names[i]) + 1);
    data__import_limit(im);
    return MN_OK;
}

static mn_err write_picture(data__import *im, const data__group *g, const data__unit *u, data_writer *w)
{
    const folder_state *s = im->state;
    const char *name = s->names[u->item];
    data_record r = {.name = name, .expr = -1, .video = -1, .source_row = (uint32_t)u->item};
    int accepted;
    (void)g;
    MN_TRY(data__import_picture(im, s->root, name, name, 0, &r, &accepted));
    return accepted ? data__import_add(im, w, &r) : MN_OK;
}

static void close_state(void *state)
{
    folder_state *s = state;
    if (s->root >= 0) (void)close(s->root);
    for (int64_t i = 0; i < s->n; i++)
        free(s->names[i]);
    free(s->names);
    free(s);
}

const data__importer data__import_folder = {.scan = scan, .write = write_picture, .close = close_state, .threads = 1};
