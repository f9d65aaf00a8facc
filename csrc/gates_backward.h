/* What the backward passes of all cells have in common. Included by the files of gates. */
#ifndef CONVRNN_GATES_BACKWARD_H
#define CONVRNN_GATES_BACKWARD_H

#include "step.h"

/* The slots of one row's group of units, `stride` apart. */
struct gates_row {
    const float *at;
    int64_t stride, units;
};

INLINE vec gate(struct gates_row gates, int64_t slot) { return load_part(gates.at + slot * gates.stride, gates.units); }

/* After and before a step, of one row's group of units. */
struct states {
    vec h, h_before, c, c_before;
};

/* Of the states after a step, and then of those before it; reset_h: of r h of a GRU whose reset gate acts on h. */
struct state_gradients {
    vec h, c, reset_h;
};

/* Sums over rows, of one step and one group of units. */
struct vector_sums {
    vec gates[GRAD_GATES];
    vec others[OTHER_SUMS]; /* of every step */
    vec firsts[FIRST_SUMS]; /* of first steps */
};

/* The gradient of a gate into a row [grad_gates, hidden] that begins at one group of units. */
INLINE void store_gradient(float *row, const struct cell *cell, int64_t column, vec gradient, int64_t units) {
    store_part(row + column * cell->hidden, gradient, units);
}

/* The gradients of some gates times their rows of W_h, into rows of `out` [rows, padded]. */
static void multiply_gradients(const struct cell *cell, struct panels recurrent, const float *const *grad_gates,
                               int64_t rows, struct range columns, float *out, int add, struct share share) {
    const float *from[MAX_TILE_ROWS];
    float *to[MAX_TILE_ROWS];
    for (int64_t row = 0; row < rows; row++) {
        from[row] = grad_gates[row] + columns.first;
        to[row] = out + row * cell->padded;
    }
    multiply_panels(from, to, rows, recurrent, columns, add, share);
}

#endif
