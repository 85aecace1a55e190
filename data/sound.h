// Sound around labelled frames as samples: what the audio network is trained on.
//
//     data_sound_cfg cfg = {.select = {.dir = dir, .split = "train", .task = DATA_VA, .labelled = 1}, .seconds = 1};
//     data_set *s; MN_TRY(data_sound_open(&s, &cfg));
//
// Fields: wave f32 (seconds x 16000), centred at the frame's time and normalised by itself; the target (expr, au or va)
// with select.labelled; weight as in data/frames.h. Both people of a video hear its one track. Frames of videos without
// sound, and those behind the end of it, are left out and counted. Memory: 8 bytes a sample. Threading: as any data_set.
#ifndef DATA_SOUND_H
#define DATA_SOUND_H

#include "data/select.h"

typedef struct data_sound_cfg {
    data_select_cfg select;
    double seconds;
} data_sound_cfg;

MN_MUST_CHECK mn_err data_sound_open(data_set **out, const data_sound_cfg *cfg);
// Sample i of the set is sample i of the selection: its video, frame, time and labels.
const data_selection *data_sound_selection(const data_set *s);

#endif
