/* One step forward of a tile's rows: equations 3 to 7 of the paper for one group of units.
 *
 * The nonlinearities run over all rows in several short loops. The gates of one row are a long chain of dependent
 * operations, which the processor can overlap with the chains of the next rows only if a loop's body is short. The
 * loops keep what they need in local variables, because the compiler has to assume that a store changes anything else.
 */
#ifndef CONVRNN_GATES_FORWARD_H
#define CONVRNN_GATES_FORWARD_H

#include "plan.h"
#include "weights.h"

/* The results of a step for one row and one group of units, [SLOTS, LANES]. */
enum slot { GATE_I, GATE_F, GATE_G, GATE_O, TANH_C, STATE_C, SLOTS };
#define SLOT_ROW (SLOTS * LANES)

struct step {
    int first;   /* the state before is initial_hidden, initial_cell */
    int needs_h; /* otherwise the gate o is not computed */
    int64_t rows;
    const float *projected[MAX_TILE_ROWS]; /* W_x x + b of each row's frame, [gate_stride] */
    const float *h;                        /* before the step, [rows, padded] */
    const float *c;                        /* before the step, one vector for each row and group */
    int64_t c_row_stride, c_group_stride;
    float *sums; /* pre-activations of one group, [rows, PANEL] */
};

/* A first step, which starts from the initial states. The caller fills in `projected`. */
static void begin_step(struct step *step, const struct cell *cell, int64_t rows, float *sums) {
    step->first = 1;
    step->needs_h = 1;
    step->rows = rows;
    step->h = NULL;
    step->c = cell->initial_cell;
    step->c_row_stride = 0;
    step->c_group_stride = LANES;
    step->sums = sums;
}

/* Make it a later step, which starts from h and c. */
static void continue_step(struct step *step, const float *h, const float *c, int64_t c_row_stride,
                          int64_t c_group_stride) {
    step->first = 0;
    step->h = h;
    step->c = c;
    step->c_row_stride = c_row_stride;
    step->c_group_stride = c_group_stride;
}

/* Pre-activations of a group, without the peepholes. */
static void sum_gates(const struct weights *weights, const struct step *step, int64_t group) {
    const struct cell *cell = weights->cell;
    static const float one = 1.0f;
    int64_t offset = group_offset(group);
    int packed = gate_vectors(cell, group, 4), vectors = step->needs_h ? packed : gate_vectors(cell, group, 3);
    for (int64_t row = 0, count; row < step->rows; row += count) {
        const float *from[MICRO_ROWS], *init[MICRO_ROWS];
        float *out[MICRO_ROWS];
        count = block_rows(step->rows - row);
        for (int64_t i = 0; i < count; i++) {
            from[i] = step->first ? &one : step->h + (row + i) * cell->padded;
            init[i] = step->projected[row + i] + offset;
            out[i] = step->sums + (row + i) * PANEL;
        }
        if (step->first)
            multiply((int)count, vectors, from, 0, 1, weights->first_product + offset, 0, init, out);
        else
            multiply((int)count, vectors, from, 1, cell->hidden, weights->recurrent + offset * cell->hidden,
                     packed * LANES, init, out);
    }
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
static void gates_forward(const struct cell *cell, const struct step *step, int64_t group, float *gates, float *h) {
    const float *peepholes = peepholes_of(cell, group), *sums = step->sums;
    const float *c_before = step->c + group * step->c_group_stride;
    int64_t units = units_of(cell, group), rows = step->rows, padded = cell->padded, c_stride = step->c_row_stride;
    for (int64_t row = 0; row < rows; row++) {
        const float *a = sums + row * PANEL;
        float *to = gates + row * SLOT_ROW;
        vec a_i, a_f, c = load(c_before + row * c_stride);
        peep(a, units, peepholes, c, &a_i, &a_f);
        vec g = tanh_of(load(a + 2 * units)), i = 1.0f / sigmoid_inverse(a_i), f = 1.0f / sigmoid_inverse(a_f);
        store(to + GATE_I * LANES, i);
        store(to + GATE_F * LANES, f);
        store(to + GATE_G * LANES, g);
        store(to + STATE_C * LANES, f * c + i * g);
    }
    for (int64_t row = 0; h && row < rows; row++) {
        float *to = gates + row * SLOT_ROW;
        vec c = load(to + STATE_C * LANES), a_o = load(sums + row * PANEL + 3 * units);
        if (peepholes) a_o += load(peepholes + 2 * LANES) * c;
        vec tanh_c = tanh_of(c), o = 1.0f / sigmoid_inverse(a_o);
        store(to + GATE_O * LANES, o);
        store(to + TANH_C * LANES, tanh_c);
        store(h + row * padded, o * tanh_c);
    }
}

/* After sum_gates: only the states c and h, into rows of `padded` floats. With fewer divisions than gates_forward, so
 * rounded differently: `inverse` [rows, SLOTS, LANES] holds 1 / gate, and e^-2x - 1 in place of tanh(x). */
static void states_forward(const struct cell *cell, const struct step *step, int64_t group, float *inverse, float *c,
                           float *h) {
    const float *peepholes = peepholes_of(cell, group), *sums = step->sums;
    const float *c_before = step->c + group * step->c_group_stride;
    int64_t units = units_of(cell, group), rows = step->rows, padded = cell->padded, c_stride = step->c_row_stride;
    for (int64_t row = 0; row < rows; row++) {
        const float *a = sums + row * PANEL;
        float *to = inverse + row * SLOT_ROW;
        vec a_i, a_f;
        peep(a, units, peepholes, load(c_before + row * c_stride), &a_i, &a_f);
        store(to + GATE_I * LANES, sigmoid_inverse(a_i));
        store(to + GATE_F * LANES, sigmoid_inverse(a_f));
        store(to + GATE_G * LANES, tanh_exponential(load(a + 2 * units)));
    }
    for (int64_t row = 0; row < rows; row++) {
        const float *from = inverse + row * SLOT_ROW;
        vec e = load(from + GATE_G * LANES);
        store(c + row * padded, load(c_before + row * c_stride) / load(from + GATE_F * LANES) -
                                    e / (load(from + GATE_I * LANES) * (2.0f + e)));
    }
    for (int64_t row = 0; row < rows; row++) {
        float *to = inverse + row * SLOT_ROW;
        vec c_after = load(c + row * padded), a_o = load(sums + row * PANEL + 3 * units);
        if (peepholes) a_o += load(peepholes + 2 * LANES) * c_after;
        store(to + GATE_O * LANES, sigmoid_inverse(a_o));
        store(to + TANH_C * LANES, tanh_exponential(c_after));
    }
    for (int64_t row = 0; row < rows; row++) {
        const float *from = inverse + row * SLOT_ROW;
        vec e = load(from + TANH_C * LANES);
        store(h + row * padded, -e / (load(from + GATE_O * LANES) * (2.0f + e)));
    }
}

#endif
