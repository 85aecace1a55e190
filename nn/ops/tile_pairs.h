// Tiles of bf16 pairs: what AVX-512 BF16 does for nn/ops/tile.c. Inside it only.
#ifndef NN_OPS_TILE_PAIRS_H
#define NN_OPS_TILE_PAIRS_H

#include "nn/ops/tile.h"

// The processor has the instruction and runs it at full rate: on AMD a pair takes the time of one f32; on Intel cores
// two f32 take the time of one pair, and f32 tiles are faster.
int nn__pairs_fast(void);
void nn__pairs_product(const nn__product *p);

#endif
