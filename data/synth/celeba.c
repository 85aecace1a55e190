// CelebA: aligned faces 000001.jpg and on, and the five text lists with their different headers and runs of spaces. A
// person has about twenty pictures, all in one partition; attributes are what the face has, and chance for what it
// cannot have.
#include "data/label.h"
#include "data/synth/output.h"

#include "nn/base/file.h"
#include "nn/base/mem.h"
#include "nn/base/rng.h"

#include <stdlib.h>
#include <string.h>

enum { ATTRIBUTES = DATA_ATTRIBUTES, PER_PERSON = 20 };

typedef struct item { // of the lists
    int person, partition;
    int8_t attribute[ATTRIBUTES];
    float box[4], points[10]; // box: in the uncropped picture
} item;

typedef struct celeba_ctx {
    const char *root;
    const data_synth_cfg *cfg;
    uint64_t key;
    int64_t people;
    item *items;
} celeba_ctx;

static void set(int8_t *attribute, const char *name, int on)
{
    int k = 0;
    while (k < ATTRIBUTES && strcmp(data_attribute[k], name) != 0)
        k++;
    mn_assert(k < ATTRIBUTES);
    attribute[k] = on ? 1 : -1;
}

static void describe(const data__person *p, const data__affect *a, const data__shot *shot, mn_stream_rng *r,
                     int8_t *attribute)
{
    for (int k = 0; k < ATTRIBUTES; k++)
        attribute[k] = mn_rng_below(r, 5) ? -1 : 1;
    int hair = p->hair != DATA__HAIR_NONE;
    set(attribute, "5_o_Clock_Shadow", p->beard == DATA__STUBBLE);
    set(attribute, "Arched_Eyebrows", p->brow_arch > 0.045f);
    set(attribute, "Bald", !hair);
    set(attribute, "Bangs", p->hair == DATA__HAIR_BANGS);
    set(attribute, "Big_Lips", p->lip_low > 0.075f);
    set(attribute, "Big_Nose", p->nose_half > 0.16f);
    set(attribute, "Black_Hair", hair && p->hair_tone == 0);
    set(attribute, "Brown_Hair", hair && p->hair_tone == 1);
    set(attribute, "Blond_Hair", hair && p->hair_tone == 2);
    set(attribute, "Gray_Hair", hair && p->hair_tone == 3);
    set(attribute, "Blurry", shot->softness > 1.5f);
    set(attribute, "Bushy_Eyebrows", p->brow_thick > 0.046f);
    set(attribute, "Chubby", p->half > 0.80f);
    set(attribute, "Eyeglasses", p->glasses);
    set(attribute, "Goatee", 0);
    set(attribute, "Heavy_Makeup", p->lipstick);
    set(attribute, "High_Cheekbones", p->cheek > 0.08f);
    set(attribute, "Male", p->male);
    set(attribute, "Mouth_Slightly_Open", a->face[DATA__AU25] + a->face[DATA__AU26] > 0.4f);
    set(attribute, "Mustache", p->beard == DATA__MOUSTACHE || p->beard == DATA__FULL_BEARD);
    set(attribute, "Narrow_Eyes", p->eye_open < 0.105f);
    set(attribute, "No_Beard", p->beard == DATA__SHAVED);
    set(attribute, "Pale_Skin", p->tan < 0.15f);
    set(attribute, "Receding_Hairline", p->hairline < -0.71f);
    set(attribute, "Smiling", a->face[DATA__AU12] > 0.5f);
    set(attribute, "Straight_Hair", p->hair == DATA__HAIR_LONG);
    set(attribute, "Wearing_Earrings", p->earrings);
    set(attribute, "Wearing_Hat", p->hat);
    set(attribute, "Wearing_Lipstick", p->lipstick);
    set(attribute, "Young", p->young);
}

// Five of the 68 points: eyes, nose, corners of the mouth, rounded as in the list.
static void five_points(const float xy[136], float five[10])
{
    static const int pairs[5][2] = {{36, 39}, {42, 45}, {30, 30}, {48, 48}, {54, 54}};
    for (int k = 0; k < 5; k++)
        for (int axis = 0; axis < 2; axis++)
            five[2 * k + axis] = 0.5f * (xy[2 * pairs[k][0] + axis] + xy[2 * pairs[k][1] + axis]);
}

// People are dealt to partitions in blocks, pictures to people at random: 0 train, 1 validation, 2 test.
static void deal(const celeba_ctx *c, int64_t i, item *it)
{
    int64_t slot = mn_rng_permute(c->key + 1, c->cfg->images, i);
    int64_t person = slot % c->people;
    it->partition = person < c->people * 8 / 10 ? 0 : person < c->people * 9 / 10 ? 1 : 2;
    it->person = 1 + (int)mn_rng_permute(c->key + 2, c->people, person);
}

static mn_err make_picture(void *ctx, data__worker *w, int64_t i)
{
    const celeba_ctx *c = ctx;
    item *it = &c->items[i];
    mn_stream_rng r = mn_rng_open(c->key, (uint64_t)i, 0);
    int width = (c->cfg->size * 178 + 56) / 112, height = (c->cfg->size * 218 + 56) / 112;
    float xy[136];
    data__person p;
    data__affect a;
    data__shot shot;
    deal(c, i, it);
    data__person_make(c->key, (uint64_t)it->person, &p);
    data__affect_still(c->key + 3, (uint64_t)i, (int)mn_rng_below(&r, DATA_EXPRESSIONS), &a);
    data__shot_make(c->key + 4, (uint64_t)i, 0, width, width, &shot);
    shot.height = height;
    shot.unit *= 0.78f; // an aligned face of CelebA leaves room around the head
    shot.cy += (float)(height - width) * 0.62f;
    data__worker_face(w, &p, &a, &shot);
    describe(&p, &a, &shot, &r, it->attribute);
    data__face_points(&p, a.face, a.face_own, &shot, xy);
    five_points(xy, it->points);
    data__face_box(&p, &shot, it->box);
    for (int k = 0; k < 4; k++) // boxes are of the pictures before they were aligned
        it->box[k] = it->box[k] * 2.3f + (k < 2 ? (float)mn_rng_range(&r, 10, 200) : 0);
    char *path = mn_sprintf("%s/img_align_celeba/%06lld.jpg", c->root, (long long)i + 1);
    mn_err err = data__worker_save(w, path, width, height, 90, 0);
    free(path);
    return err;
}

static mn_err write_text(const celeba_ctx *c, data__text *t, const char *name)
{
    char *path = mn_sprintf("%s/%s", c->root, name);
    mn_err err = data__text_write(t, path);
    free(path);
    return err;
}

static mn_err write_attributes(const celeba_ctx *c)
{
    data__text t = {0};
    data__text_add(&t, "%lld\n", (long long)c->cfg->images);
    for (int k = 0; k < ATTRIBUTES; k++)
        data__text_add(&t, "%s ", data_attribute[k]);
    for (int64_t i = 0; i < c->cfg->images; i++) {
        data__text_add(&t, "\n%06lld.jpg", (long long)i + 1);
        for (int k = 0; k < ATTRIBUTES; k++)
            data__text_add(&t, " %2d", c->items[i].attribute[k]);
    }
    data__text_add(&t, "\n");
    return write_text(c, &t, "list_attr_celeba.txt");
}

static mn_err write_numbers(const celeba_ctx *c, const char *name, const char *header, size_t offset, int n)
{
    data__text t = {0};
    data__text_add(&t, "%lld\n%s\n", (long long)c->cfg->images, header);
    for (int64_t i = 0; i < c->cfg->images; i++) {
        float v[10];
        memcpy(v, (const char *)&c->items[i] + offset, (size_t)n * sizeof *v);
        data__text_add(&t, "%06lld.jpg", (long long)i + 1);
        for (int k = 0; k < n; k++)
            data__text_add(&t, "  %4d", (int)v[k]);
        data__text_add(&t, "\n");
    }
    return write_text(c, &t, name);
}

static mn_err write_lists(const celeba_ctx *c)
{
    data__text partition = {0}, identity = {0};
    MN_TRY(write_attributes(c));
    MN_TRY(write_numbers(c, "list_bbox_celeba.txt", "image_id x_1 y_1 width height", offsetof(item, box), 4));
    MN_TRY(write_numbers(
        c, "list_landmarks_align_celeba.txt",
        "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y",
        offsetof(item, points), 10));
    for (int64_t i = 0; i < c->cfg->images; i++) {
        data__text_add(&partition, "%06lld.jpg %d\n", (long long)i + 1, c->items[i].partition);
        data__text_add(&identity, "%06lld.jpg %d\n", (long long)i + 1, c->items[i].person);
    }
    mn_err err = write_text(c, &partition, "list_eval_partition.txt");
    mn_err second = write_text(c, &identity, "identity_CelebA.txt");
    return err != MN_OK ? err : second;
}

mn_err data__make_celeba(const char *root, const data_synth_cfg *cfg, data_synth_report *report)
{
    celeba_ctx c = {.root = root, .cfg = cfg, .key = mn_rng_key(cfg->seed, "synth.celeba")};
    c.people = cfg->images / PER_PERSON > 10 ? cfg->images / PER_PERSON : 10;
    c.items = mn_calloc((size_t)cfg->images, sizeof *c.items);
    char *path = mn_sprintf("%s/img_align_celeba", root);
    mn_err err = mn_dir_make(path);
    free(path);
    if (err == MN_OK) err = data__spread(cfg->images, cfg->threads, make_picture, &c, report);
    if (err == MN_OK) err = write_lists(&c);
    free(c.items);
    return err;
}
