#include "data/synth/affect.h"

#include "nn/base/rng.h"

#include <math.h>
#include <string.h>

// How strongly each expression uses each drive; after EMFACS, exaggerated for small pictures. "Other" is a crooked,
// pressed mouth under one raised brow.
static const float table[DATA_EXPRESSIONS][DATA__DRIVES] = {
    // 1    2     4     6     7     10    12    15    23    24    25    26    5     9     17    20    skew
    {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},                      // Neutral
    {0, 0, 1, 0, .85f, .35f, 0, 0, .95f, .60f, 0, 0, .30f, 0, .30f, 0, 0},    // Anger
    {0, 0, .60f, .60f, .60f, 1, 0, .65f, 0, 0, .35f, 0, 0, 1, .50f, 0, 0},    // Disgust
    {.80f, .75f, .60f, 0, 0, 0, 0, 0, 0, 0, .85f, .65f, .90f, 0, 0, .90f, 0}, // Fear
    {0, 0, 0, 1, .45f, 0, 1, 0, 0, 0, .80f, 0, 0, 0, 0, 0, 0},                // Happiness
    {.95f, 0, .55f, 0, 0, 0, 0, .95f, 0, .35f, 0, 0, 0, 0, .60f, 0, 0},       // Sadness
    {.90f, .95f, 0, 0, 0, 0, 0, 0, 0, 0, .95f, .95f, .90f, 0, 0, 0, 0},       // Surprise
    {0, .60f, 0, 0, 0, 0, .62f, 0, .62f, .90f, 0, 0, 0, 0, .40f, 0, 1},       // Other
};

// Valence and arousal of each expression at full intensity. Arousal is mostly its own process, so that the face, which
// shows the expression, says little about it.
static const double centroid[DATA_EXPRESSIONS][2] = {{0, 0},     {-.45, .20},  {-.45, .05}, {-.40, .25},
                                                     {.55, .15}, {-.45, -.25}, {.10, .25},  {.10, -.10}};

// Threshold of each action unit's own events on N(0, 1) noise: rare for what expressions use often.
static const double event_threshold[DATA_AUS] = {2.6, 2.2, 2.2, 1.8, 2.0, 1.6, 1.8, 1.8, 1.9, 1.9, 2.4, 1.8};

enum { // channels of the smooth noise
    OWN = 0,
    FACE_NOISE = 2,
    VOICE_NOISE = 4,
    EVENT = 8,
    AU_NOISE = 24
};

static const double segment_s = 1.6; // mean length of an expression
static const double ramp_s = 0.20;   // fading in and out
static const double knot_s = 0.85;   // knots of the own processes: their correlation falls to 1/e at 1 s
static const double event_knot_s = 0.5;
static const double au_noise = 0.06;

// Sum of four uniforms: close to normal, bounded by 3.5, and free of library functions whose last bit varies.
static double normal(mn_rng4 u)
{
    double sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (double)mn_uniform(u.v[i]);
    return (sum - 2) * 1.7320508075688772;
}

// A cubic B-spline through random knots, divided by the deviation that its weights leave at this phase.
double data__smooth(uint64_t key, uint64_t row, uint32_t channel, double x)
{
    double knot = floor(x), f = x - knot, g = 1 - f;
    double w[4] = {g * g * g / 6, (4 - 6 * f * f + 3 * f * f * f) / 6, (4 - 6 * g * g + 3 * g * g * g) / 6,
                   f * f * f / 6};
    double sum = 0, power = 0;
    for (int i = 0; i < 4; i++) {
        uint64_t tick = (uint64_t)((int64_t)knot + i + (1 << 20)); // x may be a little below 0
        sum += w[i] * normal(mn_rng_block(key, row, tick, channel));
        power += w[i] * w[i];
    }
    return sum / sqrt(power);
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double smoothstep(double x)
{
    x = clamp(x, 0, 1);
    return x * x * (3 - 2 * x);
}

typedef struct segment {
    int expr;
    double intensity; // at the moment asked for
    float style[DATA__DRIVES];
} segment;

static void segment_style(mn_stream_rng *r, segment *s)
{
    for (int k = 0; k < DATA__DRIVES; k++)
        s->style[k] = 0.75f + 0.45f * mn_rng_uniform(r);
}

static uint64_t segment_key(uint64_t key)
{
    return key ^ 0x5e67u; // apart from the noise of the same row
}

// Where segment k begins: a regular grid, shaken.
static double segment_start(uint64_t key, uint64_t row, int64_t k)
{
    mn_rng4 u = mn_rng_block(segment_key(key), row, (uint64_t)(k + 4), 0);
    return ((double)k + 0.6 * ((double)mn_uniform(u.v[0]) - 0.5)) * segment_s;
}

static void segment_at(uint64_t key, uint64_t row, double t, segment *out)
{
    int64_t k = (int64_t)floor(t / segment_s);
    if (t < segment_start(key, row, k))
        k--;
    else if (t >= segment_start(key, row, k + 1))
        k++;
    double from = segment_start(key, row, k), to = segment_start(key, row, k + 1);
    // Segment k of eight neighbouring rows: a random order of the eight expressions.
    mn_rng4 deal = mn_rng_block(segment_key(key), row / DATA_EXPRESSIONS, (uint64_t)(k + 4), 1);
    uint64_t deck = (uint64_t)deal.v[0] << 32 | deal.v[1];
    out->expr = (int)mn_rng_permute(deck, DATA_EXPRESSIONS, (int64_t)(row % DATA_EXPRESSIONS));
    mn_stream_rng r = mn_rng_open(segment_key(key) + 1, row, (uint64_t)(k + 4));
    double peak = mn_rng_range(&r, 0.75, 1.0);
    segment_style(&r, out);
    out->intensity = peak * smoothstep((t - from) / ramp_s) * smoothstep((to - t) / ramp_s);
}

// Everything that follows from segment, own processes, events and noises.
static void compose(const segment *s, const double own[2], const double noise[4], const double event[DATA_AUS],
                    const double shake[DATA__DRIVES + 1], data__affect *out)
{
    *out = (data__affect){.shown_expr = s->expr, .intensity = s->intensity};
    out->seen = s->intensity + au_noise * shake[DATA__DRIVES];
    out->expr = s->intensity >= DATA__EXPR_THRESHOLD ? s->expr : 0;
    for (int k = 0; k < 2; k++)
        out->centroid[k] = centroid[s->expr][k] * s->intensity;
    out->valence = clamp(out->centroid[0] + own[0], -1, 1);
    out->arousal = clamp(out->centroid[1] + own[1], -1, 1);
    out->face_own[0] = own[0] + DATA__FACE_NOISE_VALENCE * noise[0];
    out->face_own[1] = own[1] + DATA__FACE_NOISE_AROUSAL * noise[1];
    out->voice[0] = out->centroid[0] + own[0] + DATA__VOICE_NOISE_VALENCE * noise[2];
    out->voice[1] = out->centroid[1] + own[1] + DATA__VOICE_NOISE_AROUSAL * noise[3];
    for (int k = 0; k < DATA__DRIVES; k++) {
        double u = s->intensity * (double)(table[s->expr][k] * s->style[k]);
        if (k < DATA_AUS && event[k] > u) u = event[k];
        if (k < DATA_AUS) out->au[k] = (float)clamp(u, 0, 1);
        out->face[k] = (float)clamp(u + au_noise * shake[k], 0, 1.1);
    }
}

void data__affect_at(uint64_t key, uint64_t row, double t, data__affect *out)
{
    segment s;
    double own[2], noise[4], event[DATA_AUS], shake[DATA__DRIVES + 1];
    segment_at(key, row, t, &s);
    own[0] = DATA__OWN_VALENCE * data__smooth(key, row, OWN, t / knot_s);
    own[1] = DATA__OWN_AROUSAL * data__smooth(key, row, OWN + 1, t / knot_s);
    for (uint32_t k = 0; k < 2; k++) {
        noise[k] = data__smooth(key, row, FACE_NOISE + k, t / knot_s);
        noise[2 + k] = data__smooth(key, row, VOICE_NOISE + k, t / knot_s);
    }
    for (uint32_t k = 0; k < DATA_AUS; k++) {
        double x = data__smooth(key, row, EVENT + k, t / event_knot_s);
        event[k] = 0.95 * smoothstep((x - event_threshold[k]) / 0.5 + 0.5);
    }
    for (uint32_t k = 0; k <= DATA__DRIVES; k++)
        shake[k] = data__smooth(key, row, AU_NOISE + k, t / knot_s);
    compose(&s, own, noise, event, shake, out);
}

void data__affect_still(uint64_t key, uint64_t row, int expr, data__affect *out)
{
    mn_stream_rng r = mn_rng_open(key, row, 0);
    segment s = {.expr = expr, .intensity = mn_rng_range(&r, 0.6, 1.0)};
    double own[2], noise[4], event[DATA_AUS], shake[DATA__DRIVES + 1];
    segment_style(&r, &s);
    own[0] = DATA__OWN_VALENCE * (double)mn_rng_normal(&r);
    own[1] = DATA__OWN_AROUSAL * (double)mn_rng_normal(&r);
    for (int k = 0; k < 4; k++)
        noise[k] = (double)mn_rng_normal(&r);
    for (int k = 0; k < DATA_AUS; k++)
        event[k] = 0.95 * smoothstep(((double)mn_rng_normal(&r) - event_threshold[k]) / 0.5 + 0.5);
    for (int k = 0; k <= DATA__DRIVES; k++)
        shake[k] = (double)mn_rng_normal(&r);
    compose(&s, own, noise, event, shake, out);
}

// Gaussian posterior means. With the face, the expression and so the centroid are known and the own part is estimated;
// with the voice alone the whole is, against the spread of the whole.
void data__affect_best(const data__affect *a, unsigned use, double va[2])
{
    static const double own[2] = {DATA__OWN_VALENCE, DATA__OWN_AROUSAL};
    static const double face[2] = {DATA__FACE_NOISE_VALENCE, DATA__FACE_NOISE_AROUSAL};
    static const double voice[2] = {DATA__VOICE_NOISE_VALENCE, DATA__VOICE_NOISE_AROUSAL};
    static const double share = 0.6; // mean square of the intensity
    for (int k = 0; k < 2; k++) {
        double mean = 0, spread = 0;
        for (int e = 0; e < DATA_EXPRESSIONS; e++) {
            mean += centroid[e][k] * 0.75 / DATA_EXPRESSIONS;
            spread += centroid[e][k] * centroid[e][k] * share / DATA_EXPRESSIONS;
        }
        spread += own[k] * own[k] - mean * mean;
        double at = mean, precision = 1 / spread;
        if (use & 1) {
            double own_precision = 1 / (own[k] * own[k]), seen = 1 / (face[k] * face[k]);
            precision = own_precision + seen;
            at = a->centroid[k] + a->face_own[k] * seen / precision;
        }
        if (use & 2) {
            double seen = 1 / (voice[k] * voice[k]);
            at += (a->voice[k] - at) * seen / (precision + seen);
        }
        va[k] = clamp(at, -1, 1);
    }
}
