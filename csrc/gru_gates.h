/* The gated recurrent unit for one group of units, and its derivatives; r, z and n are in the order of PyTorch.
 *
 *   r, z = sigmoid(W_xr,xz x + b_r,z + W_hr,hz h)
 *   n    = tanh(W_xn x + b_n + W_hn (r h))             or, with reset_after, tanh(W_xn x + b_n + r (W_hn h + b_hn))
 *   h'   = (1 - z) n + z h
 *
 * Where the reset gate acts on h, n needs r of all units: a step then has two blocks of gates, one after the other.
 * With reset_after, the pre-activation of n has two gradients: d W_hn h, that of the product, and d n, that of the
 * rest. */
#ifndef CONVRNN_GATES_H
#define CONVRNN_GATES_H

#define CELL_NAME gru
#define GATES 3
#define GRAD_GATES 4         /* columns of gradients, in blocks of hidden, at most: r, z, d W_hn h, n, or r, z, n */
#define HAS_C 0              /* whether there are cell states */
#define HAS_RECURRENT_BIAS 1 /* whether products with W_h have a bias of their own */

#include "step.h"

/* The results of a step for one row and one group of units, [SLOTS, LANES]; PRODUCT_N: W_hn h + b_hn, with reset_after.
 */
enum slot { GATE_R, GATE_Z, GATE_N, PRODUCT_N, SLOTS };
#define SLOT_ROW (SLOTS * LANES)
#define STATE_C 0 /* not used */

/* Sums over rows of first steps: the gradient of initial_hidden but for its products with W_h. */
enum { OTHER_SUMS };
enum { INITIAL_HIDDEN, FIRST_SUMS };

static void describe_cell(struct cell *cell) {
    if (cell->call->reset_after) {
        add_block(cell, 0, GATES);
        add_span(cell, 2, 0, 0);
        add_span(cell, 1, -1, 2);
        add_span(cell, 1, 2, -1);
        cell->hidden_gates = 3;
    } else {
        add_block(cell, 0, 2);
        add_block(cell, 2, 1);
        add_span(cell, 2, 0, 0);
        add_span(cell, 1, 2, 2);
        cell->hidden_gates = 2;
    }
}

INLINE int64_t needed_gates(const struct step *step, const struct panel *panel) {
    (void)step;
    return panel->block->gates;
}

/* After sum_gates, the gates of a panel's block into `gates` [rows, SLOTS, LANES]: r and z, and r h for the next block;
 * then n, and h after the step into rows of `padded` floats. Behind the last group's projections may be those of
 * another thread. */
static void gates_forward(const struct cell *cell, const struct step *step, const struct panel *panel, int64_t group,
                          float *gates, float *h) {
    int reset_after = cell->call->reset_after != 0, has_rz = panel->block->first == 0;
    int64_t place = place_in(panel, group), offset = panel->offset + place, units = panel->units;
    int64_t rows = step->rows, padded = cell->padded, h_stride = step->h.row_stride, lanes = units_of(cell, group);
    const float *sums = step->sums + place, *h_before = step->h.at + group * step->h.group_stride;
    for (int64_t row = 0; has_rz && row < rows; row++) {
        const float *a = sums + row * PANEL, *projected = step->projected[row] + offset;
        float *to = gates + row * SLOT_ROW;
        store(to + GATE_R * LANES, sigmoid_of(load(a) + load_part(projected, lanes)));
        store(to + GATE_Z * LANES, sigmoid_of(load(a + units) + load_part(projected + units, lanes)));
    }
    if (has_rz && !reset_after) {
        for (int64_t row = 0; row < rows; row++)
            store(step->reset_h + row * padded + group * LANES,
                  load(gates + row * SLOT_ROW + GATE_R * LANES) * load(h_before + row * h_stride));
        return;
    }
    int64_t n_place = (2 - panel->block->first) * units;
    for (int64_t row = 0; row < rows; row++) {
        float *to = gates + row * SLOT_ROW;
        vec product = load(sums + row * PANEL + n_place);
        vec projected = load_part(step->projected[row] + offset + n_place, lanes);
        store(to + PRODUCT_N * LANES, product);
        if (reset_after) product *= load(to + GATE_R * LANES);
        vec n = tanh_of(projected + product), z = load(to + GATE_Z * LANES);
        store(to + GATE_N * LANES, n);
        store(h + row * padded, n + z * (load(h_before + row * h_stride) - n));
    }
}

static void states_forward(const struct cell *cell, const struct step *step, const struct panel *panel, int64_t group,
                           float *gates, float *c, float *h) {
    (void)c;
    gates_forward(cell, step, panel, group, gates, h);
}

#include "gates_backward.h"

/* All slots of one row's group of units, h and r h, from those that were saved and h before the step. */
INLINE void restore_gates(const struct cell *cell, const float *saved, vec h_before, vec c_before, int needs_h,
                          float *gates, float *h, float *reset_h) {
    (void)c_before, (void)needs_h;
    vec r = load(saved + GATE_R * LANES), z = load(saved + GATE_Z * LANES), n = load(saved + GATE_N * LANES);
    store(gates + GATE_R * LANES, r);
    store(gates + GATE_Z * LANES, z);
    store(gates + GATE_N * LANES, n);
    if (cell->call->reset_after)
        store(gates + PRODUCT_N * LANES, load(saved + PRODUCT_N * LANES));
    else
        store(reset_h, r * h_before);
    store(h, n + z * (h_before - n));
}

/* From the gradient of h after a step to those of the gates of a block, into `grad_gates`, and what h before the step
 * gets of it apart from the products with W_h. */
INLINE void gates_backward(const struct cell *cell, int block, struct gates_row gates, struct states states,
                           struct state_gradients *d, const float *peepholes, int needs_h, float *grad_gates,
                           struct vector_sums *sums) {
    (void)peepholes, (void)needs_h;
    int reset_after = cell->call->reset_after != 0;
    vec r = gate(gates, GATE_R), h_before = states.h_before, grad_r;
    if (block == cell->blocks - 1) {
        vec z = gate(gates, GATE_Z), n = gate(gates, GATE_N);
        vec grad_n = d->h * (1.0f - z) * (1.0f - n * n), grad_z = d->h * (h_before - n) * z * (1.0f - z);
        d->h *= z;
        sums->firsts[INITIAL_HIDDEN] += d->h;
        sums->gates[1] += grad_z;
        store_gradient(grad_gates, cell, 1, grad_z, gates.units);
        int64_t column = reset_after ? 3 : 2;
        sums->gates[column] += grad_n;
        store_gradient(grad_gates, cell, column, grad_n, gates.units);
        if (!reset_after) return;
        vec grad_product = grad_n * r;
        sums->gates[2] += grad_product;
        store_gradient(grad_gates, cell, 2, grad_product, gates.units);
        grad_r = grad_n * gate(gates, PRODUCT_N) * r * (1.0f - r);
    } else {
        grad_r = d->reset_h * h_before * r * (1.0f - r);
        d->h += d->reset_h * r;
        sums->firsts[INITIAL_HIDDEN] += d->reset_h * r;
    }
    sums->gates[0] += grad_r;
    store_gradient(grad_gates, cell, 0, grad_r, gates.units);
}

/* What h, or r h, before a step gets through the products with W_h, from the gradients of a block's gates. */
static void hidden_backward(const struct cell *cell, int block, struct panels recurrent, const float *const *grad_gates,
                            int64_t rows, int first, int needs_h, float *dh, float *d_reset_h, struct share share) {
    (void)needs_h;
    int64_t hidden = cell->hidden;
    if (block == 1) {
        if (first && !cell->call->initial_hidden) return; /* r h is 0, and its gradient is not used */
        multiply_gradients(cell, recurrent, grad_gates, rows, (struct range){2 * hidden, hidden}, d_reset_h, 0, share);
    } else if (!first)
        multiply_gradients(cell, recurrent, grad_gates, rows, (struct range){0, cell->hidden_gates * hidden}, dh, 1,
                           share);
}

#endif
