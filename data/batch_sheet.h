// The pictures of a batch, as the network sees them, on one PNG: for a person to look at what augmentation, mixing and
// masks do.
//
//     MN_TRY(data_batch_sheet(set, batch, cfg.mean, cfg.std, "batch.png"));
//
// Threading: one thread.
#ifndef DATA_BATCH_SHEET_H
#define DATA_BATCH_SHEET_H

#include "data/loader.h"

// The first 64 rows, eight beside each other; mean and std undo the normalisation. Where the set has a field `mask`,
// masked cells are dark. MN_ECONFIG when it has no pictures, MN_ECREATE when `path` is there already.
MN_MUST_CHECK mn_err data_batch_sheet(const data_set *set, const data_batch *b, const float mean[3], const float std[3],
                                      const char *path);

#endif
