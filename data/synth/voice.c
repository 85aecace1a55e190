#include "data/synth/voice.h"

#include "nn/base/rng.h"

#include <math.h>

enum { FORMANTS = 3, STEP = DATA__VOICE_RATE / DATA__VOICE_STEPS };

// First three formants of a, e, i, o, u, for an adult man (Peterson and Barney 1952, rounded).
static const float vowels[5][FORMANTS] = {
    {730, 1090, 2440}, {530, 1840, 2480}, {270, 2290, 3010}, {570, 840, 2410}, {300, 870, 2240}};

typedef struct resonator { // y = b x + c y1 + d y2 (Klatt 1980)
    float b, c, d, y1, y2;
} resonator;

typedef struct speaker {
    float pitch, tract, loudness, tilt, tempo, breath, room;
} speaker;

typedef struct voice {
    speaker who;
    mn_stream_rng rng;
    uint32_t noise;
    float phase, syllable; // of the pulse; of the syllable, in cycles
    float envelope, smooth, tilted;
    float stress, vowel[FORMANTS], target[FORMANTS];
    int even; // every other pulse is weaker in a rough voice
    resonator formant[FORMANTS];
} voice;

static speaker draw_speaker(mn_stream_rng *r, const data__person *p)
{
    speaker s;
    s.pitch = p->male ? 95 + 50 * mn_rng_uniform(r) : 165 + 75 * mn_rng_uniform(r);
    s.tract = (p->male ? 1.0f : 1.15f) * (0.94f + 0.12f * mn_rng_uniform(r));
    s.loudness = 0.06f * powf(10, 0.6f * (mn_rng_uniform(r) - 0.5f));
    s.tilt = 0.75f + 0.5f * mn_rng_uniform(r);
    s.tempo = 0.85f + 0.3f * mn_rng_uniform(r);
    s.breath = 0.02f + 0.05f * mn_rng_uniform(r);
    s.room = 0.0008f + 0.003f * mn_rng_uniform(r);
    return s;
}

static float noise(voice *v)
{
    v->noise = v->noise * 1664525u + 1013904223u;
    return (float)(int32_t)v->noise * 0x1p-31f;
}

static void tune(resonator *r, float frequency, float width)
{
    const float t = 1.0f / DATA__VOICE_RATE;
    r->d = -expf(-2 * (float)M_PI * width * t);
    r->c = 2 * expf(-(float)M_PI * width * t) * cosf(2 * (float)M_PI * frequency * t);
    r->b = 1 - r->c - r->d;
}

static float resonate(resonator *r, float x)
{
    float y = r->b * x + r->c * r->y1 + r->d * r->y2;
    r->y2 = r->y1;
    r->y1 = y;
    return y;
}

static float limit(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

static void next_syllable(voice *v)
{
    int64_t k = mn_rng_below(&v->rng, 5);
    for (int i = 0; i < FORMANTS; i++)
        v->target[i] = vowels[k][i];
    // One in eight is silent: a short pause.
    v->stress = mn_rng_below(&v->rng, 8) == 0 ? 0 : 0.7f + 0.5f * mn_rng_uniform(&v->rng);
}

// What stays the same for a hundredth of a second.
typedef struct manner {
    float pitch, gain, lowpass, syllables, rough;
} manner;

static manner set_manner(voice *v, float valence, float arousal)
{
    const speaker *s = &v->who;
    float a = limit(arousal, -1.4f, 1.4f), b = limit(valence, -1.6f, 1.6f);
    float place = v->syllable - floorf(v->syllable) - 0.5f; // in the syllable: the melody rises with valence
    manner m;
    m.pitch = s->pitch * exp2f(0.55f * a + 0.4f * b * place);
    m.gain = s->loudness * powf(10, 0.45f * a);
    m.lowpass = 1 - expf(-2 * (float)M_PI * 700 * s->tilt * exp2f(1.8f * a) / DATA__VOICE_RATE);
    m.syllables = 4.3f * s->tempo * (1 + 0.35f * a);
    m.rough = limit(0.2f + 0.45f * a, 0, 0.8f);
    for (int i = 0; i < FORMANTS; i++) {
        v->vowel[i] += 0.12f * (v->target[i] - v->vowel[i]);
        tune(&v->formant[i], v->vowel[i] * s->tract * (1 + 0.08f * b), 60 + 40 * (float)i);
    }
    return m;
}

static float next_sample(voice *v, const manner *m)
{
    float whole = floorf(v->syllable);
    v->syllable += m->syllables / DATA__VOICE_RATE;
    if (floorf(v->syllable) != whole) next_syllable(v);
    float place = v->syllable - floorf(v->syllable);
    float opening = place < 0.7f ? 4 * place * (0.7f - place) / 0.49f : 0;
    v->envelope += 0.01f * (v->stress * opening - v->envelope);
    float pulse = 0;
    v->phase += m->pitch * (1 + 0.06f * m->rough * noise(v)) / DATA__VOICE_RATE;
    if (v->phase >= 1) {
        v->phase -= 1;
        v->even = !v->even;
        pulse = (v->even ? 1 : 1 - m->rough) * 12;
    }
    v->smooth += m->lowpass * (pulse + v->who.breath * noise(v) - v->smooth);
    v->tilted += m->lowpass * (v->smooth - v->tilted);
    float x = v->tilted * v->envelope;
    for (int i = 0; i < FORMANTS; i++)
        x = resonate(&v->formant[i], x);
    return m->gain * x * 3 + v->who.room * noise(v);
}

void data__voice_make(uint64_t key, uint64_t row, const data__person *p, const float *shown, int64_t steps,
                      int16_t *pcm, int64_t samples)
{
    voice v = {.rng = mn_rng_open(key ^ 0x501ceu, row, 0)};
    v.who = draw_speaker(&v.rng, p);
    v.noise = mn_rng_u32(&v.rng);
    next_syllable(&v);
    for (int i = 0; i < FORMANTS; i++)
        v.vowel[i] = v.target[i];
    for (int64_t done = 0, step = 0; done < samples; step++) {
        int64_t at = step < steps ? step : steps - 1;
        manner m = set_manner(&v, shown[2 * at], shown[2 * at + 1]);
        for (int i = 0; i < STEP && done < samples; i++)
            pcm[done++] = (int16_t)(limit(next_sample(&v, &m), -0.99f, 0.99f) * 32767);
    }
}
