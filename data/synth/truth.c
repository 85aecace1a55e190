// What is true of a generated Aff-Wild2 and what an ideal observer would say, without making a picture.
#include "data/synth/wild.h"

#include <string.h>

static void tell(const data_synth_videos *v, const data__wild_video *w, const data__wild_subject *s, int64_t frame,
                 data_synth_truth *out)
{
    data__affect a;
    data__wild_affect(v, w, s, frame, &a);
    *out = (data_synth_truth){
        .split = w->split, .person = (int)s->person, .expr = a.expr, .valence = a.valence, .arousal = a.arousal};
    data__affect_best(&a, 1, out->face);
    data__affect_best(&a, 2, out->voice);
    data__affect_best(&a, 3, out->both);
    out->face_expr = a.seen >= DATA__EXPR_THRESHOLD ? a.shown_expr : 0;
    for (int u = 0; u < DATA_AUS; u++) {
        out->au[u] = a.au[u] >= (float)DATA__AU_THRESHOLD;
        out->face_au[u] = a.face[u] >= (float)DATA__AU_THRESHOLD;
    }
}

mn_err data_synth_truth_at(const data_synth_videos *v, const char *name, int64_t frame, data_synth_truth *out)
{
    for (int64_t i = 0; i < v->n; i++) {
        const data__wild_video *w = &v->video[i];
        for (int k = 0; k < w->subjects; k++) {
            const data__wild_subject *s = &w->subject[k];
            if (strcmp(s->name, name) != 0) continue;
            if (frame < 1 || frame > w->frames + 1) // a label row may follow the last frame
                return mn_fail(MN_ENOINPUT, "%s has no frame %lld: there are %lld", name, (long long)frame,
                               (long long)w->frames);
            tell(v, w, s, frame, out);
            return MN_OK;
        }
    }
    return mn_fail(MN_ENOINPUT, "no video is called %s here", name);
}

int64_t data_synth_truth_each(const data_synth_videos *v, int split, data_synth_visit *visit, void *ctx)
{
    int64_t subjects = 0;
    for (int64_t i = 0; i < v->n; i++) {
        const data__wild_video *w = &v->video[i];
        if (w->split != split) continue;
        for (int k = 0; k < w->subjects; k++, subjects++) {
            const data__wild_subject *s = &w->subject[k];
            for (int64_t frame = 1; visit && frame <= w->frames; frame++) {
                if (data__wild_gap(v, s, frame)) continue;
                unsigned invalid[DATA_TASKS];
                for (int task = 0; task < DATA_TASKS; task++)
                    invalid[task] = s->tasks >> task & 1 ? data__wild_invalid(v, s, task, frame) : ~0u;
                data_synth_truth t;
                tell(v, w, s, frame, &t);
                visit(ctx, subjects, invalid, &t);
            }
        }
    }
    return subjects;
}
