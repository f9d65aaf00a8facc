/* The steps of a tile of windows with nothing kept of them but the states. */
#ifndef CONVRNN_WINDOWS_STATES_H
#define CONVRNN_WINDOWS_STATES_H

#include <string.h>

#include "windows.h"

struct windows_states {
    float *h, *h_next, *c; /* [rows, padded] */
    float *gates;          /* of one group, [rows, SLOTS, LANES] */
};

static void lay_out_windows_states(struct windows_states *states, const struct cell *cell, struct arena *arena) {
    states->gates = take(arena, TILE_WINDOWS * SLOT_ROW);
    states->h = take(arena, TILE_WINDOWS * cell->padded);
    states->h_next = take(arena, TILE_WINDOWS * cell->padded);
    states->c = take(arena, TILE_WINDOWS * cell->padded);
}

/* Begin a step that starts from these states. */
static void begin_states_step(const struct windows_tile *tile, const struct windows_states *states, int64_t index,
                              struct step *step) {
    begin_windows_step(tile, index, step);
    if (index) continue_step(step, states->h, states->c, tile->weights->cell->padded, LANES);
}

/* After sum_gates: c and, as h_next, h of one group of units. Where the backward pass finds the steps of a long window
 * that attain its maximum by comparing, the states have the same bits as those that it repeats. */
static void states_group_forward(const struct windows_tile *tile, const struct windows_states *states,
                                 const struct step *step, int64_t group) {
    const struct cell *cell = tile->weights->cell;
    float *h = states->h_next + group * LANES, *c = states->c + group * LANES;
    if (is_short(tile->plan) || cell->call->reduce != MAX) {
        states_forward(cell, step, group, states->gates, c, h);
        return;
    }
    gates_forward(cell, step, group, states->gates, h);
    for (int64_t row = 0; row < step->rows; row++)
        store(c + row * cell->padded, load(states->gates + row * SLOT_ROW + STATE_C * LANES));
}

static void end_states_step(struct windows_states *states) {
    float *h = states->h;
    states->h = states->h_next;
    states->h_next = h;
}

#endif
