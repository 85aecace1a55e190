// Sample files of submissions.
// fuzz-sources: recipes/submission.c data/target.c
#include "nn/base/mem.h"
#include "recipes/submission.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static mien_clip clips[] = {
        {.name = "a", .frames = 9}, {.name = "ab", .frames = 1}, {.name = "b_left", .frames = 0}};
    mien_predictions p = {.task = size % DATA_TASKS, .n_clips = 3, .clip = clips};
    char *text = mn_calloc(size + 1, 1);
    memcpy(text, data, size);
    mn_err err = mien_sample_check_text(&p, "sample", text, size);
    free(text);
    // What is taken lists frames of these clips, each once: 10 + 2 + 1 at most, and the header.
    if (err == MN_OK) {
        size_t lines = 0;
        for (size_t i = 0; i < size; i++)
            lines += data[i] == '\n';
        if (lines > 14) abort();
    } else if (err != MN_EDATA || !*mn_errmsg()) {
        abort();
    }
    return 0;
}
