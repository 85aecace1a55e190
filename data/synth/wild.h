// The plan of a generated Aff-Wild2: which videos there are, how they are called, who is in them, what is missing. A
// pure function of the configuration; makers and data_synth_truth_at read it.
// Internal to data/synth. Threading: read-only after open.
#ifndef DATA_SYNTH_WILD_H
#define DATA_SYNTH_WILD_H

#include "data/synth/affect.h"
#include "data/synth/synth.h"

enum { DATA__WILD_MAX_SUBJECTS = 2, DATA__WILD_NAME = 72 };

typedef struct data__wild_subject {
    char name[DATA__WILD_NAME]; // of crops and labels: the video's, or with _left or _right
    uint64_t row;               // of its process
    uint64_t person;
    int64_t first_crop;             // frame of the first crop: nobody was found before
    int64_t label_rows[DATA_TASKS]; // frames, or one more or less
    unsigned tasks;                 // bit per task whose challenge has it
} data__wild_subject;

typedef struct data__wild_video {
    char name[DATA__WILD_NAME]; // stem of the file
    const char *extension;      // "mp4" or "avi"
    int batch, split;           // 1 or 2; DATA_SPLIT_*
    int fps_num, fps_den, vfr;
    int has_audio, audio_rate, audio_channels;
    int64_t audio_start_us;
    const char *video_codec, *audio_codec;
    int64_t frames;
    int subjects;
    data__wild_subject subject[DATA__WILD_MAX_SUBJECTS];
} data__wild_video;

struct data_synth_videos {
    data_synth_cfg cfg;
    int64_t n;
    data__wild_video *video;
    uint64_t affect_key, shot_key, voice_key, plan_key;
};

// Time of a frame (from 1) in the video, microseconds; strictly increasing, 0 for the first.
int64_t data__wild_time(const data_synth_videos *v, const data__wild_video *video, int64_t frame);
// Whether the crop of this frame is missing.
int data__wild_gap(const data_synth_videos *v, const data__wild_subject *s, int64_t frame);
// Which columns of a label row are marked invalid: bit per column (VA 2, AU 12, EXPR 1).
unsigned data__wild_invalid(const data_synth_videos *v, const data__wild_subject *s, int task, int64_t frame);
void data__wild_affect(const data_synth_videos *v, const data__wild_video *video, const data__wild_subject *s,
                       int64_t frame, data__affect *out);

// Annotations, test lists and sample files below root.
MN_MUST_CHECK mn_err data__wild_write_labels(const char *root, const data_synth_videos *v);

#endif
