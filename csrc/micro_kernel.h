/* The micro-kernel of all matrix products: a few rows times a panel of columns, with every sum in a register. */
#ifndef CONVRNN_MICRO_KERNEL_H
#define CONVRNN_MICRO_KERNEL_H

#include "vector.h"

#if defined(__AVX512F__) || defined(__aarch64__)
#define MICRO_ROWS 6 /* registers: 6 x 4 sums, 6 values and 1 vector of the matrix: 31 of 32 */
#elif defined(__AVX2__)
#define MICRO_ROWS 3 /* 3 x 4 sums, 3 values and 1 vector of the matrix: all 16 */
#else
#define MICRO_ROWS 2
#endif
#define MICRO_VECTORS 4
#define PANEL (MICRO_VECTORS * LANES) /* columns of a panel, at most */

/* Once micro_kernel is inlined the bounds of its loops over rows and vectors are constants; unrolled, the sums become
 * registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* out[r] = init[r] + sum over k < depth of rows[r][k * row_stride] * matrix[k * matrix_stride + column], for the
 * columns of `vectors` vectors. The order of a sum does not depend on the rows beside it. It starts at 0 and adds init
 * last: a sum that starts at init is rounded at the magnitude of the total in every step. */
INLINE void micro_kernel(int count, int vectors, const float *const *rows, int64_t row_stride, int64_t depth,
                         const float *matrix, int64_t matrix_stride, const float *const *init, float *const *out) {
    vec sums[MICRO_ROWS][MICRO_VECTORS];
    UNROLL
    for (int r = 0; r < count; r++) {
        UNROLL
        for (int v = 0; v < vectors; v++) sums[r][v] = (vec){0};
    }
    for (int64_t k = 0; k < depth; k++) {
        vec values[MICRO_ROWS];
        UNROLL
        for (int r = 0; r < count; r++) values[r] = broadcast(rows[r][k * row_stride]);
        UNROLL
        for (int v = 0; v < vectors; v++) {
            vec m = load(matrix + v * LANES);
            UNROLL
            for (int r = 0; r < count; r++) sums[r][v] += values[r] * m;
        }
        matrix += matrix_stride;
    }
    UNROLL
    for (int r = 0; r < count; r++) {
        UNROLL
        for (int v = 0; v < vectors; v++) store(out[r] + v * LANES, load(init[r] + v * LANES) + sums[r][v]);
    }
}

#define SHAPE(count, vectors) (MICRO_VECTORS * (count) + (vectors))

/* The micro-kernel for 1 to MICRO_ROWS rows and 1 to MICRO_VECTORS vectors. */
static void multiply(int count, int vectors, const float *const *rows, int64_t row_stride, int64_t depth,
                     const float *matrix, int64_t matrix_stride, const float *const *init, float *const *out) {
#define CASE(COUNT, VECTORS)                                                                     \
    case SHAPE(COUNT, VECTORS):                                                                  \
        micro_kernel(COUNT, VECTORS, rows, row_stride, depth, matrix, matrix_stride, init, out); \
        return;
#define CASES(COUNT) CASE(COUNT, 1) CASE(COUNT, 2) CASE(COUNT, 3) CASE(COUNT, 4)
    switch (SHAPE(count, vectors)) {
        CASES(1)
        CASES(2)
#if MICRO_ROWS > 2
        CASES(3)
#endif
#if MICRO_ROWS > 3
        CASES(4)
        CASES(5)
        CASES(6)
#endif
    }
#undef CASES
#undef CASE
}

/* How many of the rows left go into the next block. Blocks are as even as possible, because a small one reads the whole
 * matrix for few products. */
INLINE int block_rows(int64_t left) {
    int64_t blocks = (left + MICRO_ROWS - 1) / MICRO_ROWS;
    return (int)((left + blocks - 1) / blocks);
}

/* How many vectors of the columns left go into the next panel, likewise. */
INLINE int panel_vectors(int64_t left) {
    int64_t vectors = (left + LANES - 1) / LANES, panels = (vectors + MICRO_VECTORS - 1) / MICRO_VECTORS;
    return (int)((vectors + panels - 1) / panels);
}

#endif
