// SimMIM pre-training: pictures with 60 % of their cells masked in, the masked pixels out, L1.
#include "recipes/simmim/picture.h"

#include "data/frames.h"
#include "nn/base/mem.h"
#include "recipes/options.h"
#include "recipes/pictures.h"
#include "recipes/recipe.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct conf {
    mien_swin swin;
    mien_augment augment;
    double mask_ratio;
    int64_t mask_size, pictures;
    nn_swin_cfg net; // from the options
    // While a set is scored: sums over its rows.
    double loss, weight, guess;
    int64_t shown;
} conf;

static const mn_option options[] = {
    MIEN_SWIN_OPTIONS(conf, swin),
    MIEN_AUGMENT_OPTIONS(conf, augment, "0.67"),
    MN_OPT_FLOAT(conf, mask_ratio, "mask.ratio", "0.6", 0, 1, MN_ABOVE_LO | MN_BELOW_HI,
                 "share of the cells that is masked"),
    MN_OPT_INT(conf, mask_size, "mask.size", "32", 1, 1024, 0, "side of a cell in pixels"),
    MN_OPT_INT(conf, pictures, "eval.pictures", "8", 0, 64, MN_FREE,
               "faces in reconstructions.png of the run: masked, reconstructed, original"),
    {0},
};

static mn_err check(mien_job *j)
{
    conf *c = j->conf;
    MN_TRY(mien_swin_config(j->recipe, &c->swin, &c->net));
    if (c->mask_size % c->net.patch != 0 || c->net.image % c->mask_size != 0)
        return mn_recipe_fail(j->recipe, "mask.size",
                              "%lld must be a multiple of model.patch (%lld) and divide model.image (%lld)",
                              (long long)c->mask_size, (long long)c->net.patch, (long long)c->net.image);
    return MN_OK;
}

static mn_err open_set(mien_job *j, mien_use use, const char *split, data_set **out)
{
    const conf *c = j->conf;
    data_frames_cfg cfg = {.select = {.task = DATA_TASKS},
                           .augment = mien_augment_config(&c->augment, c->net.image, use == MIEN_USE_TRAIN),
                           .mask_cells = (int)(c->net.image / c->mask_size),
                           .mask_tokens = (int)(c->mask_size / c->net.patch),
                           .mask_ratio = c->mask_ratio};
    return mien_open_pictures(j, use, split, &cfg, out);
}

static nn_tensor *build(void *job, nn_graph *g, const data_set *set, int64_t rows)
{
    const mien_job *j = job;
    const conf *c = j->conf;
    nn_tensor *image = dist_input(g, set, rows, "image"), *mask = dist_input(g, set, rows, "mask");
    nn_tensor *weight = dist_input(g, set, rows, "weight");
    nn_tensor *pred = nn_simmim_decoder(g, &c->net, nn_swin(g, &c->net, image, mask));
    nn_tensor *loss = nn_l1_loss(g, pred, image, mask, weight, nn_swin_stride(&c->net), c->net.patch);
    nn_output(g, "pred", pred);
    if (nn_graph_mode(g) == NN_EVAL) nn_output(g, "loss", loss);
    return loss;
}

static mn_err score_begin(void *job)
{
    conf *c = ((mien_job *)job)->conf;
    c->loss = c->weight = c->guess = 0;
    c->shown = 0;
    return MN_OK;
}

// What the mean colour of the visible pixels would score on the masked ones: the least a network has to beat.
static double guess_of(const conf *c, const float *image, const uint8_t *mask)
{
    int64_t side = c->net.image, across = side / c->net.patch, masked = 0;
    double mean[3] = {0}, visible = 0, error = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t y = 0; y < side; y++)
            for (int64_t x = 0; x < side; x++) {
                const float *p = image + (y * side + x) * 3;
                int m = mask[y / c->net.patch * across + x / c->net.patch];
                if (pass == 0 && !m) visible++;
                for (int k = 0; k < 3; k++) {
                    if (pass == 0 && !m) mean[k] += p[k];
                    if (pass == 1 && m) error += fabs(p[k] - mean[k] / visible);
                }
                masked += pass == 1 && m;
            }
    return error / (double)masked / 3;
}

static mn_err score_add(void *job, nn_graph *g, const data_batch *b)
{
    mien_job *j = job;
    conf *c = j->conf;
    const float *image = nn_graph_buffer(g, "image", NULL, NULL);
    const uint8_t *mask = nn_graph_buffer(g, "mask", NULL, NULL);
    int64_t pixels = c->net.image * c->net.image * 3,
            tokens = (c->net.image / c->net.patch) * (c->net.image / c->net.patch);
    // The loss is that of the global batch, the same on every rank: the first rank counts it.
    if (!j->comm || dist_rank(j->comm) == 0) {
        c->loss += *(const double *)nn_graph_buffer(g, "loss", NULL, NULL) * (double)b->global_rows;
        c->weight += (double)b->global_rows;
    }
    for (int64_t r = 0; r < b->rows; r++)
        c->guess += guess_of(c, image + r * pixels, mask + r * tokens);
    if (c->shown > 0 || c->pictures == 0 || !j->training || dist_rank(j->comm) > 0) return MN_OK;
    c->shown = 1;
    char *path = mn_sprintf("%s/%s/reconstructions.png", j->common.runs_dir, j->common.run);
    mn_err err = mien_simmim_picture(g, c->pictures < b->rows ? c->pictures : b->rows, nn_swin_stride(&c->net),
                                     c->net.patch, path);
    free(path);
    return err;
}

static mn_err score_end(void *job, dist_comm *comm, dist_score *out)
{
    conf *c = ((mien_job *)job)->conf;
    double sums[3] = {c->loss, c->weight, c->guess};
    if (comm) MN_TRY(dist_host_sum(comm, sums, 3));
    out->loss = sums[0] / sums[1];
    out->select = -out->loss;
    out->name = "loss";
    double guess = sums[2] / sums[1];
    snprintf(out->json, sizeof out->json, "\"mean_colour_loss\":%.9g,\"over_mean_colour\":%.4f", guess,
             out->loss / guess);
    return MN_OK;
}

static const data_selection *selection(const mien_job *j, const data_set *set)
{
    (void)j;
    return data_frames_selection(set);
}

const mien_task mien_task_simmim = {.name = "simmim",
                                    .selection = selection,
                                    .options = options,
                                    .conf_bytes = sizeof(conf),
                                    .check = check,
                                    .open = open_set,
                                    .build = build,
                                    .score_begin = score_begin,
                                    .score_add = score_add,
                                    .score_end = score_end};
