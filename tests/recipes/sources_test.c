// Features that belong to weights: what training records, and which features are refused later.
#include "recipes/sources.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char run[] = "/tmp/mien-sources-XXXXXX";
static const char *image, *audio; // digests of the features at hand

static char *sources(const mien_job *j, const data_set *set)
{
    (void)j;
    (void)set;
    return mn_sprintf("\"image\": \"%s\", \"audio\": \"%s\"", image, audio);
}

static const mien_task task = {.name = "test", .sources = sources}, without = {.name = "test"};
static const mien_job job = {.task = &task, .path = "a.yaml"}, other = {.task = &without, .path = "a.yaml"};

static mn_err check(const char *below)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s", run, below);
    return mien_sources_check(&job, NULL, path);
}

static const char weights[] = "/ckpt/step-00000010/model.safetensors";

static void record(void)
{
    cr_assert(mkdtemp(run));
    image = "1111", audio = "2222";
    cr_assert_eq(mien_sources_record(&job, NULL, run), MN_OK, "%s", mn_errmsg());
}

static void forget(void)
{
    cr_assert_eq(mn_dir_remove(run), MN_OK, "%s", mn_errmsg());
}

TestSuite(sources, .init = record, .fini = forget);

Test(sources, same_are_taken)
{
    cr_expect_eq(check(weights), MN_OK);
    cr_expect_eq(mien_sources_record(&job, NULL, run), MN_OK); // a resumed run
}

Test(sources, others_are_refused)
{
    audio = "3333";
    cr_expect_eq(check(weights), MN_ECONFIG);
    cr_expect(strstr(mn_errmsg(), "features.audio was made by weights 3333"), "%s", mn_errmsg());
    cr_expect_eq(mien_sources_record(&job, NULL, run), MN_ECONFIG);
    audio = "2222";
    cr_expect_eq(check(weights), MN_OK, "the record was overwritten");
    image = "2222";
    cr_expect_eq(check(weights), MN_ECONFIG);
}

Test(sources, unknown_origin_is_taken)
{
    image = "";
    cr_expect_eq(check(weights), MN_OK);
    image = "5555";
    cr_expect_eq(check("/elsewhere.safetensors"), MN_OK); // weights outside of a run
    cr_expect_eq(mien_sources_record(&other, NULL, run), MN_OK);
}

Test(sources, damaged_record)
{
    char path[256];
    snprintf(path, sizeof path, "%s/features.json", run);
    cr_assert_eq(mn_file_replace(path, "{\"image\"", 8), MN_OK);
    cr_expect_eq(check(weights), MN_EDATA);
    cr_expect(strstr(mn_errmsg(), "features.json:1"), "%s", mn_errmsg());
}
