/* The LSTM with peepholes: equations 3 to 7 of the paper for one group of units, and their derivatives.
 *
 * The nonlinearities run over all rows in two loops. The gates of one row are a long chain of dependent
 * operations, which the processor can overlap with the chains of the next rows only if a loop's body is short. The
 * loops keep what they need in local variables, because the compiler has to assume that a store changes anything else.
 */
#ifndef CONVRNN_GATES_H
#define CONVRNN_GATES_H

#define CELL_NAME lstm
#define GATES 4
#define GRAD_GATES 4         /* columns of gradients, in blocks of hidden */
#define HAS_C 1              /* whether there are cell states */
#define HAS_RECURRENT_BIAS 0 /* whether products with W_h have a bias of their own */

#include "step.h"

/* The results of a step for one row and one group of units, [SLOTS, LANES]. */
enum slot { GATE_I, GATE_F, GATE_G, GATE_O, TANH_C, STATE_C, SLOTS };
#define SLOT_ROW (SLOTS * LANES)

/* Sums over rows of one step besides those of the gates' gradients: of every step, and of first steps only. */
enum { PEEPHOLE_I, PEEPHOLE_F, PEEPHOLE_O, OTHER_SUMS };
enum { INITIAL_CELL, FIRST_SUMS };

static void describe_cell(struct cell *cell) {
    add_block(cell, 0, GATES);
    add_span(cell, GATES, 0, 0);
    cell->hidden_gates = GATES;
}

/* Gates of a panel that a step needs. */
INLINE int64_t needed_gates(const struct step *step, const struct panel *panel) {
    (void)panel;
    return step->needs_h ? 4 : 3;
}

/* Pre-activations of i and f: the sums and, through the peepholes, c before the step. */
INLINE void peep(const float *sums, int64_t units, const float *peepholes, vec c, vec *a_i, vec *a_f) {
    *a_i = load(sums);
    *a_f = load(sums + units);
    if (!peepholes) return;
    *a_i += load(peepholes) * c;
    *a_f += load(peepholes + LANES) * c;
}

/* After sum_gates: the gates, tanh(c) and c into `gates` [rows, SLOTS, LANES], and h into rows of `padded` floats.
 * Without h (NULL) the gate o and tanh(c) are left out. */
static void gates_forward(const struct cell *cell, const struct step *step, const struct panel *panel, int64_t group,
                          float *gates, float *h) {
    const float *peepholes = peepholes_of(cell, group), *sums = step->sums;
    const float *c_before = step->c.at + group * step->c.group_stride;
    int64_t units = panel->units, rows = step->rows, padded = cell->padded, c_stride = step->c.row_stride;
    for (int64_t row = 0; row < rows; row++) {
        const float *a = sums + row * PANEL;
        float *to = gates + row * SLOT_ROW;
        vec a_i, a_f, c = load(c_before + row * c_stride);
        peep(a, units, peepholes, c, &a_i, &a_f);
        vec g = tanh_of(load(a + 2 * units)), i = sigmoid_of(a_i), f = sigmoid_of(a_f);
        store(to + GATE_I * LANES, i);
        store(to + GATE_F * LANES, f);
        store(to + GATE_G * LANES, g);
        store(to + STATE_C * LANES, f * c + i * g);
    }
    for (int64_t row = 0; h && row < rows; row++) {
        float *to = gates + row * SLOT_ROW;
        vec c = load(to + STATE_C * LANES), a_o = load(sums + row * PANEL + 3 * units);
        if (peepholes) a_o += load(peepholes + 2 * LANES) * c;
        vec tanh_c = tanh_of(c), o = sigmoid_of(a_o);
        store(to + GATE_O * LANES, o);
        store(to + TANH_C * LANES, tanh_c);
        store(h + row * padded, o * tanh_c);
    }
}

/* After sum_gates: only the states c and h, into rows of `padded` floats. With fewer divisions than gates_forward, so
 * rounded differently; `gates` is not used. */
static void states_forward(const struct cell *cell, const struct step *step, const struct panel *panel, int64_t group,
                           float *gates, float *c, float *h) {
    (void)gates;
    const float *peepholes = peepholes_of(cell, group), *sums = step->sums;
    const float *c_before = step->c.at + group * step->c.group_stride;
    int64_t units = panel->units, rows = step->rows, padded = cell->padded, c_stride = step->c.row_stride;
    for (int64_t row = 0; row < rows; row++) {
        const float *a = sums + row * PANEL;
        vec a_i, a_f, before = load(c_before + row * c_stride);
        peep(a, units, peepholes, before, &a_i, &a_f);
        struct fraction i = sigmoid_fraction(a_i), f = sigmoid_fraction(a_f), g = tanh_fraction(load(a + 2 * units));
        store(c + row * padded,
              before * (f.numerator / f.denominator) + (i.numerator * g.numerator) / (i.denominator * g.denominator));
    }
    for (int64_t row = 0; row < rows; row++) {
        vec c_after = load(c + row * padded), a_o = load(sums + row * PANEL + 3 * units);
        if (peepholes) a_o += load(peepholes + 2 * LANES) * c_after;
        struct fraction o = sigmoid_fraction(a_o), tanh_c = tanh_fraction(c_after);
        store(h + row * padded, (o.numerator * tanh_c.numerator) / (o.denominator * tanh_c.denominator));
    }
}

#include "gates_backward.h"

/* All slots of one row's group of units, and h, from those that were saved and the states before the step. */
INLINE void restore_gates(const struct cell *cell, const float *saved, vec h_before, vec c_before, int needs_h,
                          float *gates, float *h, float *reset_h) {
    (void)cell, (void)h_before, (void)reset_h;
    vec i = load(saved + GATE_I * LANES), f = load(saved + GATE_F * LANES), g = load(saved + GATE_G * LANES);
    vec c = f * c_before + i * g;
    store(gates + GATE_I * LANES, i);
    store(gates + GATE_F * LANES, f);
    store(gates + GATE_G * LANES, g);
    store(gates + STATE_C * LANES, c);
    if (!needs_h) return;
    vec o = load(saved + GATE_O * LANES), tanh_c = tanh_of(c);
    store(gates + GATE_O * LANES, o);
    store(gates + TANH_C * LANES, tanh_c);
    store(h, o * tanh_c);
}

/* From the gradients of the states after a step to those before it, and to those of the gates, into `grad_gates`. Where
 * h was not needed, the gate o, tanh(c) and dh are not read. */
INLINE void gates_backward(const struct cell *cell, int block, struct gates_row gates, struct states states,
                           struct state_gradients *d, const float *peepholes, int needs_h, float *grad_gates,
                           struct vector_sums *sums) {
    (void)block;
    vec i = gate(gates, GATE_I), f = gate(gates, GATE_F), g = gate(gates, GATE_G), dc = d->c, grad_o = {0};
    if (needs_h) {
        vec o = gate(gates, GATE_O), tanh_c = gate(gates, TANH_C);
        grad_o = d->h * tanh_c * o * (1.0f - o);
        dc += d->h * o * (1.0f - tanh_c * tanh_c);
        if (peepholes) {
            dc += grad_o * load(peepholes + 2 * LANES);
            sums->others[PEEPHOLE_O] += grad_o * states.c;
        }
        sums->gates[3] += grad_o;
    }
    vec grad_i = dc * g * i * (1.0f - i);
    vec grad_f = dc * states.c_before * f * (1.0f - f);
    vec grad_g = dc * i * (1.0f - g * g);
    d->c = dc * f;
    if (peepholes) {
        d->c += grad_i * load(peepholes) + grad_f * load(peepholes + LANES);
        sums->others[PEEPHOLE_I] += grad_i * states.c_before;
        sums->others[PEEPHOLE_F] += grad_f * states.c_before;
    }
    sums->gates[0] += grad_i;
    sums->gates[1] += grad_f;
    sums->gates[2] += grad_g;
    sums->firsts[INITIAL_CELL] += d->c;
    store_gradient(grad_gates, cell, 0, grad_i, gates.units);
    store_gradient(grad_gates, cell, 1, grad_f, gates.units);
    store_gradient(grad_gates, cell, 2, grad_g, gates.units);
    store_gradient(grad_gates, cell, 3, grad_o, gates.units);
}

/* dh before a step, from the gradients of its gates. */
static void hidden_backward(const struct cell *cell, int block, struct panels recurrent, const float *const *grad_gates,
                            int64_t rows, int first, int needs_h, float *dh, float *d_reset_h, struct share share) {
    (void)block, (void)d_reset_h;
    struct range columns = {0, (needs_h ? 4 : 3) * cell->hidden};
    if (!first) multiply_gradients(cell, recurrent, grad_gates, rows, columns, dh, 0, share);
}

#endif
