/* A tile of windows, as the forward and the backward pass both have it. */
#ifndef CONVRNN_WINDOWS_H
#define CONVRNN_WINDOWS_H

#include "gates_forward.h"
#include "projection.h"

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

/* Frame of a step within the window; a reversed LSTM begins at the last one. */
INLINE int64_t position_of(const struct lstm_call *call, int64_t step) {
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
    const struct lstm_call *call = tile->plan->call;
    int64_t window = tile->plan->output[tile->begin + row];
    return call->reduce == NONE ? window * call->kernel_size + position_of(call, step) : window;
}

INLINE int is_last_step(const struct lstm_call *call, int64_t step) { return step == call->kernel_size - 1; }

/* In the last step of windows whose features are cell states, h is not needed, and so neither is the gate o. */
INLINE int needs_h(const struct lstm_call *call, int64_t step) {
    return !(is_last_step(call, step) && call->sequence == CELL);
}

INLINE int is_short(const struct windows_plan *plan) { return plan->sections == 1; }

INLINE int64_t saved_vectors(const struct lstm_call *call) {
    return saved_vectors_of(call->kernel_size, call->sequence, call->reduce);
}

/* Where the last step's gates of a short window lie in call->saved, as [saved_vectors, LANES]: in the order in which
 * they are computed. */
INLINE float *saved_gates_of(const struct windows_tile *tile, int64_t row, int64_t group) {
    const struct cell *cell = tile->weights->cell;
    int64_t place = tile->begin * cell->groups + group * tile->rows + row;
    return cell->call->saved + place * saved_vectors(cell->call) * LANES;
}

/* Where a vector of long windows lies there, as [rows, padded]. h and c before section s are vectors 2s - 2 and 2s - 1;
 * for reduce "max", the maximum and how many steps attain it are the last two. */
INLINE float *saved_vector_of(const struct windows_tile *tile, int64_t vector) {
    const struct cell *cell = tile->weights->cell;
    int64_t place = tile->begin * saved_vectors(cell->call) + vector * tile->rows;
    return cell->call->saved + place * cell->padded;
}

static struct projection new_projection(const struct windows_tile *tile, int64_t position) {
    return (struct projection){
        .weights = tile->weights, .position = position, .end_group = tile->weights->cell->groups};
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
    const struct lstm_call *call = tile->plan->call;
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
