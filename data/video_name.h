// Names of videos as Aff-Wild2 uses them: "video59_right" are the crops and labels of one of two people in "video59".
// Threading: a pure function.
#ifndef DATA_VIDEO_NAME_H
#define DATA_VIDEO_NAME_H

#include <stddef.h>

// Length of the name without a trailing _left, _right, _left_side or _right_side. *subject (may be NULL): 0 none,
// 1 left, 2 right. Only a trailing suffix counts, and something must be left of the name.
size_t data_video_stem(const char *name, int *subject);

#endif
