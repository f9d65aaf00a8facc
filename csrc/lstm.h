/* What the kernels compute, and what they are given. */
#ifndef CONVRNN_LSTM_H
#define CONVRNN_LSTM_H

#include <stdint.h>

enum sequence { HIDDEN, CELL };
enum reduction { LAST, MEAN, MAX, NONE };

/* Raised, here and in convrnn/ops/native/library.py, with every change of the struct or of what it means. */
#define CONVRNN_INTERFACE 2

/* One call. The same struct stands in convrnn/ops/native/library.py. Arrays are contiguous float32; absent ones are NULL.
 *
 * Windowed (kernel_size > 0): a row is a window that lies within its sequence's length, numbered in the order of
 * sequence and window. Whole sequences (kernel_size = 0): a row is a sequence. */
struct lstm_call {
    int64_t batch, frames, features, hidden, rows;
    int64_t kernel_size, stride, windows;
    int64_t reverse, per_position, sequence, reduce, threads;
    const int64_t *lengths;       /* [batch]; NULL is all frames */
    const float *x;               /* [batch, frames, features] */
    const float *weight_ih;       /* [4 hidden, features], or [kernel_size, 4 hidden, features] where per_position */
    const float *weight_hh;       /* [4 hidden, hidden] */
    const float *bias;            /* [4 hidden] */
    const float *weight_peephole; /* [3, hidden] */
    const float *initial_hidden, *initial_cell; /* [hidden] */
    float *y;                     /* windowed: [batch, windows, hidden], or [batch, windows, kernel_size, hidden] */
    float *states_hidden, *states_cell; /* whole: [batch, frames, hidden] */
    float *gates;                 /* kept for the backward pass; NULL to keep none. Windowed: of the last step, rows *
                                   * (hidden rounded up to 16) * 4, or 3 where the features are cell states, in an order
                                   * of the kernel's; whole: [batch, frames, 5, hidden], i, f, g, o and tanh(c) */
    /* The backward pass. */
    const float *grad_y;          /* windowed: as y */
    const float *grad_hidden, *grad_cell; /* whole: as the states */
    float *grad_x;                /* as x, or NULL where it is not asked for */
    float *grad_weight_ih, *grad_weight_hh; /* as the weights, the latter without the first step's part */
    float *grad_vectors;          /* [13, hidden]: gates of all steps but the first, of the first; peepholes; c_0, h_0 */
};

/* Where the rows lie and how they are grouped into tiles, each of which one thread computes, or all of them together
 * where there are few rows. The grouping does not change a result: rows do not depend on each other, and sums over rows
 * have an order of their own. */
struct lstm_plan {
    const struct lstm_call *call;
    int64_t tiles, tile_rows; /* tile_rows: of the largest */
    int64_t members;          /* whole sequences: threads that share each tile's units, 1 where they share out the tiles */
    int64_t *tile_begin;      /* rows, [tiles + 1] */
    int64_t *first_frame;     /* by row: of batch * frames, the one that is processed first */
    /* Whole sequences: */
    int64_t *steps;           /* by row: frames to process, falling within a tile */
    int64_t *length;          /* by sequence */
    /* Windowed: */
    int64_t *row_begin;       /* rows of a sequence, [batch + 1] */
    int64_t *output;          /* by row: place in batch * windows */
    /* A tile's frames, each once however many of its windows contain it: */
    int64_t *frame_begin;     /* among those of all tiles, [tiles + 1] */
    int64_t *place;           /* by row: of its window's first frame, among those of its tile */
};

enum { FORWARD, BACKWARD };

/* 0, or -1 where memory is short. */
typedef int lstm_kernel(const struct lstm_plan *plan, int direction);

lstm_kernel convrnn_lstm_portable, convrnn_lstm_avx2, convrnn_lstm_avx512;

static inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* A window's lowest frame, among batch * frames. */
static inline int64_t window_begin(const struct lstm_plan *plan, int64_t row) {
    return plan->first_frame[row] - (plan->call->reverse ? plan->call->kernel_size - 1 : 0);
}

/* The first frame of a window that the windows before it in its tile do not contain. */
static inline int64_t new_frames_from(const struct lstm_plan *plan, int64_t row, int64_t tile_begin) {
    int64_t begin = window_begin(plan, row);
    if (row == tile_begin) return begin;
    int64_t end = window_begin(plan, row - 1) + plan->call->kernel_size;
    return end > begin ? end : begin;
}

#endif
