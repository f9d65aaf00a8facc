/* A tile of windows, as the forward and the backward pass both have it. */
#ifndef CONVRNN_WINDOWS_H
#define CONVRNN_WINDOWS_H

#include "projection.h"
#include "step.h"

struct windows_tile {
    const struct windows_plan *plan;
    const struct weights *weights;
    int64_t number, begin, rows;
    float *projected; /* [frames of the tile, gate_stride] if they are shared, or [rows, gate_stride] of one step */
    float *sums;      /* of one group, [rows, PANEL] */
};

static void lay_out_windows_tile(struct windows_tile *tile, struct arena *arena) {
    int64_t frames = tile->plan->shares_frames ? tile->plan->most_frames : TILE_WINDOWS;
    tile->sums = take(arena, TILE_WINDOWS * PANEL);
    tile->projected = take(arena, frames * tile->weights->cell->gate_stride);
}

static struct windows_tile new_windows_tile(const struct windows_plan *plan, const struct weights *weights,
                                            int64_t number) {
    struct windows_tile tile = {.plan = plan, .weights = weights, .number = number, .begin = plan->tile_begin[number]};
    tile.rows = plan->tile_begin[number + 1] - tile.begin;
    return tile;
}

/* Frame of a step within the window; a reversed network begins at the last one. */
INLINE int64_t position_of(const struct recurrent_call *call, int64_t step) {
    return call->reverse ? call->kernel_size - 1 - step : step;
}

/* Frame of a row's step, within batch * frames. */
INLINE int64_t window_frame(const struct windows_tile *tile, int64_t row, int64_t step) {
    return tile->plan->first_frame[tile->begin + row] + position_of(tile->plan->call, step);
}

/* The same, within the frames of the tile. */
INLINE int64_t tile_frame(const struct windows_tile *tile, int64_t row, int64_t step) {
    return tile->plan->tile_frame[tile->begin + row] + position_of(tile->plan->call, step);
}

/* Where a row's step goes in y, in vectors of `hidden`. */
INLINE int64_t output_of(const struct windows_tile *tile, int64_t row, int64_t step) {
    const struct recurrent_call *call = tile->plan->call;
    int64_t window = tile->plan->output[tile->begin + row];
    return call->reduce == NONE ? window * call->kernel_size + position_of(call, step) : window;
}

INLINE int is_last_step(const struct recurrent_call *call, int64_t step) { return step == call->kernel_size - 1; }

/* In the last step of windows whose features are cell states, h is not needed, and so neither is the gate o. */
INLINE int needs_h(const struct recurrent_call *call, int64_t step) {
    return !(is_last_step(call, step) && call->sequence == CELL);
}

INLINE int is_short(const struct windows_plan *plan) { return plan->sections == 1; }

INLINE int64_t saved_vectors(const struct recurrent_call *call) { return saved_vectors_of(call); }

/* The first step of short windows whose gates are saved. */
INLINE int64_t first_saved(const struct recurrent_call *call) { return call->kernel_size - call->saved_steps; }

/* Where the gates of a short window's step lie in call->saved, as [saved slots, LANES]: the last step first, and each
 * in the order in which its gates are computed. */
INLINE float *saved_gates_of(const struct windows_tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct cell *cell = tile->weights->cell;
    const struct recurrent_call *call = cell->call;
    int64_t slots = saved_slots(call, is_last_step(call, step)), later = call->kernel_size - 1 - step;
    int64_t vectors_before = later ? saved_slots(call, 1) + (later - 1) * slots : 0;
    int64_t place = tile->begin * saved_vectors(call) + tile->rows * vectors_before;
    return call->saved + (place * cell->groups + (group * tile->rows + row) * slots) * LANES;
}

/* Where a vector of long windows lies there, as [rows, padded]. Before section s there are h and c, vectors
 * 2s - 2 and 2s - 1, or h alone, s - 1; for reduce "max", the maximum and how many steps attain it are the last two. */
INLINE float *saved_vector_of(const struct windows_tile *tile, int64_t vector) {
    const struct cell *cell = tile->weights->cell;
    int64_t place = tile->begin * saved_vectors(cell->call) + vector * tile->rows;
    return cell->call->saved + place * cell->padded;
}

/* The same of h, or c, before a section. */
INLINE float *saved_h_of(const struct windows_tile *tile, int64_t section) {
    return saved_vector_of(tile, (1 + HAS_C) * (section - 1));
}

INLINE float *saved_c_of(const struct windows_tile *tile, int64_t section) {
    return saved_vector_of(tile, 2 * section - 1);
}

static struct projection new_projection(const struct windows_tile *tile, int64_t position) {
    return (struct projection){.weights = tile->weights, .position = position, .share = ALL};
}

/* W_x x + b of every frame of the tile, once however many windows contain it. */
static void project_tile(const struct windows_tile *tile) {
    const struct windows_plan *plan = tile->plan;
    int64_t gate_stride = tile->weights->cell->gate_stride;
    struct projection projection = new_projection(tile, 0);
    float *out = tile->projected;
    for (int64_t row = tile->begin; row < tile->begin + tile->rows; row++) {
        int64_t end = plan->first_frame[row] + plan->call->kernel_size;
        for (int64_t frame = new_frames_begin(plan, row, tile->begin); frame < end; frame++, out += gate_stride)
            project_frame(&projection, frame, out);
    }
    flush_projection(&projection);
}

/* W_x x + b of each row's frame in one step. */
static void project_step(const struct windows_tile *tile, int64_t step) {
    const struct recurrent_call *call = tile->plan->call;
    struct projection projection = new_projection(tile, call->per_position ? position_of(call, step) : 0);
    for (int64_t row = 0; row < tile->rows; row++)
        project_frame(&projection, window_frame(tile, row, step),
                      tile->projected + row * tile->weights->cell->gate_stride);
    flush_projection(&projection);
}

/* As begin_step, with `projected`: that of the tile's frames, where they are shared, has to be there. */
static void begin_windows_step(const struct windows_tile *tile, int64_t index, struct step *step) {
    const struct cell *cell = tile->weights->cell;
    int shares_frames = tile->plan->shares_frames;
    if (!shares_frames) project_step(tile, index);
    begin_step(step, cell, tile->rows, tile->sums);
    step->needs_h = needs_h(cell->call, index);
    for (int64_t row = 0; row < tile->rows; row++)
        step->projected[row] =
            tile->projected + (shares_frames ? tile_frame(tile, row, index) : row) * cell->gate_stride;
}

#endif
