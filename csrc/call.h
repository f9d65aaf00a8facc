/* The interface: what one call computes and what it is given. */
#ifndef CONVRNN_CALL_H
#define CONVRNN_CALL_H

#include <stdint.h>

enum cell_type { RNN, GRU, LSTM };
enum nonlinearity { TANH, SIGMOID, RELU };
enum sequence { HIDDEN, CELL };
enum reduction { LAST, MEAN, MAX, NONE };
enum direction { FORWARD, BACKWARD };

/* Raise it, here and in convrnn/ops/native/library.py, whenever the struct or the meaning of a field changes. */
#define CONVRNN_INTERFACE 4

/* One call, field by field as in convrnn/ops/native/library.py. Arrays are contiguous float32; an absent one is NULL.
 *
 * Windows have kernel_size > 0, whole sequences kernel_size = 0. The gates of an LSTM are stacked in the order i, f, g,
 * o, those of a GRU in the order r, z, n; a simple network has one, of which h is the nonlinearity. */
struct recurrent_call {
    int64_t batch, frames, features, hidden;
    int64_t rows; /* windows that lie within their sequence's length; for whole sequences the batch */
    int64_t kernel_size, stride, windows;
    int64_t reverse, per_position, sequence, reduce, threads;
    int64_t cell;
    int64_t nonlinearity; /* of a simple network */
    int64_t reset_after;  /* of a GRU: r multiplies W_hn h + bias_hn, otherwise h */
    /* Of windows of at most SHORT_WINDOW steps: how many of their last steps, at least 1, have their gates saved for
     * the backward pass, which computes those of the others again. */
    int64_t saved_steps;
    const int64_t *lengths;                     /* [batch]; NULL: all frames */
    const float *x;                             /* [batch, frames, features] */
    const float *weight_ih;                     /* [gates hidden, features], per_position [kernel_size, ..] */
    const float *weight_hh;                     /* [gates hidden, hidden] */
    const float *bias;                          /* [gates hidden] */
    const float *bias_hn;                       /* [hidden], with reset_after */
    const float *weight_peephole;               /* [3, hidden], order i, f, o; LSTM */
    const float *initial_hidden, *initial_cell; /* [hidden]; the cell of an LSTM */

    /* Results of the forward pass. */
    float *y;                           /* windows: [batch, windows, hidden], NONE [batch, windows, kernel_size, ..] */
    float *states_hidden, *states_cell; /* sequences: [batch, frames, hidden]; the cell of an LSTM */
    /* Saved for the backward pass; NULL saves nothing. Windows: convrnn_saved_vectors vectors of (hidden rounded up to
     * 16) floats for each row, in an order that depends on the instruction set: the gates of the last steps or, of long
     * windows, a few states (windows.h). Sequences: as many for every frame,
     * [batch, frames, .., hidden]. */
    float *saved;

    /* Given to the backward pass. */
    const float *grad_y;                  /* windows: as y */
    const float *grad_hidden, *grad_cell; /* sequences: as the states; NULL is zeros */
    /* Its results, each as the tensor it is the gradient of; NULL: not wanted. Those of weight_ih and weight_hh are
     * always wanted. */
    float *grad_x, *grad_weight_ih, *grad_weight_hh, *grad_bias, *grad_bias_hn, *grad_weight_peephole;
    float *grad_initial_hidden, *grad_initial_cell;
};

static inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

#endif
