/* The backward pass of windows.
 *
 * The forward pass saves only the gates of the last step. A tile repeats the few steps before it and this time keeps
 * everything, about as much as an L2 cache holds at the paper's sizes. The repeated states are rounded differently from
 * those of the forward pass, which never divides its gates out: where two steps of a window have states that close, the
 * maximum may move from one to the other. */
#ifndef CONVRNN_WINDOWS_BACKWARD_H
#define CONVRNN_WINDOWS_BACKWARD_H

#include "gates_backward.h"
#include "windows.h"

/* Parts of the sums of gradients, each over successive tiles, so that threads do not wait for each other: enough to
 * keep as many threads busy, and few enough to add up quickly. */
#define SPLITS 16

struct windows_backward {
    const struct windows_plan *plan;
    struct cell cell;
    struct weights weights;
    struct backward_weights backward_weights;
    int64_t splits;
    struct vector_gradients vectors; /* parts: splits */
    float *grad_hh;                  /* [splits, hidden, gate_stride] */
    float *grad_ih;                  /* [splits, positions, features, gate_stride] */
    float *grad_frames;              /* [frames of all tiles, whole vectors of features]; NULL without grad_x */
    int64_t workers, tile_size;
    float *tiles; /* [workers, tile_size], the memory of each worker's tile */
};

struct windows_backward_tile {
    struct windows_tile windows;
    float *kept;           /* [steps, groups, rows, SLOTS, LANES] */
    float *h;              /* after every step, [steps, rows, padded] */
    float *grad_gates;     /* [steps, rows, gate_stride] */
    float *grad_projected; /* [frames of the tile, gate_stride]; unused if per_position */
    float *x;              /* [frames of the tile, features]; per_position: [rows, features] of one step */
    float *dh, *dc;        /* [rows, padded] */
    float *max, *share;    /* [rows, padded]: maximum over the window; what each step that attains it gets */
    /* Where the tile's gradients go: */
    float *vector_sums, *grad_hh, *grad_ih; /* of its split */
    float *grad_frames;                     /* [frames of the tile, ..] or NULL */
};

static void lay_out_windows_backward_tile(struct windows_backward_tile *tile, struct arena *arena) {
    const struct cell *cell = tile->windows.weights->cell;
    int64_t steps = TILE_WINDOWS * cell->call->kernel_size, states = TILE_WINDOWS * cell->padded;
    lay_out_windows_tile(&tile->windows, arena);
    tile->kept = take(arena, steps * SLOTS * cell->padded);
    tile->h = take(arena, steps * cell->padded);
    tile->grad_gates = take(arena, steps * cell->gate_stride);
    tile->grad_projected = take(arena, cell->call->per_position ? 0 : steps * cell->gate_stride);
    tile->x = take(arena, steps * cell->features);
    tile->dh = take(arena, states);
    tile->dc = take(arena, states);
    tile->max = take(arena, states);
    tile->share = take(arena, states);
}

INLINE float *kept_of(const struct windows_backward_tile *tile, int64_t row, int64_t step, int64_t group) {
    int64_t groups = tile->windows.weights->cell->groups;
    return tile->kept + ((step * groups + group) * tile->windows.rows + row) * SLOT_ROW;
}

INLINE float *h_of(const struct windows_backward_tile *tile, int64_t row, int64_t step) {
    return tile->h + (step * tile->windows.rows + row) * tile->windows.weights->cell->padded;
}

INLINE float *grad_gates_of(const struct windows_backward_tile *tile, int64_t row, int64_t step) {
    return tile->grad_gates + (step * tile->windows.rows + row) * tile->windows.weights->cell->gate_stride;
}

/* c before a step, of one group of all rows: the first row's, and how far the next one's is. */
struct c_rows {
    const float *c;
    int64_t stride;
};

INLINE struct c_rows c_before(const struct windows_backward_tile *tile, int64_t step, int64_t group) {
    if (!step) return (struct c_rows){tile->windows.weights->cell->initial_cell + group * LANES, 0};
    return (struct c_rows){kept_of(tile, 0, step - 1, group) + STATE_C * LANES, SLOT_ROW};
}

/* Repeat all steps but the last. */
static void repeat_steps(const struct windows_backward_tile *tile) {
    const struct windows_tile *windows = &tile->windows;
    const struct cell *cell = windows->weights->cell;
    int64_t steps = cell->call->kernel_size - 1;
    if (!cell->call->per_position && steps) project_tile(windows);
    for (int64_t index = 0; index < steps; index++) {
        if (cell->call->per_position) project_position(windows, index);
        struct step step;
        begin_windows_step(windows, index, &step);
        if (index)
            continue_step(&step, h_of(tile, 0, index - 1), kept_of(tile, 0, index - 1, 0) + STATE_C * LANES, SLOT_ROW,
                          windows->rows * SLOT_ROW);
        for (int64_t group = 0; group < cell->groups; group++) {
            sum_gates(windows->weights, &step, group);
            gates_forward(cell, &step, group, kept_of(tile, 0, index, group), h_of(tile, 0, index) + group * LANES);
        }
    }
}

/* The last step, from the gates that the forward pass saved. */
static void restore_last_step(const struct windows_backward_tile *tile, int64_t row, int64_t group) {
    const struct cell *cell = tile->windows.weights->cell;
    int64_t step = cell->call->kernel_size - 1;
    const float *from = saved_gates_of(&tile->windows, row, group);
    float *kept = kept_of(tile, row, step, group);
    struct c_rows before = c_before(tile, step, group);
    vec c = load(before.c + row * before.stride);
    vec i = load(from + GATE_I * LANES), f = load(from + GATE_F * LANES), g = load(from + GATE_G * LANES);
    c = f * c + i * g;
    store(kept + GATE_I * LANES, i);
    store(kept + GATE_F * LANES, f);
    store(kept + GATE_G * LANES, g);
    store(kept + STATE_C * LANES, c);
    if (!needs_h(cell->call, step)) return;
    vec o = load(from + GATE_O * LANES), tanh_c = tanh_of(c);
    store(kept + GATE_O * LANES, o);
    store(kept + TANH_C * LANES, tanh_c);
    store(h_of(tile, row, step) + group * LANES, o * tanh_c);
}

/* The state after a step from which features are taken. */
INLINE vec feature_state(const struct windows_backward_tile *tile, int64_t row, int64_t step, int64_t group) {
    if (tile->windows.plan->call->sequence == CELL) return load(kept_of(tile, row, step, group) + STATE_C * LANES);
    return load(h_of(tile, row, step) + group * LANES);
}

/* For reduce "max". As in torch.amax, steps that attain the maximum share its gradient equally. */
static void share_maximum(const struct windows_backward_tile *tile) {
    const struct cell *cell = tile->windows.weights->cell;
    const struct lstm_call *call = cell->call;
    for (int64_t row = 0; row < tile->windows.rows; row++)
        for (int64_t group = 0; group < cell->groups; group++) {
            vec max = feature_state(tile, row, 0, group), count = {0};
            for (int64_t step = 1; step < call->kernel_size; step++)
                max = maximum(max, feature_state(tile, row, step, group));
            for (int64_t step = 0; step < call->kernel_size; step++)
                count += equal(max, feature_state(tile, row, step, group));
            const float *grad = call->grad_y + output_of(&tile->windows, row, 0) * cell->hidden + group * LANES;
            store(tile->max + row * cell->padded + group * LANES, max);
            store(tile->share + row * cell->padded + group * LANES, load_part(grad, units_of(cell, group)) / count);
        }
}

/* The gradient that the features give to the state after a step. */
static vec feature_gradient(const struct windows_backward_tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct cell *cell = tile->windows.weights->cell;
    const struct lstm_call *call = cell->call;
    int64_t place = row * cell->padded + group * LANES;
    if (call->reduce == MAX)
        return load(tile->share + place) * equal(feature_state(tile, row, step, group), load(tile->max + place));
    const float *grad_y = call->grad_y + output_of(&tile->windows, row, step) * cell->hidden + group * LANES;
    vec grad = load_part(grad_y, units_of(cell, group));
    return call->reduce == MEAN ? grad / (float)call->kernel_size : grad;
}

/* One step back, one group of units. */
static void windows_group_backward(const struct windows_backward_tile *tile, int64_t step, int64_t group) {
    const struct cell *cell = tile->windows.weights->cell;
    const struct lstm_call *call = cell->call;
    int64_t at = group * LANES, units = units_of(cell, group), rows = tile->windows.rows, padded = cell->padded;
    int64_t hidden = cell->hidden, gate_stride = cell->gate_stride;
    float *dh = tile->dh + at, *dc = tile->dc + at, *grad_gates = grad_gates_of(tile, 0, step) + at;
    if (call->reduce != LAST || is_last_step(call, step)) {
        float *grad = call->sequence == CELL ? dc : dh;
        for (int64_t row = 0; row < rows; row++) add_to(grad + row * padded, feature_gradient(tile, row, step, group));
    }
    const float *kept = kept_of(tile, 0, step, group), *peepholes = peepholes_of(cell, group);
    struct c_rows before = c_before(tile, step, group);
    int with_h = needs_h(call, step); /* without, the slots of o and tanh(c) hold anything, and are not used */
    struct vector_sums sums = {0};
    for (int64_t row = 0; row < rows; row++, kept += SLOT_ROW) {
        struct gates gates = {load(kept + GATE_I * LANES), load(kept + GATE_F * LANES), load(kept + GATE_G * LANES),
                              load(kept + GATE_O * LANES), load(kept + TANH_C * LANES)};
        struct gate_gradients grad =
            gates_backward(gates, load(kept + STATE_C * LANES), load(before.c + row * before.stride),
                           load(dh + row * padded), load(dc + row * padded), peepholes, with_h, &sums);
        store(dc + row * padded, grad.c);
        store_gradients(grad_gates + row * gate_stride, hidden, units, grad);
    }
    add_vector_sums(cell, tile->vector_sums, step == 0, group, &sums);
}

/* Gradients of one position's input matrix and, if wanted, of its frames. */
static void position_backward(const struct windows_backward_tile *tile, struct panels input, int64_t step) {
    const struct windows_tile *windows = &tile->windows;
    const struct cell *cell = windows->weights->cell;
    int64_t features = cell->features, gates = 4 * cell->hidden, gate_stride = cell->gate_stride;
    int64_t width = whole_vectors(features);
    const float *grad_gates = grad_gates_of(tile, 0, step), *from[TILE_WINDOWS];
    float *to[TILE_WINDOWS];
    for (int64_t row = 0; row < windows->rows; row++) {
        memcpy(tile->x + row * features, cell->call->x + window_frame(windows, row, step) * features,
               sizeof(float) * (size_t)features);
        from[row] = grad_gates + row * gate_stride;
        to[row] = tile->grad_frames ? tile->grad_frames + tile_frame(windows, row, step) * width : NULL;
    }
    float *grad_ih = tile->grad_ih + position_of(cell->call, step) * features * gate_stride;
    add_outer((struct matrix){tile->x, features, features}, (struct matrix){grad_gates, gate_stride, gates},
              windows->rows, grad_ih, gate_stride);
    if (tile->grad_frames) multiply_panels(from, to, windows->rows, gates, input, 1, ALL_PANELS);
}

/* Gradients of the input matrix and, if wanted, of the frames, by way of the projected frames, whose gradient is the
 * sum over the windows that contain them. */
static void projection_backward(const struct windows_backward_tile *tile, struct panels input) {
    const struct windows_tile *windows = &tile->windows;
    const struct windows_plan *plan = windows->plan;
    const struct cell *cell = windows->weights->cell;
    const struct lstm_call *call = cell->call;
    int64_t features = cell->features, gates = 4 * cell->hidden, gate_stride = cell->gate_stride;
    int64_t frames = plan->tile_frame_begin[windows->number + 1] - plan->tile_frame_begin[windows->number];
    memset(tile->grad_projected, 0, sizeof(float) * (size_t)(frames * gate_stride));
    for (int64_t step = 0; step < call->kernel_size; step++)
        for (int64_t row = 0; row < windows->rows; row++) {
            const float *from = grad_gates_of(tile, row, step);
            float *to = tile->grad_projected + tile_frame(windows, row, step) * gate_stride;
            for (int64_t k = 0; k < gate_stride; k += LANES) add_to(to + k, load(from + k));
        }
    float *x = tile->x;
    for (int64_t row = windows->begin; row < windows->begin + windows->rows; row++) {
        int64_t begin = new_frames_begin(plan, row, windows->begin), end = plan->first_frame[row] + call->kernel_size;
        memcpy(x, call->x + begin * features, sizeof(float) * (size_t)((end - begin) * features));
        x += (end - begin) * features;
    }
    add_outer((struct matrix){tile->x, features, features}, (struct matrix){tile->grad_projected, gate_stride, gates},
              frames, tile->grad_ih, gate_stride);
    if (!tile->grad_frames) return;
    for (int64_t at = 0; at < frames; at += FRAME_BLOCK) {
        int64_t count = at_most(FRAME_BLOCK, frames - at);
        const float *from[FRAME_BLOCK];
        float *to[FRAME_BLOCK];
        for (int64_t i = 0; i < count; i++) {
            from[i] = tile->grad_projected + (at + i) * gate_stride;
            to[i] = tile->grad_frames + (at + i) * whole_vectors(features);
        }
        multiply_panels(from, to, count, gates, input, 0, ALL_PANELS);
    }
}

/* The gradient of the recurrent matrix, which in step t multiplies h after step t - 1. */
static void recurrent_backward(const struct windows_backward_tile *tile) {
    const struct cell *cell = tile->windows.weights->cell;
    int64_t gates = 4 * cell->hidden, steps = cell->call->kernel_size - 1, rows = tile->windows.rows;
    if (steps < 1) return;
    struct matrix h = {tile->h, cell->padded, cell->hidden};
    struct matrix grad = {grad_gates_of(tile, 0, 1), cell->gate_stride, gates};
    /* Where the last step has no gate o, its gradients there are zeros, and the step can be left out. */
    if (!needs_h(cell->call, steps)) grad.columns = at_most(gates, whole_vectors(3 * cell->hidden));
    add_outer(h, grad, steps * rows, tile->grad_hh, cell->gate_stride);
    struct matrix rest = {grad.data + grad.columns, cell->gate_stride, gates - grad.columns};
    add_outer(h, rest, (steps - 1) * rows, tile->grad_hh + grad.columns, cell->gate_stride);
}

static void windows_tile_backward(const struct windows_backward_tile *tile, const struct backward_weights *weights) {
    const struct windows_tile *windows = &tile->windows;
    const struct cell *cell = windows->weights->cell;
    const struct lstm_call *call = cell->call;
    repeat_steps(tile);
    for (int64_t group = 0; group < cell->groups; group++)
        for (int64_t row = 0; row < windows->rows; row++) restore_last_step(tile, row, group);
    if (call->reduce == MAX) share_maximum(tile);
    memset(tile->dh, 0, sizeof(float) * (size_t)(windows->rows * cell->padded));
    memset(tile->dc, 0, sizeof(float) * (size_t)(windows->rows * cell->padded));
    for (int64_t step = call->kernel_size - 1; step >= 0; step--) {
        for (int64_t group = 0; group < cell->groups; group++) windows_group_backward(tile, step, group);
        if (call->per_position) position_backward(tile, input_panels(weights, position_of(call, step)), step);
        if (!step) break;
        const float *grad_gates[TILE_WINDOWS];
        for (int64_t row = 0; row < windows->rows; row++) grad_gates[row] = grad_gates_of(tile, row, step);
        int64_t depth = (needs_h(call, step) ? 4 : 3) * cell->hidden;
        hidden_backward(cell, weights->recurrent, grad_gates, windows->rows, depth, tile->dh, ALL_PANELS);
    }
    if (!call->per_position) projection_backward(tile, weights->input);
    recurrent_backward(tile);
}

/* All tiles of one split, in their order. */
static void windows_backward_split(void *context, int64_t split, int64_t worker) {
    const struct windows_backward *pass = context;
    const struct windows_plan *plan = pass->plan;
    const struct cell *cell = &pass->cell;
    int64_t hh_size = cell->hidden * cell->gate_stride;
    int64_t ih_size = positions_of(cell->call) * cell->features * cell->gate_stride;
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
            if (cell->call->per_position) memset(tile.grad_frames, 0, sizeof(float) * (size_t)((end - frame) * width));
        }
        windows_tile_backward(&tile, &pass->backward_weights);
    }
}

/* One row of sums [splits, rows, gate_stride], added up and written into a column of `out` [4 hidden, width]. */
static void add_up_row(const struct windows_backward *pass, const float *sums, int64_t rows, int64_t row, float *out,
                       int64_t width) {
    int64_t gates = 4 * pass->cell.hidden, gate_stride = pass->cell.gate_stride;
    for (int64_t k = 0; k < gates; k += LANES) {
        vec sum = {0};
        for (int64_t split = 0; split < pass->splits; split++)
            sum += load(sums + (split * rows + row) * gate_stride + k);
        for (int64_t lane = 0; lane < at_most(LANES, gates - k); lane++) out[(k + lane) * width] = sum[lane];
    }
}

/* First the columns of the recurrent matrix, then those of the input matrices. */
static void add_up_column(void *context, int64_t number, int64_t worker) {
    (void)worker;
    const struct windows_backward *pass = context;
    const struct lstm_call *call = pass->cell.call;
    int64_t hidden = call->hidden, features = call->features, inputs = positions_of(call) * features;
    if (number < hidden) {
        add_up_row(pass, pass->grad_hh, hidden, number, call->grad_weight_hh + number, hidden);
    } else {
        int64_t input = number - hidden, position = input / features;
        float *out = call->grad_weight_ih + position * 4 * hidden * features + input % features;
        add_up_row(pass, pass->grad_ih, inputs, input, out, features);
    }
}

/* The gradient of a sequence's frames, summed over all tiles that contain them. */
static void gather_frames(void *context, int64_t sequence, int64_t worker) {
    (void)worker;
    const struct windows_backward *pass = context;
    const struct windows_plan *plan = pass->plan;
    const struct lstm_call *call = plan->call;
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
    pass->grad_hh = take(arena, pass->splits * cell->hidden * cell->gate_stride);
    pass->grad_ih = take(arena, pass->splits * positions_of(cell->call) * cell->features * cell->gate_stride);
    pass->grad_frames = cell->call->grad_x ? take(arena, frames * width) : NULL;
    struct windows_backward_tile tile = {.windows = {.plan = pass->plan, .weights = &pass->weights}};
    struct arena measured = {0};
    lay_out_windows_backward_tile(&tile, &measured);
    pass->tile_size = measured.used;
    pass->tiles = take(arena, pass->workers * pass->tile_size);
}

static int windows_backward(const struct windows_plan *plan) {
    const struct lstm_call *call = plan->call;
    struct windows_backward pass = {.plan = plan, .cell = new_cell(call)};
    pass.splits = at_most(SPLITS, plan->tiles);
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
