/* Matrix products on top of the micro-kernel. */
#ifndef CONVRNN_PRODUCT_H
#define CONVRNN_PRODUCT_H

#include "micro_kernel.h"

/* Rows of floats, one every `stride`. */
struct matrix {
    const float *data;
    int64_t stride, columns;
};

/* out += a^T b, for `depth` rows of a and b; those of b and out hold whole vectors. */
static void add_outer(struct matrix a, struct matrix b, int64_t depth, float *out, int64_t out_stride) {
    for (int64_t column = 0, vectors; column < b.columns; column += vectors * LANES) {
        vectors = panel_vectors(b.columns - column);
        for (int64_t row = 0, count; row < a.columns; row += count) {
            const float *from[MICRO_ROWS];
            float *to[MICRO_ROWS];
            count = block_rows(a.columns - row);
            for (int64_t i = 0; i < count; i++) {
                from[i] = a.data + row + i;
                to[i] = out + (row + i) * out_stride + column;
            }
            multiply((int)count, (int)vectors, from, a.stride, depth, b.data + column, b.stride,
                     (const float *const *)to, to);
        }
    }
}

/* A matrix [depth, columns], packed in the order in which products read it: panel by panel, [depth, whole vectors]. */
struct panels {
    float *data;
    int64_t depth, columns;
};

/* One member's share of the work of a team. */
struct share {
    int64_t member, members;
};

static const struct share ALL = {0, 1};

/* Successive ones of something. */
struct range {
    int64_t first, count;
};

/* A member's share of `count` successive ones. */
INLINE struct range range_of(struct share share, int64_t count) {
    int64_t first = share.member * count / share.members;
    return (struct range){first, (share.member + 1) * count / share.members - first};
}

/* The panels of a matrix are shared in turn: a member has every `members`-th. */

static void pack_panels(const float *matrix, struct panels panels, struct share share) {
    int64_t depth = panels.depth, columns = panels.columns;
    for (int64_t from = 0, panel = 0, width; from < columns; from += width, panel++) {
        width = panel_vectors(columns - from) * LANES;
        if (panel % share.members != share.member) continue;
        float *out = panels.data + depth * from;
        for (int64_t k = 0; k < depth; k++, out += width)
            for (int64_t i = 0; i < width; i++) out[i] = from + i < columns ? matrix[k * columns + from + i] : 0.0f;
    }
}

/* to[r] = from[r] times these rows of the matrix, or added to it. Rows of `to` hold whole vectors. */
static void multiply_panels(const float *const *from, float *const *to, int64_t rows, struct panels panels,
                            struct range depth, int add, struct share share) {
    static const float zeros[PANEL];
    for (int64_t column = 0, panel = 0, vectors; column < panels.columns; column += vectors * LANES, panel++) {
        vectors = panel_vectors(panels.columns - column);
        if (panel % share.members != share.member) continue;
        for (int64_t row = 0, count; row < rows; row += count) {
            const float *init[MICRO_ROWS];
            float *out[MICRO_ROWS];
            count = block_rows(rows - row);
            for (int64_t i = 0; i < count; i++) {
                out[i] = to[row + i] + column;
                init[i] = add ? out[i] : zeros;
            }
            multiply((int)count, (int)vectors, from + row, 1, depth.count,
                     panels.data + panels.depth * column + depth.first * vectors * LANES, vectors * LANES, init, out);
        }
    }
}

#endif
