// What the end-to-end scripts cannot do themselves: compares runs and damages files.
//   judge losses A.jsonl B.jsonl STEPS TOLERANCE   steps 1 .. STEPS of both are there, with the same ids, and the losses
//                                                  agree: |a - b| <= TOLERANCE |b|; tolerance 0: the same text
//   judge weights A.safetensors B.safetensors TOLERANCE    ||a - b|| <= TOLERANCE ||b|| over all tensors
//   judge moved A.safetensors B.safetensors LEAST          ||a - b|| >= LEAST ||b||, running statistics left out
//   judge flip FILE BIT                                    flips bit BIT modulo the size of the file
// Prints the largest deviation. Exit status 0: holds; 1: does not; 2: cannot tell.
#include "nn/base/mem.h"
#include "nn/safetensors.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOLDS, FAILS, BROKEN, LINE = 65536 };

typedef struct series {
    char (*ids)[24], (*loss)[40];
    int64_t n;
} series;

// The number as it is written: digits of the line, not of a double.
static void copy_number(const char *line, const char *key, char *out, size_t size)
{
    const char *at = strstr(line, key);
    size_t n = at ? strcspn(at + strlen(key), ",}") : 0;
    snprintf(out, size, "%.*s", (int)n, at ? at + strlen(key) : "");
}

// A resumed run repeats no step that was saved; of a step that a killed run did twice the later line counts.
static int read_series(const char *path, series *s, int64_t steps)
{
    char *line = mn_calloc(LINE, 1);
    FILE *f = fopen(path, "r");
    *s = (series){mn_calloc((size_t)steps + 1, sizeof *s->ids), mn_calloc((size_t)steps + 1, sizeof *s->loss), steps};
    if (!f) fprintf(stderr, "judge: cannot open %s\n", path);
    while (f && fgets(line, LINE, f)) {
        json_t *o = json_loads(line, 0, NULL);
        const char *event = json_string_value(json_object_get(o, "event"));
        int64_t step = json_integer_value(json_object_get(o, "step"));
        if (event && strcmp(event, "step") == 0 && step >= 1 && step <= steps) {
            copy_number(line, "\"ids\":", s->ids[step], sizeof *s->ids);
            copy_number(line, "\"loss\":", s->loss[step], sizeof *s->loss);
        }
        json_decref(o);
    }
    if (f) fclose(f);
    free(line);
    for (int64_t i = 1; i <= steps; i++)
        if (!*s->ids[i] || !*s->loss[i]) {
            fprintf(stderr, "judge: %s has no step %lld\n", path, (long long)i);
            return 0;
        }
    return 1;
}

static int losses(const char *a, const char *b, int64_t steps, double tolerance)
{
    series x, y = {0};
    int holds = read_series(a, &x, steps) && read_series(b, &y, steps) ? HOLDS : BROKEN;
    double worst = 0;
    for (int64_t i = 1; i <= steps && holds != BROKEN; i++) {
        double p = strtod(x.loss[i], NULL), q = strtod(y.loss[i], NULL), off = fabs(p - q) / fabs(q);
        if (strcmp(x.ids[i], y.ids[i]) != 0) {
            printf("step %lld: other samples: %s and %s\n", (long long)i, x.ids[i], y.ids[i]);
            holds = FAILS;
        }
        if (!(off <= worst)) worst = off; // takes a NaN, too
        if (!(off <= tolerance) || (tolerance == 0 && strcmp(x.loss[i], y.loss[i]) != 0)) {
            if (holds == HOLDS) printf("step %lld: loss %s and %s\n", (long long)i, x.loss[i], y.loss[i]);
            holds = FAILS;
        }
    }
    printf("losses: largest relative deviation %.3g (%.3g allowed)\n", worst, tolerance);
    free(x.ids);
    free(x.loss);
    free(y.ids);
    free(y.loss);
    return holds;
}

static int is_running(const char *name)
{
    return strstr(name, "running_") != NULL;
}

static mn_err read_tensor(const nn_safetensors *f, const char *name, int64_t n, float *to)
{
    const nn_safetensor *t = nn_safetensors_find(f, name);
    if (!t || mn_count(t->shape) != n) return mn_fail(MN_EDATA, "no tensor '%s' of %lld values", name, (long long)n);
    return nn_safetensors_read_f32(f, t, to);
}

static mn_err distance(const nn_safetensors *a, const nn_safetensors *b, int all, double *out)
{
    double apart = 0, size = 0;
    mn_err err = MN_OK;
    if (nn_safetensors_count(a) != nn_safetensors_count(b)) return mn_fail(MN_EDATA, "not as many tensors");
    for (int64_t i = 0; i < nn_safetensors_count(b) && err == MN_OK; i++) {
        const nn_safetensor *t = nn_safetensors_at(b, i);
        int64_t n = mn_count(t->shape);
        if (!all && is_running(t->name)) continue;
        float *x = mn_calloc((size_t)n + 1, sizeof *x), *y = mn_calloc((size_t)n + 1, sizeof *y);
        err = read_tensor(a, t->name, n, x);
        if (err == MN_OK) err = read_tensor(b, t->name, n, y);
        for (int64_t k = 0; k < n && err == MN_OK; k++) {
            apart += pow((double)x[k] - (double)y[k], 2);
            size += pow(y[k], 2);
        }
        free(x);
        free(y);
    }
    *out = sqrt(apart / size);
    return err;
}

static int weights(const char *a, const char *b, int moved, double limit)
{
    nn_safetensors *x = NULL, *y = NULL;
    double off = 0;
    mn_err err;
    MN_TRY_OUT(err, nn_safetensors_open(&x, a));
    MN_TRY_OUT(err, nn_safetensors_open(&y, b));
    MN_TRY_OUT(err, distance(x, y, !moved, &off));
out:
    nn_safetensors_close(x);
    nn_safetensors_close(y);
    if (err != MN_OK) {
        fprintf(stderr, "judge: %s\n", mn_errmsg());
        return BROKEN;
    }
    printf("weights: %.3g apart (%s %.3g)\n", off, moved ? "at least" : "at most", limit);
    return (moved ? off >= limit : off <= limit) ? HOLDS : FAILS;
}

static int flip(const char *path, long long bit)
{
    struct stat st;
    unsigned char byte;
    int fd = open(path, O_RDWR | O_CLOEXEC), done = 0;
    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
        off_t at = (off_t)(bit / 8 % st.st_size);
        if (pread(fd, &byte, 1, at) == 1) {
            byte ^= (unsigned char)(1 << bit % 8);
            done = pwrite(fd, &byte, 1, at) == 1;
        }
    }
    if (!done) perror(path);
    if (fd >= 0) close(fd);
    return done ? HOLDS : BROKEN;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "losses") == 0 && argc == 6)
        return losses(argv[2], argv[3], strtoll(argv[4], NULL, 10), strtod(argv[5], NULL));
    if (strcmp(what, "weights") == 0 && argc == 5) return weights(argv[2], argv[3], 0, strtod(argv[4], NULL));
    if (strcmp(what, "moved") == 0 && argc == 5) return weights(argv[2], argv[3], 1, strtod(argv[4], NULL));
    if (strcmp(what, "flip") == 0 && argc == 4) return flip(argv[2], strtoll(argv[3], NULL, 10));
    fprintf(stderr, "judge: see the head of its source\n");
    return BROKEN;
}
