#include "nn/weights_names.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// '#' stands for a number, and in the other name for the same one; '<' (only in ours) for that number less one; '*' at
// the end for whatever follows. The first row that fits is taken, so what is dropped stands above what is kept.
typedef struct rename_row {
    const char *theirs;
    const char *ours; // NULL: the tensor has no place with us
    int part, parts;  // parts > 1: theirs is one of several that we keep as one, rows of the first one first
    const char *drop;
} rename_row;

#define KEEP(theirs, ours)                                                                                             \
    {                                                                                                                  \
        theirs, ours, 0, 1, NULL                                                                                       \
    }
#define PART(theirs, ours, index)                                                                                      \
    {                                                                                                                  \
        theirs, ours, index, 3, NULL                                                                                   \
    }
#define DROP(theirs, why)                                                                                              \
    {                                                                                                                  \
        theirs, NULL, 0, 1, why                                                                                        \
    }
#define END                                                                                                            \
    {                                                                                                                  \
        NULL, NULL, 0, 0, NULL                                                                                         \
    }
#define BUFFER "rebuilt from the sizes"
#define OTHER_HEAD "a head for another task"
#define NOT_ENCODER "not part of the encoder"

static const rename_row mien[] = {KEEP("*", "*"), END};

static const rename_row simmim[] = {
    DROP("encoder.layers.#.blocks.#.attn.relative_position_index", BUFFER),
    DROP("encoder.layers.#.blocks.#.attn_mask", BUFFER),
    DROP("encoder.head.*", OTHER_HEAD),
    KEEP("encoder.*", "swin.*"),
    KEEP("decoder.0.*", "decoder.0.*"),
    END,
};

static const rename_row swin[] = {
    DROP("layers.#.blocks.#.attn.relative_position_index", BUFFER),
    DROP("layers.#.blocks.#.attn_mask", BUFFER),
    DROP("head.*", OTHER_HEAD),
    KEEP("patch_embed.*", "swin.patch_embed.*"),
    KEEP("mask_token", "swin.mask_token"),
    KEEP("layers.*", "swin.layers.*"),
    KEEP("norm.*", "swin.norm.*"),
    END,
};

static const rename_row timm[] = {
    DROP("layers.#.blocks.#.attn.relative_position_index", BUFFER),
    DROP("layers.#.blocks.#.attn_mask", BUFFER),
    DROP("head.*", OTHER_HEAD),
    KEEP("patch_embed.*", "swin.patch_embed.*"),
    KEEP("layers.#.downsample.*", "swin.layers.<.downsample.*"),
    KEEP("layers.#.blocks.*", "swin.layers.#.blocks.*"),
    KEEP("norm.*", "swin.norm.*"),
    END,
};

#define HF_BLOCK "swin.encoder.layers.#.blocks.#."
#define OUR_BLOCK "swin.layers.#.blocks.#."
static const rename_row hf_swin[] = {
    DROP(HF_BLOCK "attention.self.relative_position_index", BUFFER),
    DROP("classifier.*", OTHER_HEAD),
    KEEP("swin.embeddings.mask_token", "swin.mask_token"),
    KEEP("swin.embeddings.patch_embeddings.projection.*", "swin.patch_embed.proj.*"),
    KEEP("swin.embeddings.norm.*", "swin.patch_embed.norm.*"),
    KEEP(HF_BLOCK "layernorm_before.*", OUR_BLOCK "norm1.*"),
    PART(HF_BLOCK "attention.self.query.*", OUR_BLOCK "attn.qkv.*", 0),
    PART(HF_BLOCK "attention.self.key.*", OUR_BLOCK "attn.qkv.*", 1),
    PART(HF_BLOCK "attention.self.value.*", OUR_BLOCK "attn.qkv.*", 2),
    KEEP(HF_BLOCK "attention.self.relative_position_bias_table", OUR_BLOCK "attn.relative_position_bias_table"),
    KEEP(HF_BLOCK "attention.output.dense.*", OUR_BLOCK "attn.proj.*"),
    KEEP(HF_BLOCK "layernorm_after.*", OUR_BLOCK "norm2.*"),
    KEEP(HF_BLOCK "intermediate.dense.*", OUR_BLOCK "mlp.fc1.*"),
    KEEP(HF_BLOCK "output.dense.*", OUR_BLOCK "mlp.fc2.*"),
    KEEP("swin.encoder.layers.#.downsample.*", "swin.layers.#.downsample.*"),
    KEEP("swin.layernorm.*", "swin.norm.*"),
    KEEP("decoder.0.*", "decoder.0.*"),
    END,
};

#define HF_ATTENTION "wav2vec2.encoder.layers.#.attention."
#define POSITIONS "wav2vec2.encoder.pos_conv_embed.conv."
static const rename_row hf_wav2vec2[] = {
    PART(HF_ATTENTION "q_proj.*", HF_ATTENTION "qkv.*", 0),
    PART(HF_ATTENTION "k_proj.*", HF_ATTENTION "qkv.*", 1),
    PART(HF_ATTENTION "v_proj.*", HF_ATTENTION "qkv.*", 2),
    KEEP(POSITIONS "weight_g", POSITIONS "weight_g"),
    KEEP(POSITIONS "weight_v", POSITIONS "weight_v"),
    KEEP(POSITIONS "parametrizations.weight.original0", POSITIONS "weight_g"),
    KEEP(POSITIONS "parametrizations.weight.original1", POSITIONS "weight_v"),
    DROP("wav2vec2.adapter.*", NOT_ENCODER),
    KEEP("wav2vec2.*", "wav2vec2.*"),
    DROP("quantizer.*", NOT_ENCODER),
    DROP("project_hid.*", NOT_ENCODER),
    DROP("project_q.*", NOT_ENCODER),
    DROP("lm_head.*", OTHER_HEAD),
    DROP("projector.*", OTHER_HEAD),
    DROP("classifier.*", OTHER_HEAD),
    END,
};

static const rename_row abaw2024[] = {
    DROP("layers.#.vhead.#.num_batches_tracked", "a counter nothing reads"),
    DROP("layers.#.ahead.#.num_batches_tracked", "a counter nothing reads"),
    KEEP("layers.*", "cca.layers.*"),
    END,
};

typedef struct form_row {
    const char *name;
    const char *prefix; // may be absent in their files; always written
    const char *sign;   // a name by which a file of this form is known
    const rename_row *rows;
} form_row;

// In the order in which forms are tried.
static const form_row forms[NN_WEIGHTS_FORMS] = {
    [NN_WEIGHTS_AUTO] = {"auto", "", NULL, NULL},
    [NN_WEIGHTS_MIEN] = {"mien", "", "swin.layers.#.blocks.#.attn.qkv.weight", mien},
    [NN_WEIGHTS_SIMMIM] = {"simmim", "", "encoder.patch_embed.proj.weight", simmim},
    [NN_WEIGHTS_SWIN] = {"swin", "", "layers.0.downsample.reduction.weight", swin},
    [NN_WEIGHTS_TIMM_SWIN] = {"timm", "", "layers.0.blocks.#.attn.qkv.weight", timm},
    [NN_WEIGHTS_HF_SWIN] = {"hf-swin", "swin.", HF_BLOCK "layernorm_before.weight", hf_swin},
    [NN_WEIGHTS_HF_WAV2VEC2] = {"hf-wav2vec2", "wav2vec2.", HF_ATTENTION "q_proj.weight", hf_wav2vec2},
    [NN_WEIGHTS_ABAW2024] = {"abaw2024", "", "layers.6.transformer.attn.qkv.weight", abaw2024},
};
// Other signs of our own names: a file may hold one network only.
static const char *const mien_signs[] = {"wav2vec2.encoder.layers.#.attention.qkv.weight",
                                         "cca.layers.#.attn.qkv.weight",
                                         "head.expr.weight", // of the linear model: nothing else is in its file
                                         "head.au.weight",
                                         "head.va.weight",
                                         NULL};

const char *nn_weights_form_name(nn_weights_form form)
{
    return forms[form].name;
}

nn_weights_form nn_weights_form_parse(const char *name)
{
    for (int i = 0; i < NN_WEIGHTS_FORMS; i++)
        if (strcmp(forms[i].name, name) == 0) return (nn_weights_form)i;
    return NN_WEIGHTS_FORMS;
}

typedef struct capture {
    long number[4];
    int numbers;
    const char *rest;
} capture;

static int match_number(const char **name, capture *c, long shift)
{
    char *end;
    if (!isdigit((unsigned char)**name) || c->numbers == 4) return 0;
    long v = strtol(*name, &end, 10);
    if (end - *name > 6) return 0;
    c->number[c->numbers++] = v + shift;
    *name = end;
    return 1;
}

static int match(const char *pattern, const char *name, capture *c)
{
    *c = (capture){.rest = ""};
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            c->rest = name;
            return 1;
        }
        if (*pattern == '#' || *pattern == '<') {
            if (!match_number(&name, c, *pattern == '<' ? 1 : 0)) return 0;
        } else if (*pattern != *name++) {
            return 0;
        }
    }
    return *name == 0;
}

// 0: a number below zero, or a name that is too long.
static int expand(const char *pattern, const capture *c, char *name, size_t size)
{
    size_t at = 0;
    int next = 0;
    for (; *pattern; pattern++) {
        int n = 1;
        if (*pattern == '#' || *pattern == '<') {
            long v = c->number[next++] - (*pattern == '<');
            if (v < 0) return 0;
            n = snprintf(name + at, size - at, "%ld", v);
        } else if (*pattern == '*') {
            n = snprintf(name + at, size - at, "%s", c->rest);
        } else if (at + 1 < size) {
            name[at] = *pattern;
        }
        at += (size_t)n;
        if (at >= size) return 0;
    }
    name[at] = 0;
    return 1;
}

static int import_row(const rename_row *row, const char *theirs, nn_rename_match *m)
{
    capture c;
    if (!match(row->theirs, theirs, &c)) return 0;
    *m = (nn_rename_match){.part = row->part, .parts = row->parts, .drop = row->drop};
    return !row->ours || expand(row->ours, &c, m->name, sizeof m->name);
}

static int import_name(const rename_row *rows, const char *theirs, nn_rename_match *m)
{
    for (; rows->theirs; rows++)
        if (import_row(rows, theirs, m)) return 1;
    return 0;
}

int nn_rename_import(nn_weights_form form, const char *theirs, nn_rename_match *m)
{
    const form_row *f = &forms[form];
    char prefixed[2 * sizeof m->name];
    if (!f->rows) return 0;
    if (strncmp(theirs, "module.", 7) == 0) theirs += 7; // DataParallel
    if (import_name(f->rows, theirs, m)) return 1;
    if (!f->prefix[0] || strlen(theirs) >= sizeof m->name) return 0;
    snprintf(prefixed, sizeof prefixed, "%s%s", f->prefix, theirs);
    return import_name(f->rows, prefixed, m);
}

int nn_rename_export(nn_weights_form form, const char *ours, nn_rename_match *m, int capacity)
{
    int found = 0, parts = 1;
    if (!forms[form].rows) return 0;
    for (const rename_row *row = forms[form].rows; row->theirs && found < parts && found < capacity; row++) {
        capture c;
        // After the first row, only the other parts of the same tensor.
        if (!row->ours || (found && row->parts != parts) || !match(row->ours, ours, &c)) continue;
        m[found] = (nn_rename_match){.part = row->part, .parts = row->parts};
        if (!expand(row->theirs, &c, m[found].name, sizeof m[found].name)) return 0;
        parts = m[found++].parts;
    }
    return found;
}

static int any_matches(const char *pattern, const char *prefix, const char *const *names, int n)
{
    size_t skip = strlen(prefix);
    capture c;
    if (!pattern) return 0;
    for (int i = 0; i < n; i++) {
        const char *name = strncmp(names[i], "module.", 7) == 0 ? names[i] + 7 : names[i];
        if (match(pattern, name, &c)) return 1;
        if (skip && strncmp(pattern, prefix, skip) == 0 && match(pattern + skip, name, &c)) return 1;
    }
    return 0;
}

nn_weights_form nn_weights_detect(const char *const *names, int n)
{
    for (int i = 0; mien_signs[i]; i++)
        if (any_matches(mien_signs[i], "", names, n)) return NN_WEIGHTS_MIEN;
    for (int f = NN_WEIGHTS_MIEN; f < NN_WEIGHTS_FORMS; f++)
        if (any_matches(forms[f].sign, forms[f].prefix, names, n)) return (nn_weights_form)f;
    return NN_WEIGHTS_AUTO;
}
