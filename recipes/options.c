#include "recipes/options.h"

const char *const mien_erase_fills[] = {"pixels", "colour", "mean", NULL};

mn_err mien_swin_config(const mn_recipe *r, const mien_swin *o, nn_swin_cfg *cfg)
{
    int64_t most = sizeof cfg->depths / sizeof *cfg->depths;
    if (o->depths.n < 1 || o->depths.n > most)
        return mn_recipe_fail(r, "model.depths", "%lld stages; there can be 1 to %lld", (long long)o->depths.n,
                              (long long)most);
    if (o->heads.n != o->depths.n)
        return mn_recipe_fail(r, "model.heads", "%lld numbers for the %lld stages of model.depths",
                              (long long)o->heads.n, (long long)o->depths.n);
    *cfg = (nn_swin_cfg){.image = o->image,
                         .patch = o->patch,
                         .window = o->window,
                         .embed = o->embed,
                         .stages = (int)o->depths.n,
                         .mlp_ratio = o->mlp_ratio,
                         .drop_path = o->drop_path};
    for (int64_t i = 0; i < o->depths.n; i++) {
        cfg->depths[i] = o->depths.v[i];
        cfg->heads[i] = o->heads.v[i];
    }
    if (nn_swin_check(cfg) != MN_OK) return mn_recipe_fail(r, "model.image", "%s", mn_errmsg());
    return MN_OK;
}
