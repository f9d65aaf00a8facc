/* Products of a few rows with a matrix, their sums held in registers. */
#ifndef CONVRNN_PRODUCT_H
#define CONVRNN_PRODUCT_H

#include "vector.h"

/* The bounds of the loops over a block are constants once it is inlined; unrolled, its sums are registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

#define PANEL (4 * LANES) /* columns that one block of sums spans at most */

/* out[r] = init[r] + sum over k < depth of rows[r][k * row_step] * matrix[k * matrix_step + ..], for `vectors` vectors of
 * columns. The order of a sum does not depend on which rows share a block, and it starts at 0: begun at init, every step
 * would round at the size of the whole. */
INLINE void multiply_block(int count, int vectors, const float *const *rows, int64_t row_step, int64_t depth,
                           const float *matrix, int64_t matrix_step, const float *const *init, float *const *out) {
    vec sums[BLOCK_ROWS][4];
    UNROLL
    for (int r = 0; r < count; r++)
        UNROLL
        for (int v = 0; v < vectors; v++) sums[r][v] = (vec){0};
    for (int64_t k = 0; k < depth; k++) {
        vec m[4];
        UNROLL
        for (int v = 0; v < vectors; v++) m[v] = load(matrix + v * LANES);
        UNROLL
        for (int r = 0; r < count; r++) {
            vec value = broadcast(rows[r][k * row_step]);
            UNROLL
            for (int v = 0; v < vectors; v++) sums[r][v] += value * m[v];
        }
        matrix += matrix_step;
    }
    UNROLL
    for (int r = 0; r < count; r++)
        UNROLL
        for (int v = 0; v < vectors; v++) store(out[r] + v * LANES, load(init[r] + v * LANES) + sums[r][v]);
}

/* How many of the rows that are left to put into a block: as even as possible, since fewer rows use the matrix less. */
INLINE int block_of(int64_t left) {
    int64_t blocks = (left + BLOCK_ROWS - 1) / BLOCK_ROWS;
    return (int)((left + blocks - 1) / blocks);
}

static void multiply(int count, int vectors, const float *const *rows, int64_t row_step, int64_t depth,
                     const float *matrix, int64_t matrix_step, const float *const *init, float *const *out) {
#define CASE(COUNT, VECTORS)                                                                              \
    case 4 * (COUNT) + (VECTORS):                                                                         \
        multiply_block(COUNT, VECTORS, rows, row_step, depth, matrix, matrix_step, init, out);            \
        return;
#define CASES(COUNT) CASE(COUNT, 1) CASE(COUNT, 2) CASE(COUNT, 3) CASE(COUNT, 4)
    switch (4 * count + vectors) {
        CASES(1)
        CASES(2)
#if BLOCK_ROWS > 2
        CASES(3)
#endif
#if BLOCK_ROWS > 3
        CASES(4)
        CASES(5)
        CASES(6)
#endif
    }
#undef CASES
#undef CASE
}

/* Vectors in the panel that starts at a column, as even as the blocks of rows. */
INLINE int panel_vectors(int64_t columns, int64_t from) {
    int64_t vectors = (columns - from + LANES - 1) / LANES, panels = (vectors + 3) / 4;
    return (int)((vectors + panels - 1) / panels);
}

/* out += a^T b: a is [depth, rows], b [depth, columns] with whole vectors of columns, both by their steps. */
static void add_outer(const float *a, int64_t a_step, int64_t rows, const float *b, int64_t b_step, int64_t columns,
                      int64_t depth, float *out, int64_t out_step) {
    for (int64_t column = 0, vectors; column < columns; column += vectors * LANES) {
        vectors = panel_vectors(columns, column);
        for (int64_t row = 0, count; row < rows; row += count) {
            const float *from[BLOCK_ROWS];
            float *to[BLOCK_ROWS];
            count = block_of(rows - row);
            for (int64_t i = 0; i < count; i++) {
                from[i] = a + row + i;
                to[i] = out + (row + i) * out_step + column;
            }
            multiply((int)count, (int)vectors, from, a_step, depth, b + column, b_step, (const float *const *)to, to);
        }
    }
}

/* `matrix` [depth, columns] as panels of columns, each [depth, whole vectors], for multiply_panels. Of the panels, those
 * of one of so many members. */
static void pack_panels(const float *matrix, int64_t depth, int64_t columns, float *panels, int64_t member,
                        int64_t members) {
    for (int64_t from = 0, panel = 0, width; from < columns; from += width, panel++) {
        width = panel_vectors(columns, from) * LANES;
        if (panel % members != member) continue;
        float *out = panels + depth * from;
        for (int64_t k = 0; k < depth; k++, out += width)
            for (int64_t i = 0; i < width; i++) out[i] = from + i < columns ? matrix[k * columns + from + i] : 0.0f;
    }
}

INLINE int64_t whole_vectors(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

/* Each row of `from` [rows, depth] times a matrix [packed_depth, columns] packed by pack_panels, of which the first
 * `depth` rows count; added to `to` where `add`. Rows of `to` hold whole vectors. Members as in pack_panels. */
static void multiply_panels(const float *const *from, float *const *to, int64_t rows, int64_t depth,
                            const float *panels, int64_t packed_depth, int64_t columns, int add, int64_t member,
                            int64_t members) {
    static const float zeros[PANEL];
    for (int64_t column = 0, panel = 0, vectors; column < columns; column += vectors * LANES, panel++) {
        vectors = panel_vectors(columns, column);
        if (panel % members != member) continue;
        for (int64_t row = 0, count; row < rows; row += count) {
            const float *init[BLOCK_ROWS];
            float *out[BLOCK_ROWS];
            count = block_of(rows - row);
            for (int64_t i = 0; i < count; i++) {
                out[i] = to[row + i] + column;
                init[i] = add ? out[i] : zeros;
            }
            multiply((int)count, (int)vectors, from + row, 1, depth, panels + packed_depth * column, vectors * LANES,
                     init, out);
        }
    }
}

#endif
