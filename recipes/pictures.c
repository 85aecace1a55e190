#include "recipes/pictures.h"

#include "nn/base/log.h"
#include "nn/base/mem.h"
#include "recipes/sampling.h"

#include <stdlib.h>
#include <string.h>

data_augment mien_augment_config(const mien_augment *o, int64_t size, int train)
{
    data_augment a = data_augment_simmim((int)size, train);
    a.scale[0] = o->scale_min;
    a.scale[1] = o->scale_min < 1 ? 1 : 0;
    a.flip = o->flip;
    a.brightness = a.contrast = a.saturation = o->jitter;
    a.hue = o->hue;
    int affine = o->rotate > 0 || o->translate > 0 || o->shear > 0 || o->zoom_min != 1 || o->zoom_max != 1;
    a.affine = (data_affine){.probability = affine ? o->affine : 0,
                             .degrees = o->rotate,
                             .translate = o->translate,
                             .zoom = {o->zoom_min, o->zoom_max},
                             .shear = o->shear};
    a.rand = (data_rand){(int)o->rand_layers, o->rand_magnitude, o->rand_std, o->rand_probability};
    a.erase = (data_erase){o->erase, (data_erase_fill)o->erase_fill};
    a.centre = o->centre;
    a.filter = o->cubic ? DATA_BICUBIC : DATA_BILINEAR;
    return a;
}

int mien_is_mine(const mien_job *j, int64_t number, const char *name)
{
    if (j->skip && j->skip(j->skip_context, name)) return 0;
    return !j->comm || number % dist_world(j->comm) == dist_rank(j->comm);
}

static int keep_video(void *job, int64_t number, const data_video *video)
{
    return mien_is_mine(job, number, video->name);
}

const char *mien_split(const char *name)
{
    return name && strcmp(name, "all") == 0 ? NULL : name;
}

static mn_err open_part(mien_job *j, mien_use use, const char *split, const mien_part *part, const data_frames_cfg *cfg,
                        data_set **out)
{
    data_frames_cfg one = *cfg;
    char *dir = mien_data_path(j, part->set);
    one.select.dir = dir;
    one.select.split = split ? split : part->split;
    one.select.columns = use == MIEN_USE_TRAIN ? mien_sampling_columns(j) : 0;
    one.select.invalid = j->common.data_invalid == MIEN_INVALID_COLUMN ? DATA_INVALID_COLUMN : DATA_INVALID_FRAME;
    one.select.stride = use == MIEN_USE_TRAIN   ? j->common.data_stride
                        : use == MIEN_USE_SCORE ? j->common.eval_stride
                                                : 1;
    if (use == MIEN_USE_FRAMES || use == MIEN_USE_TRACKS) {
        one.select.labelled = 0;
        one.select.split = mien_split(one.select.split);
        one.select.keep = keep_video;
        one.select.context = j;
    }
    mn_err err = data_frames_open(out, &one);
    if (err == MN_OK && use <= MIEN_USE_SCORE && (!j->comm || dist_rank(j->comm) == 0))
        mn_info("%s, split %s: %s", part->set, one.select.split ? one.select.split : "all",
                data_selection_text(data_frames_selection(*out)));
    free(dir);
    return err;
}

mn_err mien_open_pictures(mien_job *j, mien_use use, const char *split, const data_frames_cfg *cfg, data_set **out)
{
    const mien_part *part = j->common.data.v;
    if (j->common.data.n == 0) return mn_recipe_fail(j->recipe, "data", "names no dataset");
    if (j->common.data.n == 1 || use != MIEN_USE_TRAIN) return open_part(j, use, split, part, cfg, out);
    int n = (int)j->common.data.n;
    data_set **sets = mn_calloc((size_t)n, sizeof *sets);
    double *weights = mn_calloc((size_t)n, sizeof *weights);
    mn_err err = MN_OK;
    int opened = 0;
    for (; opened < n && err == MN_OK; opened++) {
        weights[opened] = part[opened].weight;
        err = open_part(j, use, split, &part[opened], cfg, &sets[opened]);
    }
    if (err == MN_OK)
        err = data_mix_open(out, sets, weights, n);
    else
        for (int i = 0; i < opened - 1; i++)
            data_set_close(sets[i]);
    free(sets);
    free(weights);
    return err;
}

int32_t *mien_number_videos(const data_selection *s, int64_t *videos)
{
    int64_t n = data_selection_count(s);
    int32_t *number = mn_calloc((size_t)n + 1, sizeof *number);
    const data_video *last = NULL;
    *videos = 0;
    for (int64_t i = 0; i < n; i++) {
        data_frame f;
        data_selection_at(s, i, &f);
        if (i == 0 || f.video != last) ++*videos;
        last = f.video;
        number[i] = (int32_t)(*videos - 1);
    }
    return number;
}
