/* The interface: what one call computes and what it is given. */
#ifndef CONVRNN_LSTM_H
#define CONVRNN_LSTM_H

#include <stdint.h>

enum sequence { HIDDEN, CELL };
enum reduction { LAST, MEAN, MAX, NONE };
enum direction { FORWARD, BACKWARD };

/* Raise it, here and in convrnn/ops/native/library.py, whenever the struct or the meaning of a field changes. */
#define CONVRNN_INTERFACE 3

/* One call, field by field as in convrnn/ops/native/library.py. Arrays are contiguous float32; an absent one is NULL.
 *
 * Windows have kernel_size > 0, whole sequences kernel_size = 0. Gates are stacked in the order i, f, g, o. */
struct lstm_call {
    int64_t batch, frames, features, hidden;
    int64_t rows; /* windows that lie within their sequence's length; for whole sequences the batch */
    int64_t kernel_size, stride, windows;
    int64_t reverse, per_position, sequence, reduce, threads;
    const int64_t *lengths;                     /* [batch]; NULL: all frames */
    const float *x;                             /* [batch, frames, features] */
    const float *weight_ih;                     /* [4 hidden, features], per_position [kernel_size, ..] */
    const float *weight_hh;                     /* [4 hidden, hidden] */
    const float *bias;                          /* [4 hidden] */
    const float *weight_peephole;               /* [3, hidden], order i, f, o */
    const float *initial_hidden, *initial_cell; /* [hidden] */

    /* Results of the forward pass. */
    float *y;                           /* windows: [batch, windows, hidden], NONE [batch, windows, kernel_size, ..] */
    float *states_hidden, *states_cell; /* sequences: [batch, frames, hidden] */
    /* Saved for the backward pass; NULL saves nothing. Windows: convrnn_saved_vectors vectors of (hidden rounded up to
     * 16) floats for each row, in an order that depends on the instruction set: the gates of the last step or, of long
     * windows, a few states (windows.h). Sequences: i, f, g, o and tanh(c) of every frame, [batch, frames, 5, hidden].
     */
    float *saved;

    /* Given to the backward pass. */
    const float *grad_y;                  /* windows: as y */
    const float *grad_hidden, *grad_cell; /* sequences: as the states */
    /* Its results. */
    float *grad_x;         /* as x; NULL: not wanted */
    float *grad_weight_ih; /* as weight_ih */
    float *grad_weight_hh; /* as weight_hh, without the product of the first step with initial_hidden */
    float *grad_vectors;   /* [13, hidden]: enum vector_gradient in gates_backward.h */
};

static inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

#endif
