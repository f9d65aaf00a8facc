/* The steps of a tile of windows with nothing kept of them but the states. */
#ifndef CONVRNN_WINDOWS_STATES_H
#define CONVRNN_WINDOWS_STATES_H

#include <string.h>

#include "windows.h"

struct windows_states {
    float *h, *h_next, *c; /* [rows, padded] */
    float *gates;          /* [rows, SLOTS, LANES], of one group or, with two blocks of gates, of each */
    float *reset_h;        /* r h, [rows, padded]; with two blocks */
};

static void lay_out_windows_states(struct windows_states *states, const struct cell *cell, struct arena *arena) {
    int64_t two = cell->blocks > 1;
    states->gates = take(arena, (two ? cell->groups : 1) * TILE_WINDOWS * SLOT_ROW);
    states->reset_h = take(arena, two * TILE_WINDOWS * cell->padded);
    states->h = take(arena, TILE_WINDOWS * cell->padded);
    states->h_next = take(arena, TILE_WINDOWS * cell->padded);
    states->c = take(arena, HAS_C * TILE_WINDOWS * cell->padded);
}

INLINE float *gates_of(const struct windows_states *states, const struct cell *cell, int64_t group) {
    return states->gates + (cell->blocks > 1 ? group : 0) * TILE_WINDOWS * SLOT_ROW;
}

/* Begin a step that starts from these states. */
static void begin_states_step(const struct windows_tile *tile, const struct windows_states *states, int64_t index,
                              struct step *step) {
    const struct cell *cell = tile->weights->cell;
    begin_windows_step(tile, index, step);
    step->reset_h = states->reset_h;
    if (index) continue_step(step, cell, states->h, (struct state_rows){states->c, cell->padded, LANES});
}

/* After sum_gates: c and, as h_next, h of one group of units. Where the backward pass finds the steps of a long window
 * that attain its maximum by comparing, the states have the same bits as those that it repeats. */
static void states_group_forward(const struct windows_tile *tile, const struct windows_states *states,
                                 const struct step *step, const struct panel *panel, int64_t group) {
    const struct cell *cell = tile->weights->cell;
    float *gates = gates_of(states, cell, group), *h = states->h_next + group * LANES, *c = states->c + group * LANES;
    if (is_short(tile->plan) || cell->call->reduce != MAX) {
        states_forward(cell, step, panel, group, gates, c, h);
        return;
    }
    gates_forward(cell, step, panel, group, gates, h);
    for (int64_t row = 0; HAS_C && row < step->rows; row++)
        store(c + row * cell->padded, load(gates + row * SLOT_ROW + STATE_C * LANES));
}

static void end_states_step(struct windows_states *states) {
    float *h = states->h;
    states->h = states->h_next;
    states->h_next = h;
}

#endif
