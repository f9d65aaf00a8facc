/* The forward pass of windows. */
#ifndef CONVRNN_WINDOWS_FORWARD_H
#define CONVRNN_WINDOWS_FORWARD_H

#include "windows_states.h"

struct windows_forward {
    const struct windows_plan *plan;
    struct cell cell;
    struct weights weights;
    int64_t workers, tile_size;
    float *tiles; /* [workers, tile_size], the memory of each worker's tile */
};

struct windows_forward_tile {
    struct windows_tile windows;
    struct windows_states states;
};

static void lay_out_windows_forward_tile(struct windows_forward_tile *tile, struct arena *arena) {
    lay_out_windows_tile(&tile->windows, arena);
    lay_out_windows_states(&tile->states, tile->windows.weights->cell, arena);
}

/* A state after a step into y, or into the reduction that y holds. */
static void reduce_state(const struct windows_tile *tile, int64_t row, int64_t step, int64_t group, vec state) {
    const struct cell *cell = tile->weights->cell;
    const struct recurrent_call *call = cell->call;
    int64_t units = units_of(cell, group), last = call->kernel_size - 1;
    float *y = call->y + output_of(tile, row, step) * cell->hidden + group * LANES;
    if (step && call->reduce == MEAN) state += load_part(y, units);
    if (step && call->reduce == MAX) state = maximum(load_part(y, units), state);
    if (step == last && call->reduce == MEAN) state /= (float)call->kernel_size;
    store_part(y, state, units);
}

/* For reduce "max" of long windows: the maximum so far, and how many steps attain it. As in torch.amax, they share its
 * gradient equally. */
static void save_maximum(const struct windows_tile *tile, int64_t row, int64_t step, int64_t group, vec state) {
    int64_t place = row * tile->weights->cell->padded + group * LANES, vectors = saved_vectors(tile->plan->call);
    float *max = saved_vector_of(tile, vectors - 2) + place, *count = saved_vector_of(tile, vectors - 1) + place;
    vec before = load(max), now = step ? maximum(before, state) : state;
    store(count, equal(now, state) + (step ? equal(now, before) * load(count) : (vec){0}));
    store(max, now);
}

/* The gates of a step of short windows, after it, for the backward pass. */
static void save_gates(const struct windows_tile *tile, int64_t step, int64_t group, const float *gates) {
    const struct recurrent_call *call = tile->plan->call;
    size_t size = sizeof(float) * (size_t)(saved_slots(call, is_last_step(call, step)) * LANES);
    for (int64_t row = 0; row < tile->rows; row++)
        memcpy(saved_gates_of(tile, row, step, group), gates + row * SLOT_ROW, size);
}

/* After sum_gates, one group of units in one step. The last step has the same bits whether its gates are saved or not.
 */
static void windows_group_forward(const struct windows_forward_tile *tile, const struct step *step, int64_t index,
                                  const struct panel *panel, int64_t group) {
    const struct windows_tile *windows = &tile->windows;
    const struct windows_states *states = &tile->states;
    const struct cell *cell = windows->weights->cell;
    const struct recurrent_call *call = cell->call;
    int last = is_last_step(call, index), use_c = HAS_C && call->sequence == CELL;
    int saves = call->saved != NULL, saves_gates = saves && is_short(windows->plan) && index >= first_saved(call);
    int saves_maximum = saves && !is_short(windows->plan) && call->reduce == MAX;
    float *gates = gates_of(states, cell, group), *h = states->h_next + group * LANES, *c = states->c + group * LANES;
    if (last || saves_gates)
        gates_forward(cell, step, panel, group, gates, step->needs_h ? h : NULL);
    else
        states_group_forward(windows, states, step, panel, group);
    if (panel->block != &cell->block[cell->blocks - 1]) return;
    for (int64_t row = 0; HAS_C && saves_gates && !last && row < step->rows; row++)
        store(c + row * cell->padded, load(gates + row * SLOT_ROW + STATE_C * LANES));
    if (saves_gates) save_gates(windows, index, group, gates);
    if (call->reduce == LAST && !last) return;
    for (int64_t row = 0; row < step->rows; row++) {
        const float *c_after = last ? gates + row * SLOT_ROW + STATE_C * LANES : c + row * cell->padded;
        vec state = load(use_c ? c_after : h + row * cell->padded);
        reduce_state(windows, row, index, group, state);
        if (saves_maximum) save_maximum(windows, row, index, group, state);
    }
}

/* The states between two sections of long windows. */
static void save_states(const struct windows_forward_tile *tile, int64_t section) {
    size_t size = sizeof(float) * (size_t)(tile->windows.rows * tile->windows.weights->cell->padded);
    memcpy(saved_h_of(&tile->windows, section), tile->states.h, size);
    if (HAS_C) memcpy(saved_c_of(&tile->windows, section), tile->states.c, size);
}

static void windows_forward_tile(void *context, int64_t number, int64_t worker) {
    const struct windows_forward *pass = context;
    const struct cell *cell = &pass->cell;
    const struct recurrent_call *call = cell->call;
    struct windows_forward_tile tile = {.windows = new_windows_tile(pass->plan, &pass->weights, number)};
    struct arena arena = {.memory = pass->tiles + worker * pass->tile_size};
    lay_out_windows_forward_tile(&tile, &arena);
    if (pass->plan->shares_frames) project_tile(&tile.windows);
    for (int64_t index = 0; index < call->kernel_size; index++) {
        if (call->saved && index && index % pass->plan->section == 0) save_states(&tile, index / pass->plan->section);
        struct step step;
        begin_states_step(&tile.windows, &tile.states, index, &step);
        for (int64_t n = 0; n < cell->panels; n++) {
            struct panel panel = any_panel(cell, n);
            sum_gates(&pass->weights, &step, &panel, needed_gates(&step, &panel));
            for (int64_t group = panel.first_group; group < panel.end_group; group++)
                windows_group_forward(&tile, &step, index, &panel, group);
        }
        end_states_step(&tile.states);
    }
}

static void lay_out_windows_forward(struct windows_forward *pass, struct arena *arena) {
    lay_out_weights(&pass->weights, &pass->cell, arena);
    lay_out_cell(&pass->cell, arena);
    struct windows_forward_tile tile = {.windows = {.plan = pass->plan, .weights = &pass->weights}};
    struct arena measured = {0};
    lay_out_windows_forward_tile(&tile, &measured);
    pass->tile_size = measured.used;
    pass->tiles = take(arena, pass->workers * pass->tile_size);
}

static int windows_forward(const struct windows_plan *plan) {
    struct windows_forward pass = {.plan = plan, .cell = new_cell(plan->call)};
    pass.workers = at_most(plan->call->threads, plan->tiles);
    struct arena arena = {0};
    lay_out_windows_forward(&pass, &arena);
    if (allocate(&arena)) return -1;
    lay_out_windows_forward(&pass, &arena);
    pack_cell(&pass.cell);
    pack_weights(&pass.weights);
    convrnn_parallel_for(plan->tiles, pass.workers, windows_forward_tile, &pass);
    free(arena.memory);
    return 0;
}

#endif
