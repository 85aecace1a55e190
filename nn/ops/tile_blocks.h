// How a product of tiles is cut into register blocks: columns in groups of up to four vectors, rows in groups of six.
// Wants `block(p, i, j, rows, vectors)`, inlined with constant rows and vectors; for tile.c and tile_pairs.c.
#ifndef NN_OPS_TILE_BLOCKS_H
#define NN_OPS_TILE_BLOCKS_H

#define NN__TILE_ROWS(p, j, vectors)                                                                                   \
    {                                                                                                                  \
        int64_t i_ = 0;                                                                                                \
        for (; i_ + 6 <= (p)->m; i_ += 6)                                                                              \
            block(p, i_, j, 6, vectors);                                                                               \
        switch ((p)->m - i_) {                                                                                         \
        case 5:                                                                                                        \
            block(p, i_, j, 5, vectors);                                                                               \
            break;                                                                                                     \
        case 4:                                                                                                        \
            block(p, i_, j, 4, vectors);                                                                               \
            break;                                                                                                     \
        case 3:                                                                                                        \
            block(p, i_, j, 3, vectors);                                                                               \
            break;                                                                                                     \
        case 2:                                                                                                        \
            block(p, i_, j, 2, vectors);                                                                               \
            break;                                                                                                     \
        case 1:                                                                                                        \
            block(p, i_, j, 1, vectors);                                                                               \
            break;                                                                                                     \
        default:                                                                                                       \
            break;                                                                                                     \
        }                                                                                                              \
    }

#define NN__TILE_BLOCKS(p)                                                                                             \
    for (int64_t j_ = 0, left_ = (p)->n / 16; left_ > 0;) {                                                            \
        const int64_t vectors_ = left_ == 4 ? 4 : left_ >= 3 ? 3 : left_;                                              \
        switch (vectors_) {                                                                                            \
        case 4:                                                                                                        \
            NN__TILE_ROWS(p, j_, 4) break;                                                                             \
        case 3:                                                                                                        \
            NN__TILE_ROWS(p, j_, 3) break;                                                                             \
        case 2:                                                                                                        \
            NN__TILE_ROWS(p, j_, 2) break;                                                                             \
        default:                                                                                                       \
            NN__TILE_ROWS(p, j_, 1) break;                                                                             \
        }                                                                                                              \
        j_ += 16 * vectors_;                                                                                           \
        left_ -= vectors_;                                                                                             \
    }

#endif
