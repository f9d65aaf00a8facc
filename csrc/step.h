/* One step forward of a tile's rows: what it starts from, and the pre-activations of a panel of gates. */
#ifndef CONVRNN_STEP_H
#define CONVRNN_STEP_H

#include "plan.h"
#include "weights.h"

/* One vector for each row and group: where the first one is, and how far the next ones are. */
struct state_rows {
    const float *at;
    int64_t row_stride, group_stride;
};

INLINE vec state_of(struct state_rows state, int64_t row, int64_t group) {
    return load(state.at + row * state.row_stride + group * state.group_stride);
}

struct step {
    int first;   /* the states before it are the initial ones, the same in every row */
    int needs_h; /* otherwise the gate o of an LSTM is not computed */
    int64_t rows;
    const float *projected[MAX_TILE_ROWS]; /* W_x x + b of each row's frame, [gate_stride] */
    const float *h_before;                 /* [rows, padded]; not read in a first step */
    struct state_rows h, c;                /* before the step */
    float *reset_h;                        /* r h of a GRU whose reset gate acts on h, [rows, padded] */
    float *sums;                           /* pre-activations of one panel, [rows, PANEL] */
};

/* A first step, which starts from the initial states. The caller fills in `projected` and `reset_h`. */
static void begin_step(struct step *step, const struct cell *cell, int64_t rows, float *sums) {
    step->first = 1;
    step->needs_h = 1;
    step->rows = rows;
    step->h_before = NULL;
    step->h = (struct state_rows){cell->initial_hidden, 0, LANES};
    step->c = (struct state_rows){cell->initial_cell, 0, LANES};
    step->reset_h = NULL;
    step->sums = sums;
}

/* Make it a later step, which starts from h, [rows, padded], and c. */
static void continue_step(struct step *step, const struct cell *cell, const float *h, struct state_rows c) {
    step->first = 0;
    step->h_before = h;
    step->h = (struct state_rows){h, cell->padded, LANES};
    step->c = c;
}

/* Whether all of a tile's r h are 0: NaN is not. */
static int is_zero(const struct step *step, int64_t padded) {
    ivec found = {0};
    for (int64_t i = 0; i < step->rows * padded; i += LANES) found |= load(step->reset_h + i) != (vec){0};
    int any = 0;
    for (int lane = 0; lane < LANES; lane++) any |= found[lane];
    return !any;
}

/* Pre-activations of a panel, without the peepholes: of a GRU only the products with W_h, since its reset gate comes
 * between them and the projection. Those of the last gates may be left out. */
static void sum_gates(const struct weights *weights, const struct step *step, const struct panel *panel,
                      int64_t gates) {
    const struct cell *cell = weights->cell;
    static const float one = 1.0f;
    int64_t offset = panel->offset;
    int takes_h = panel->block->first < cell->hidden_gates;
    /* A first step's r h is 0 in every row if h is, unless r is NaN. */
    int same_product = step->first && (takes_h || (!cell->call->initial_hidden && is_zero(step, cell->padded)));
    const float *from_rows = takes_h ? step->h_before : step->reset_h;
    int packed = gate_vectors(panel, panel->block->gates), vectors = gate_vectors(panel, gates);
    for (int64_t row = 0, count; row < step->rows; row += count) {
        const float *from[MICRO_ROWS], *init[MICRO_ROWS];
        float *out[MICRO_ROWS];
        count = block_rows(step->rows - row);
        for (int64_t i = 0; i < count; i++) {
            from[i] = same_product ? &one : from_rows + (row + i) * cell->padded;
            init[i] = (HAS_RECURRENT_BIAS ? weights->recurrent_bias : step->projected[row + i]) + offset;
            out[i] = step->sums + (row + i) * PANEL;
        }
        if (same_product)
            multiply((int)count, vectors, from, 0, 1, weights->first_product + offset, 0, init, out);
        else
            multiply((int)count, vectors, from, 1, cell->hidden, weights->recurrent + offset * cell->hidden,
                     packed * LANES, init, out);
    }
}

#endif
