// What each op computes, element by element from its definition in nn/ops.h. (Gradients: ops_test.c, which proves that
// an op and its backward agree, not that the op is the right one.)
#include "golden_support.h"

#include "nn/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { B = 2, T = 24, C = 6, HEIGHT = 4, WIDTH = 6 };

// Inputs: x and h (B, T, C) in the compute type, weight f32 and mask u8 (B, T), image f32 (B, HEIGHT, WIDTH, C).
static double x(int64_t i)
{
    return (double)golden_value("input.x", MN_SHAPE(1), i);
}
static double h(int64_t i)
{
    return (double)golden_value("input.h", MN_SHAPE(1), i);
}
static double weight(int64_t token)
{
    return token % 3 == 1 ? 0 : (double)golden_value("input.weight", MN_SHAPE(1), token);
}
static int masked(int64_t token)
{
    return token % 7 == 2;
}
static double param(const char *name, int64_t n, int64_t i)
{
    return (double)golden_value(name, MN_SHAPE(n), i);
}
static double gain(int64_t i)
{
    return param("norm.weight", C, i);
}
static double bias(int64_t i)
{
    return param("norm.bias", C, i);
}

typedef struct inputs {
    nn_tensor *x, *h, *weight, *mask, *image;
} inputs;

static double positive_weight(int64_t token)
{
    return fabs(weight(token));
}

// --- definitions -----------------------------------------------------------------------------------------------------

static nn_tensor *build_layernorm(nn_graph *g, inputs in)
{
    return nn_layernorm(g, in.x, 1e-5f, "norm");
}
static double normal(double (*v)(int64_t), int64_t row, int64_t k)
{
    double mean = 0, var = 0;
    for (int64_t j = 0; j < C; j++)
        mean += v(row * C + j) / C;
    for (int64_t j = 0; j < C; j++)
        var += (v(row * C + j) - mean) * (v(row * C + j) - mean) / C;
    return (v(row * C + k) - mean) / sqrt(var + 1e-5) * gain(k) + bias(k);
}
static double layernorm(int64_t i)
{
    return normal(x, i / C, i % C);
}

static nn_tensor *build_residual(nn_graph *g, inputs in)
{
    return nn_residual(g, in.x, in.h, 0, "residual");
}
static double sum_of_both(int64_t i)
{
    return x(i) + h(i);
}

static nn_tensor *build_residual_layernorm(nn_graph *g, inputs in)
{
    nn_tensor *sum;
    return nn_residual_layernorm(g, in.x, in.h, 0, 1e-5f, &sum, "norm");
}
static double residual_layernorm(int64_t i)
{
    return normal(sum_of_both, i / C, i % C);
}

static nn_tensor *build_add(nn_graph *g, inputs in)
{
    return nn_add(g, in.x, 0.7f, in.h, -0.3f);
}
static double add(int64_t i)
{
    return 0.7 * x(i) - 0.3 * h(i);
}

static nn_tensor *build_gelu(nn_graph *g, inputs in)
{
    return nn_gelu(g, in.x);
}
static double gelu(int64_t i)
{
    return 0.5 * x(i) * erfc(-x(i) * M_SQRT1_2);
}

static nn_tensor *build_tanh(nn_graph *g, inputs in)
{
    return nn_tanh(g, in.x);
}
static double tanh_x(int64_t i)
{
    return tanh(x(i));
}

static nn_tensor *build_concat(nn_graph *g, inputs in)
{
    return nn_concat(g, in.x, in.h);
}
static double concat(int64_t i)
{
    int64_t row = i / (2 * C), k = i % (2 * C);
    return k < C ? x(row * C + k) : h(row * C + k - C);
}

static nn_tensor *build_patchify(nn_graph *g, inputs in)
{
    return nn_patchify(g, in.image, 2);
}
// (b, patch row, patch column, channel, i, j)
static double patchify(int64_t k)
{
    int64_t j = k % 2, i = k / 2 % 2, channel = k / 4 % C, px = k / (4 * C) % (WIDTH / 2);
    int64_t py = k / (4 * C * (WIDTH / 2)) % (HEIGHT / 2), b = k / (HEIGHT * WIDTH * C);
    return x(((b * HEIGHT + 2 * py + i) * WIDTH + 2 * px + j) * C + channel);
}

static nn_tensor *build_patch_merge(nn_graph *g, inputs in)
{
    return nn_patch_merge(g, in.x, HEIGHT, WIDTH);
}
static double patch_merge(int64_t k)
{
    static const int row[] = {0, 1, 0, 1}, column[] = {0, 0, 1, 1};
    int64_t channel = k % C, quarter = k / C % 4, mx = k / (4 * C) % (WIDTH / 2);
    int64_t my = k / (4 * C * (WIDTH / 2)) % (HEIGHT / 2), b = k / (HEIGHT * WIDTH * C);
    return x((b * T + (2 * my + row[quarter]) * WIDTH + 2 * mx + column[quarter]) * C + channel);
}

static nn_tensor *build_mask_blend(nn_graph *g, inputs in)
{
    return nn_mask_blend(g, in.x, in.mask, "mask_token");
}
static double mask_blend(int64_t i)
{
    return masked(i / C) ? (double)golden_value("mask_token", MN_SHAPE(1, 1, C), i % C) : x(i);
}

static nn_tensor *build_token_mean(nn_graph *g, inputs in)
{
    return nn_token_mean(g, in.x, NULL);
}
static double token_mean(int64_t i)
{
    double sum = 0;
    for (int64_t t = 0; t < T; t++)
        sum += x((i / C * T + t) * C + i % C);
    return sum / T;
}

static nn_tensor *build_token_mean_weighted(nn_graph *g, inputs in)
{
    return nn_token_mean(g, in.x, in.weight);
}
static double token_mean_weighted(int64_t i)
{
    double sum = 0, total = 0;
    for (int64_t t = i / C * T; t < i / C * T + T; t++) {
        sum += positive_weight(t) * x(t * C + i % C);
        total += positive_weight(t);
    }
    return sum / total;
}

static nn_tensor *build_position(nn_graph *g, inputs in)
{
    return nn_position(g, in.x);
}
static double position(int64_t i)
{
    int64_t t = i / C % T, k = i % C;
    double angle = (double)t * pow(10000, -2.0 * (double)(k / 2) / C);
    return x(i) + (k % 2 ? cos(angle) : sin(angle));
}

static nn_tensor *build_channel_norm(nn_graph *g, inputs in)
{
    return nn_channel_norm(g, in.x, 1e-5f, "norm");
}
static double channel_norm(int64_t i)
{
    int64_t b = i / (T * C), k = i % C;
    double mean = 0, var = 0;
    for (int64_t t = 0; t < T; t++)
        mean += x((b * T + t) * C + k) / T;
    for (int64_t t = 0; t < T; t++)
        var += pow(x((b * T + t) * C + k) - mean, 2) / T;
    return (x(i) - mean) / sqrt(var + 1e-5) * gain(k) + bias(k);
}

static nn_tensor *build_row_scale(nn_graph *g, inputs in)
{
    return nn_row_scale(g, in.x, in.weight);
}
static double row_scale(int64_t i)
{
    return x(i) * positive_weight(i / C);
}

static const struct {
    const char *name;
    nn_tensor *(*build)(nn_graph *g, inputs in);
    double (*want)(int64_t i);
    int exact;  // moves values only
    int absent; // tokens of weight 0 are not read
} table[] = {
    {"layernorm", build_layernorm, layernorm, 0, 0},
    {"residual", build_residual, sum_of_both, 0, 0},
    {"residual_layernorm", build_residual_layernorm, residual_layernorm, 0, 0},
    {"add", build_add, add, 0, 0},
    {"gelu", build_gelu, gelu, 0, 0},
    {"tanh", build_tanh, tanh_x, 0, 0},
    {"concat", build_concat, concat, 1, 0},
    {"patchify", build_patchify, patchify, 1, 0},
    {"patch_merge", build_patch_merge, patch_merge, 1, 0},
    {"mask_blend", build_mask_blend, mask_blend, 1, 0},
    {"token_mean", build_token_mean, token_mean, 0, 0},
    {"token_mean, weighted", build_token_mean_weighted, token_mean_weighted, 0, 1},
    {"position", build_position, position, 0, 0},
    {"channel_norm", build_channel_norm, channel_norm, 0, 0},
    {"row_scale", build_row_scale, row_scale, 0, 1},
};

// --- running ---------------------------------------------------------------------------------------------------------

static void put(nn_graph *g, const char *name, double (*value)(int64_t i), int absent)
{
    mn_shape s;
    mn_dtype t;
    void *to = nn_graph_buffer(g, name, &s, &t);
    for (int64_t i = 0; to && i < mn_count(s); i++) {
        float v = absent && weight(i / C) == 0 ? NAN : (float)value(i);
        if (t == MN_BF16)
            ((mn_bf16 *)to)[i] = mn_f32_to_bf16(v);
        else
            ((float *)to)[i] = v;
    }
}

static void check(size_t k, mn_dtype dtype)
{
    nn_params *ps = nn_params_new(1);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = dtype, .seed = 1});
    inputs in = {.x = nn_input(g, "x", dtype, MN_SHAPE(B, T, C)),
                 .h = nn_input(g, "h", dtype, MN_SHAPE(B, T, C)),
                 .weight = nn_input(g, "weight", MN_F32, MN_SHAPE(B, T)),
                 .mask = nn_input(g, "mask", MN_U8, MN_SHAPE(B, T)),
                 .image = nn_input(g, "image", MN_F32, MN_SHAPE(B, HEIGHT, WIDTH, C))};
    nn_output(g, "y", table[k].build(g, in));
    cr_assert_eq(nn_params_layout(ps, g, &(nn_layout_cfg){.dtype = dtype}), MN_OK, "%s", mn_errmsg());
    golden_fill(ps);
    cr_assert_eq(nn_graph_plan(g, NULL), MN_OK, "%s: %s", table[k].name, mn_errmsg());
    nn_graph_poison(g, 1);
    put(g, "x", x, table[k].absent);
    put(g, "h", h, 0);
    put(g, "weight", positive_weight, 0);
    put(g, "image", x, 0);
    unsigned char *mask = nn_graph_buffer(g, "mask", NULL, NULL);
    for (int64_t i = 0; mask && i < B * T; i++)
        mask[i] = (unsigned char)masked(i);
    cr_assert_eq(nn_graph_run(g, &(nn_tick){.rows = B}), MN_OK, "%s", mn_errmsg());

    mn_shape s;
    mn_dtype t;
    const void *y = nn_graph_buffer(g, "y", &s, &t);
    double tol = dtype == MN_BF16 ? (table[k].exact ? 0.004 : 0.015) : (table[k].exact ? 0 : 2e-6);
    cr_expect_eq(t, dtype, "%s", table[k].name);
    for (int64_t i = 0; i < mn_count(s); i++) {
        double have =
            dtype == MN_BF16 ? (double)mn_bf16_to_f32(((const mn_bf16 *)y)[i]) : (double)((const float *)y)[i];
        double want = table[k].want(i);
        cr_assert(fabs(have - want) <= tol * (1 + fabs(want)), "%s %s[%d]: %g, want %g", table[k].name,
                  mn_dtype_name(dtype), (int)i, have, want);
    }
    nn_graph_free(g);
    nn_params_free(ps);
}

Test(values, follow_the_definitions)
{
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        check(k, MN_F32);
        check(k, MN_BF16);
    }
}

// --- refusals: sticky in the graph, with the path and the shapes -----------------------------------------------------

static void expect_refused(nn_tensor *(*build)(nn_graph *g, inputs in), mn_shape shape, const char *text)
{
    nn_params *ps = nn_params_new(1);
    nn_graph *g = nn_graph_new(ps, &(nn_graph_cfg){.mode = NN_TRAIN, .dtype = MN_F32});
    inputs in = {.x = nn_input(g, "x", MN_F32, shape),
                 .h = nn_input(g, "h", MN_F32, MN_SHAPE(B, T, C + 1)),
                 .weight = nn_input(g, "weight", MN_F32, MN_SHAPE(B, T + 1)),
                 .mask = nn_input(g, "mask", MN_U8, MN_SHAPE(B, T + 1)),
                 .image = nn_input(g, "image", MN_F32, MN_SHAPE(B, HEIGHT, WIDTH + 1, C))};
    nn_scope_push(g, "here");
    nn_tensor *y = build(g, in);
    nn_scope_pop(g);
    cr_expect_not_null(y);
    cr_expect_eq(nn_graph_plan(g, NULL), MN_ECONFIG, "%s", text);
    cr_expect(strstr(mn_errmsg(), text) && strstr(mn_errmsg(), "here."), "'%s' lacks '%s'", mn_errmsg(), text);
    nn_graph_free(g);
    nn_params_free(ps);
}

static nn_tensor *build_certain_drop(nn_graph *g, inputs in)
{
    return nn_dropout(g, in.x, 1, "drop");
}
static nn_tensor *build_ce(nn_graph *g, inputs in)
{
    return nn_ce_loss(g, in.x, in.x, in.weight, &(nn_ce_cfg){0});
}
static nn_tensor *build_l1(nn_graph *g, inputs in)
{
    return nn_l1_loss(g, in.x, in.image, in.mask, NULL, 2, 2);
}

Test(values, wrong_shapes_are_refused_with_the_path)
{
    mn_shape x3 = MN_SHAPE(B, T, C);
    expect_refused(build_residual, x3, "same type and shape");
    expect_refused(build_residual_layernorm, x3, "same type and shape");
    expect_refused(build_add, x3, "same type and shape");
    expect_refused(build_concat, MN_SHAPE(B, T + 1, C), "all but the last");
    expect_refused(build_patchify, x3, "multiples of the patch size 2");
    expect_refused(build_patch_merge, MN_SHAPE(B, T + 1, C), "grid of 4 x 6");
    expect_refused(build_mask_blend, x3, "input 1 must be u8 with 48");
    expect_refused(build_token_mean_weighted, x3, "input 1 must be f32 with 48");
    expect_refused(build_row_scale, x3, "input 1 must be f32 with 48");
    expect_refused(build_position, MN_SHAPE(B, T), "3 dimensions");
    expect_refused(build_channel_norm, MN_SHAPE(B, T), "3 dimensions");
    expect_refused(build_certain_drop, x3, "[0, 1)");
    expect_refused(build_ce, x3, "input 2 must be f32 with 48");
    expect_refused(build_l1, x3, "do not divide");
}
