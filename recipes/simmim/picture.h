// What a person looks at to judge pre-training: masked faces, their reconstruction and the originals, side by side.
// Threading: one thread.
#ifndef RECIPES_SIMMIM_PICTURE_H
#define RECIPES_SIMMIM_PICTURE_H

#include "nn/graph.h"

// Writes a PNG with one row per face from the graph's buffers image, mask and pred after a run: masked (grey cells),
// reconstruction (prediction in the masked cells, the original elsewhere), original. cell, patch in pixels.
MN_MUST_CHECK mn_err mien_simmim_picture(const nn_graph *g, int64_t faces, int64_t cell, int64_t patch,
                                         const char *path);

#endif
