#include "data/synth/synth.h"

#include "data/file.h"
#include "data/synth/output.h"
#include "nn/base/clock.h"
#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// X(foo, name, what --help says): data__make_foo
#define KINDS(X)                                                                                                       \
    X(affectnet, "affectnet", "AffectNet 2017: faces with boxes, landmarks and labels (CSV)")                          \
    X(affectnet8, "affectnet8", "AffectNet 2021: faces with landmarks and labels (npy)")                               \
    X(affwild2, "affwild2", "Aff-Wild2: videos with sound, crops, annotations of ABAW6")                               \
    X(aihub, "aihub", "AI-Hub: Korean lists (JSON, CP949), three annotators, ages")                                    \
    X(casia_webface, "casia-webface", "CASIA-WebFace: RecordIO and folders of the same faces")                         \
    X(celeba, "celeba", "CelebA: aligned faces with attributes, identities, boxes (txt)")                              \
    X(expw, "expw", "ExpW: one face or two a picture, boxes, expressions (lst)")                                       \
    X(ferplus, "ferplus", "FER+: grey faces with the votes of ten people (CSV, PNG)")                                  \
    X(folder, "folder", "pictures in a tree of folders, JPEG and PNG, with a labels.csv")                              \
    X(imdb_wiki, "imdb-wiki", "IMDB-WIKI: faces and pictures with ages and genders (MAT)")                             \
    X(s_affwild2, "s-affwild2", "s-Aff-Wild2: single crops with the labels of all tasks (ABAW4)")

const data_kind data_synth_kinds[] = {
#define ROW(id, name, help) {name, help},
    KINDS(ROW)
#undef ROW
        {0}};

typedef mn_err (*maker)(const char *root, const data_synth_cfg *cfg, data_synth_report *report);
static const maker makers[] = {
#define ROW(id, name, help) data__make_##id,
    KINDS(ROW)
#undef ROW
};

static mn_err in_range(const char *what, int64_t v, int64_t low, int64_t high)
{
    if (v >= low && v <= high) return MN_OK;
    return mn_fail(MN_EUSAGE, "--%s %lld: must be from %lld to %lld", what, (long long)v, (long long)low,
                   (long long)high);
}

mn_err data__synth_defaults(const data_synth_cfg *in, data_synth_cfg *out)
{
    *out = *in;
    if (!out->videos) out->videos = 20;
    if (!out->frames) out->frames = 200;
    if (!out->images) out->images = 600;
    if (!out->size) out->size = 112;
    if (out->threads < 1) out->threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    MN_TRY(in_range("videos", out->videos, 3, 100000));
    MN_TRY(in_range("frames", out->frames, 16, 1000000));
    MN_TRY(in_range("images", out->images, 8, 100000000));
    MN_TRY(in_range("size", out->size, 32, 512));
    return in_range("threads", out->threads, 1, 4096);
}

// Removes what an interrupted run left: a folder of our own making, by names that only this file gives.
static mn_err remove_tree(int parent, const char *name)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return MN_OK;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        int reason = errno;
        if (fd >= 0) close(fd);
        return mn_fail(MN_EIO, "%s: cannot be removed: %s", name, strerror(reason));
    }
    mn_err err = MN_OK;
    for (struct dirent *e; err == MN_OK && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) err = remove_tree(dirfd(d), e->d_name);
    closedir(d);
    if (err == MN_OK && unlinkat(parent, name, AT_REMOVEDIR) != 0)
        err = mn_fail(MN_EIO, "%s: cannot be removed: %s", name, strerror(errno));
    return err;
}

// The numbers that decide what is in the folder of this kind.
static char *describe(const char *kind, const data_synth_cfg *c)
{
    int video = strcmp(kind, "affwild2") == 0;
    return mn_sprintf("{\"kind\":\"%s\",\"version\":2,\"seed\":%llu,\"size\":%d,\"%s\":%lld,\"frames\":%lld}\n", kind,
                      (unsigned long long)c->seed, c->size, video ? "videos" : "images",
                      (long long)(video ? c->videos : c->images), (long long)(video ? c->frames : 0));
}

// *there: OUT/KIND exists and was made with the same configuration.
static mn_err look(const char *folder, const char *note, const char *text, int *there)
{
    char *old = NULL;
    size_t size = 0;
    struct stat s;
    *there = 0;
    if (lstat(folder, &s) != 0) {
        if (errno == ENOENT) return MN_OK;
        return mn_fail(MN_ECREATE, "%s: %s", folder, strerror(errno));
    }
    mn_err err = mn_file_read(note, 4096, &old, &size);
    *there = err == MN_OK && strcmp(old, text) == 0;
    free(old);
    if (*there) return MN_OK;
    return mn_fail(MN_ECREATE,
                   "%s exists and was not generated with this configuration; remove it or choose another --out",
                   folder);
}

static mn_err make_kind(int k, const data_synth_cfg *cfg, data_synth_report *report)
{
    const char *kind = data_synth_kinds[k].name;
    char *folder = mn_sprintf("%s/%s", cfg->out, kind), *part = mn_sprintf("%s/.%s.partial", cfg->out, kind);
    char *note = mn_sprintf("%s/.%s.synth", cfg->out, kind), *text = describe(kind, cfg);
    int there;
    mn_err err;
    report->affwild2 |= strcmp(kind, "affwild2") == 0;
    MN_TRY_OUT(err, look(folder, note, text, &there));
    if (there) {
        report->skipped++;
        goto out;
    }
    MN_TRY_OUT(err, remove_tree(AT_FDCWD, part));
    MN_TRY_OUT(err, mn_dir_make(part));
    MN_TRY_OUT(err, makers[k](part, cfg, report));
    MN_TRY_OUT(err, mn_file_replace(note, text, strlen(text)));
    if (rename(part, folder) != 0) err = mn_fail(MN_ECREATE, "%s: %s", folder, strerror(errno));
out:
    free(folder);
    free(part);
    free(note);
    free(text);
    return err;
}

// Whether `name` is an item of the comma list.
static int listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, name, n) == 0 && (p[n] == ',' || p[n] == 0)) return 1;
    }
    return 0;
}

static mn_err unknown_kind(const char *name, int n)
{
    char list[256] = "";
    for (int k = 0; data_synth_kinds[k].name; k++) {
        size_t at = strlen(list);
        (void)snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", data_synth_kinds[k].name);
    }
    return mn_fail(MN_EUSAGE, "--kind %.*s: there are %s", n, name, list);
}

static mn_err check_kinds(const char *list)
{
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += *p == ',';
        size_t n = strcspn(p, ",");
        int known = 0;
        for (int k = 0; data_synth_kinds[k].name; k++)
            known |= strlen(data_synth_kinds[k].name) == n && strncmp(p, data_synth_kinds[k].name, n) == 0;
        if (!known) return unknown_kind(p, (int)n);
    }
    return MN_OK;
}

mn_err data_synth(const data_synth_cfg *cfg, data_synth_report *report)
{
    data_synth_cfg c;
    data_synth_report unused;
    if (!report) report = &unused;
    *report = (data_synth_report){0};
    double start = mn_seconds();
    MN_TRY(data__synth_defaults(cfg, &c));
    MN_TRY(check_kinds(c.kinds));
    MN_TRY(mn_dir_make(c.out));
    for (int k = 0; data_synth_kinds[k].name; k++)
        if (!c.kinds || listed(c.kinds, data_synth_kinds[k].name)) MN_TRY(make_kind(k, &c, report));
    report->seconds = mn_seconds() - start;
    return MN_OK;
}
