/* The simple recurrent network: equation 1 of the paper for one group of units, and its derivative. Its only gate is
 * the new state itself. */
#ifndef CONVRNN_GATES_H
#define CONVRNN_GATES_H

#define CELL_NAME rnn
#define GATES 1
#define GRAD_GATES 1         /* columns of gradients, in blocks of hidden */
#define HAS_C 0              /* whether there are cell states */
#define HAS_RECURRENT_BIAS 0 /* whether products with W_h have a bias of their own */

#include "step.h"

enum slot { STATE_H, SLOTS };
#define SLOT_ROW (SLOTS * LANES)
#define STATE_C 0 /* not used */

enum { OTHER_SUMS };
enum { FIRST_SUMS };

static void describe_cell(struct cell *cell) {
    add_block(cell, 0, GATES);
    add_span(cell, GATES, 0, 0);
    cell->hidden_gates = GATES;
}

INLINE int64_t needed_gates(const struct step *step, const struct panel *panel) {
    (void)step, (void)panel;
    return GATES;
}

/* After sum_gates: h into rows of `padded` floats and into `gates` [rows, SLOTS, LANES]. */
static void gates_forward(const struct cell *cell, const struct step *step, const struct panel *panel, int64_t group,
                          float *gates, float *h) {
    const float *sums = step->sums + place_in(panel, group);
    int64_t rows = step->rows, padded = cell->padded, nonlinearity = cell->call->nonlinearity;
    for (int64_t row = 0; row < rows; row++) {
        vec a = load(sums + row * PANEL), h_after;
        if (nonlinearity == TANH)
            h_after = tanh_of(a);
        else if (nonlinearity == SIGMOID)
            h_after = sigmoid_of(a);
        else
            h_after = maximum(a, (vec){0});
        store(gates + row * SLOT_ROW, h_after);
        store(h + row * padded, h_after);
    }
}

static void states_forward(const struct cell *cell, const struct step *step, const struct panel *panel, int64_t group,
                           float *gates, float *c, float *h) {
    (void)c;
    gates_forward(cell, step, panel, group, gates, h);
}

#include "gates_backward.h"

INLINE void restore_gates(const struct cell *cell, const float *saved, vec h_before, vec c_before, int needs_h,
                          float *gates, float *h, float *reset_h) {
    (void)cell, (void)h_before, (void)c_before, (void)needs_h, (void)gates, (void)reset_h;
    store(h, load(saved));
}

/* From the gradient of h after a step to that of its pre-activation, into `grad_gates`. */
INLINE void gates_backward(const struct cell *cell, int block, struct gates_row gates, struct states states,
                           struct state_gradients *d, const float *peepholes, int needs_h, float *grad_gates,
                           struct vector_sums *sums) {
    (void)block, (void)peepholes, (void)needs_h;
    int64_t nonlinearity = cell->call->nonlinearity;
    vec h = states.h, grad;
    if (nonlinearity == TANH)
        grad = d->h * (1.0f - h * h);
    else if (nonlinearity == SIGMOID)
        grad = d->h * h * (1.0f - h);
    else
        grad = choose(h <= (vec){0}, (vec){0}, d->h);
    sums->gates[0] += grad;
    store_gradient(grad_gates, cell, 0, grad, gates.units);
}

/* dh before a step, from the gradient of its pre-activations. */
static void hidden_backward(const struct cell *cell, int block, struct panels recurrent, const float *const *grad_gates,
                            int64_t rows, int first, int needs_h, float *dh, float *d_reset_h, struct share share) {
    (void)block, (void)needs_h, (void)d_reset_h;
    struct range columns = {0, cell->hidden};
    if (!first) multiply_gradients(cell, recurrent, grad_gates, rows, columns, dh, 0, share);
}

#endif
