/* The forward pass of windows. */
#ifndef CONVRNN_WINDOWS_FORWARD_H
#define CONVRNN_WINDOWS_FORWARD_H

#include <string.h>

#include "windows.h"

struct windows_forward {
    const struct windows_plan *plan;
    struct cell cell;
    struct weights weights;
    int64_t workers, tile_size;
    float *tiles; /* [workers, tile_size], the memory of each worker's tile */
};

struct windows_forward_tile {
    struct windows_tile windows;
    float *h, *h_next, *c; /* [rows, padded] */
    float *gates;          /* of one group, [rows, SLOTS, LANES] */
};

static void lay_out_windows_forward_tile(struct windows_forward_tile *tile, struct arena *arena) {
    int64_t states = TILE_WINDOWS * tile->windows.weights->cell->padded;
    lay_out_windows_tile(&tile->windows, arena);
    tile->gates = take(arena, TILE_WINDOWS * SLOT_ROW);
    tile->h = take(arena, states);
    tile->h_next = take(arena, states);
    tile->c = take(arena, states);
}

/* A state after a step into y, or into the reduction that y holds. */
static void reduce_state(const struct windows_tile *tile, int64_t row, int64_t step, int64_t group, vec state) {
    const struct cell *cell = tile->weights->cell;
    const struct lstm_call *call = cell->call;
    int64_t units = units_of(cell, group), last = call->kernel_size - 1;
    float *y = call->y + output_of(tile, row, step) * cell->hidden + group * LANES;
    if (step && call->reduce == MEAN) state += load_part(y, units);
    if (step && call->reduce == MAX) state = maximum(load_part(y, units), state);
    if (step == last && call->reduce == MEAN) state /= (float)call->kernel_size;
    store_part(y, state, units);
}

/* One group of units in one step. The last step has the same bits whether its gates are saved or not. */
static void windows_group_forward(const struct windows_forward_tile *tile, const struct step *step, int64_t index,
                                  int64_t group) {
    const struct cell *cell = tile->windows.weights->cell;
    const struct lstm_call *call = cell->call;
    int last = is_last_step(call, index), use_c = call->sequence == CELL;
    float *h = tile->h_next + group * LANES, *c = tile->c + group * LANES;
    sum_gates(tile->windows.weights, step, group);
    if (last)
        gates_forward(cell, step, group, tile->gates, step->needs_h ? h : NULL);
    else
        states_forward(cell, step, group, tile->gates, c, h);
    for (int64_t row = 0; last && call->gates && row < step->rows; row++)
        memcpy(saved_gates_of(&tile->windows, row, group), tile->gates + row * SLOT_ROW,
               sizeof(float) * (size_t)(saved_gates(call) * LANES));
    if (call->reduce == LAST && !last) return;
    for (int64_t row = 0; row < step->rows; row++) {
        const float *c_after = last ? tile->gates + row * SLOT_ROW + STATE_C * LANES : c + row * cell->padded;
        reduce_state(&tile->windows, row, index, group, load(use_c ? c_after : h + row * cell->padded));
    }
}

static void windows_forward_tile(void *context, int64_t number, int64_t worker) {
    const struct windows_forward *pass = context;
    const struct cell *cell = &pass->cell;
    const struct lstm_call *call = cell->call;
    struct windows_forward_tile tile = {.windows = new_windows_tile(pass->plan, &pass->weights, number)};
    struct arena arena = {.memory = pass->tiles + worker * pass->tile_size};
    lay_out_windows_forward_tile(&tile, &arena);
    if (!call->per_position) project_tile(&tile.windows);
    for (int64_t index = 0; index < call->kernel_size; index++) {
        if (call->per_position) project_position(&tile.windows, index);
        struct step step;
        begin_windows_step(&tile.windows, index, &step);
        if (index) continue_step(&step, tile.h, tile.c, cell->padded, LANES);
        for (int64_t group = 0; group < cell->groups; group++) windows_group_forward(&tile, &step, index, group);
        float *h = tile.h;
        tile.h = tile.h_next;
        tile.h_next = h;
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
