/* The backward pass of windows: the tiles, dealt out to splits, and the sums over them. */
#ifndef CONVRNN_WINDOWS_BACKWARD_H
#define CONVRNN_WINDOWS_BACKWARD_H

#include "windows_gradients.h"

/* Parts of the sums of gradients, each over successive tiles, so that threads do not wait for each other: enough to
 * keep as many threads busy, and few enough to add up quickly. */
#define SPLITS 16
/* With an input matrix for each position of a long window, whose sums take the most memory of all. */
#define LONG_POSITIONS_SPLITS 8

struct windows_backward {
    const struct windows_plan *plan;
    struct cell cell;
    struct weights weights;
    struct backward_weights backward_weights;
    int64_t splits;
    struct vector_gradients vectors; /* parts: splits */
    float *grad_hh;                  /* [splits, hidden, recurrent_stride] */
    float *grad_ih;                  /* [splits, positions, features, input_stride] */
    float *grad_frames;              /* [frames of all tiles, whole vectors of features]; NULL without grad_x */
    int64_t workers, tile_size;
    float *tiles; /* [workers, tile_size], the memory of each worker's tile */
};

/* All tiles of one split, in their order. */
static void windows_backward_split(void *context, int64_t split, int64_t worker) {
    const struct windows_backward *pass = context;
    const struct windows_plan *plan = pass->plan;
    const struct cell *cell = &pass->cell;
    int64_t hh_size = cell->hidden * cell->recurrent_stride;
    int64_t ih_size = positions_of(cell->call) * cell->features * cell->input_stride;
    int64_t width = whole_vectors(cell->features);
    float *grad_hh = pass->grad_hh + split * hh_size, *grad_ih = pass->grad_ih + split * ih_size;
    clear_vector_part(&pass->vectors, cell, split);
    memset(grad_hh, 0, sizeof(float) * (size_t)hh_size);
    memset(grad_ih, 0, sizeof(float) * (size_t)ih_size);
    int64_t number = divide_up(split * plan->tiles, pass->splits);
    for (; number * pass->splits / plan->tiles == split; number++) {
        struct windows_backward_tile tile = {.windows = new_windows_tile(plan, &pass->weights, number)};
        struct arena arena = {.memory = pass->tiles + worker * pass->tile_size};
        lay_out_windows_backward_tile(&tile, &arena);
        tile.vector_sums = vector_part(&pass->vectors, cell, split);
        tile.grad_hh = grad_hh;
        tile.grad_ih = grad_ih;
        if (pass->grad_frames) {
            int64_t frame = plan->tile_frame_begin[number], end = plan->tile_frame_begin[number + 1];
            tile.grad_frames = pass->grad_frames + frame * width;
            if (!plan->shares_frames) memset(tile.grad_frames, 0, sizeof(float) * (size_t)((end - frame) * width));
        }
        windows_tile_backward(&tile, &pass->backward_weights);
    }
}

/* `columns` of one row of sums [splits, rows, stride], added up and written into a column of `out` [columns, width]. */
static void add_up_row(const struct windows_backward *pass, const float *sums, int64_t rows, int64_t stride,
                       int64_t columns, float *out, int64_t width) {
    for (int64_t k = 0; k < columns; k += LANES) {
        vec sum = {0};
        for (int64_t split = 0; split < pass->splits; split++) sum += load(sums + split * rows * stride + k);
        for (int64_t lane = 0; lane < at_most(LANES, columns - k); lane++) out[(k + lane) * width] = sum[lane];
    }
}

/* First the columns of the recurrent matrix, then those of the input matrices. */
static void add_up_column(void *context, int64_t number, int64_t worker) {
    (void)worker;
    const struct windows_backward *pass = context;
    const struct cell *cell = &pass->cell;
    const struct recurrent_call *call = cell->call;
    int64_t hidden = call->hidden, features = call->features, inputs = positions_of(call) * features;
    int64_t input = number - hidden, position = input / features;
    for (int i = 0; i < cell->spans; i++) {
        const struct span *span = &cell->span[i];
        if (number < hidden && span->recurrent_row >= 0)
            add_up_row(pass, pass->grad_hh + number * cell->recurrent_stride + span->recurrent_place, hidden,
                       cell->recurrent_stride, span->columns,
                       call->grad_weight_hh + span->recurrent_row * hidden + number, hidden);
        if (number >= hidden && span->input_row >= 0)
            add_up_row(
                pass, pass->grad_ih + input * cell->input_stride + span->input_place, inputs, cell->input_stride,
                span->columns,
                call->grad_weight_ih + (position * GATES * hidden + span->input_row) * features + input % features,
                features);
    }
}

/* The gradient of a sequence's frames, summed over all tiles that contain them. */
static void gather_frames(void *context, int64_t sequence, int64_t worker) {
    (void)worker;
    const struct windows_backward *pass = context;
    const struct windows_plan *plan = pass->plan;
    const struct recurrent_call *call = plan->call;
    int64_t features = call->features, width = whole_vectors(features);
    memset(call->grad_x + sequence * call->frames * features, 0, sizeof(float) * (size_t)(call->frames * features));
    for (int64_t row = plan->sequence_begin[sequence]; row < plan->sequence_begin[sequence + 1]; row++) {
        int64_t tile = row / TILE_WINDOWS, window_begin = plan->first_frame[row];
        int64_t begin = new_frames_begin(plan, row, plan->tile_begin[tile]), end = window_begin + call->kernel_size;
        int64_t place = plan->tile_frame_begin[tile] + plan->tile_frame[row] - window_begin;
        for (int64_t frame = begin; frame < end; frame++) {
            const float *from = pass->grad_frames + (place + frame) * width;
            float *to = call->grad_x + frame * features;
            for (int64_t k = 0; k < features; k++) to[k] += from[k];
        }
    }
}

static void lay_out_windows_backward(struct windows_backward *pass, struct arena *arena) {
    struct cell *cell = &pass->cell;
    int64_t frames = pass->plan->tile_frame_begin[pass->plan->tiles], width = whole_vectors(cell->features);
    lay_out_weights(&pass->weights, cell, arena);
    lay_out_cell(cell, arena);
    lay_out_backward_weights(&pass->backward_weights, cell, arena);
    lay_out_vector_gradients(&pass->vectors, cell, pass->splits, arena);
    pass->grad_hh = take(arena, pass->splits * cell->hidden * cell->recurrent_stride);
    pass->grad_ih = take(arena, pass->splits * positions_of(cell->call) * cell->features * cell->input_stride);
    pass->grad_frames = cell->call->grad_x ? take(arena, frames * width) : NULL;
    struct windows_backward_tile tile = {.windows = {.plan = pass->plan, .weights = &pass->weights}};
    struct arena measured = {0};
    lay_out_windows_backward_tile(&tile, &measured);
    pass->tile_size = measured.used;
    pass->tiles = take(arena, pass->workers * pass->tile_size);
}

static int windows_backward(const struct windows_plan *plan) {
    const struct recurrent_call *call = plan->call;
    struct windows_backward pass = {.plan = plan, .cell = new_cell(call)};
    int long_positions = call->per_position && !is_short(plan);
    pass.splits = at_most(long_positions ? LONG_POSITIONS_SPLITS : SPLITS, plan->tiles);
    pass.workers = at_most(call->threads, pass.splits);
    struct arena arena = {0};
    lay_out_windows_backward(&pass, &arena);
    if (allocate(&arena)) return -1;
    lay_out_windows_backward(&pass, &arena);
    pack_cell(&pass.cell);
    pack_weights(&pass.weights);
    pack_backward_weights(&pass.backward_weights);
    convrnn_parallel_for(pass.splits, pass.workers, windows_backward_split, &pass);
    convrnn_parallel_for(call->hidden + positions_of(call) * call->features, call->threads, add_up_column, &pass);
    if (call->grad_x) convrnn_parallel_for(call->batch, call->threads, gather_frames, &pass);
    add_up_vectors(&pass.cell, &pass.vectors, pass.backward_weights.recurrent);
    free(arena.memory);
    return 0;
}

#endif
