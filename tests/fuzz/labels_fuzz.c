// Label files of Aff-Wild2, and lists of s-Aff-Wild2: the first byte chooses the task, the rest is the file. Whatever it is: as many rows as lines
// after the head, every label in range or none.
// fuzz-sources: data/import/affwild2_labels.c data/import/s_affwild2_list.c data/import/text.c data/label.c
#include "data/import/affwild2.h"
#include "data/import/s_affwild2_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void count_line(void *ctx, int64_t line, data__reason reason, const char *detail)
{
    int64_t *last = ctx;
    if (line < *last || reason >= DATA__REASON_COUNT || !detail) abort();
    *last = line;
}

static void check(const data__aw_labels *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        if (l->expr && (l->expr[i] < -1 || l->expr[i] > 7)) abort();
        for (int a = 0; l->au && a < DATA_AUS; a++)
            if (l->au[i * DATA_AUS + a] < -1 || l->au[i * DATA_AUS + a] > 1) abort();
        for (int k = 0; l->va && k < 2; k++)
            if (!isnan(l->va[2 * i + k]) && !(fabsf(l->va[2 * i + k]) <= 1)) abort();
    }
}

static void take_row(void *ctx, int64_t line, data__text image, const data__sa_labels *l)
{
    int valid = l->expr >= 0;
    if (line <= 0 || line < *(int64_t *)ctx || image.n == 0 || l->expr < -1 || l->expr > 7) abort();
    for (int a = 0; a < DATA_AUS; a++) {
        if (l->au[a] < -1 || l->au[a] > 1) abort();
        valid += l->au[a] >= 0;
    }
    for (int k = 0; k < 2; k++) {
        if (!isnan(l->va[k]) && !(fabsf(l->va[k]) <= 1)) abort();
        valid += !isnan(l->va[k]);
    }
    if (l->none != (valid == 0) || l->invalid < 0 || l->invalid > 15) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const data__sa_ops rows = {take_row, count_line};
    static const char *const head[DATA_TASKS] = {"Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n",
                                                 "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26\n",
                                                 "valence,arousal\n"};
    data__aw_labels l;
    int64_t last = 0;
    if (size < 1) return 0;
    int task = data[0] % DATA_TASKS, with_head = data[0] / DATA_TASKS % 2;
    size_t n = with_head ? strlen(head[task]) : 0;
    char *text = malloc(n + size); // exactly as long as it says, so that a read behind its end is seen
    if (!text) return 0;
    memcpy(text, head[task], n);
    memcpy(text + n, data + 1, size - 1);
    data__aw_read(text, n + size - 1, task, count_line, &last, &l);
    check(&l);
    data__aw_free(&l);
    last = 0;
    data__sa_read(text, n + size - 1, data[0] & 64, &rows, &last);
    free(text);
    return 0;
}
