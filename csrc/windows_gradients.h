/* The backward pass of one tile of windows: the gradients of all parameters, and of the tile's frames. */
#ifndef CONVRNN_WINDOWS_GRADIENTS_H
#define CONVRNN_WINDOWS_GRADIENTS_H

#include "gradients.h"
#include "windows_repeat.h"

/* Steps whose gradients of gates are kept, and then multiplied at once to give gradients of weights: those of a short
 * window all, of a long one few enough to stay in the caches. */
#define LONG_BLOCK 4

struct windows_backward_tile {
    struct windows_tile windows;
    struct windows_repeat repeat;
    int64_t block;         /* first step of those in grad_gates */
    float *grad_gates;     /* [steps of a block, rows, grad_stride] */
    float *grad_projected; /* [frames of the tile, input_stride]; unused if they are not shared */
    float *x;           /* [frames of the tile, features] if they are shared, or [steps of a block * rows, features] */
    float *dh, *dc;     /* [rows, padded] */
    float *d_reset_h;   /* the same; with two blocks of gates */
    float *max, *share; /* [rows, padded]: maximum over the window; what each step that attains it gets */
    /* Where the tile's gradients go: */
    float *vector_sums, *grad_hh, *grad_ih; /* of its split */
    float *grad_frames;                     /* [frames of the tile, ..] or NULL */
};

INLINE int64_t block_of(const struct windows_plan *plan) {
    return is_short(plan) ? plan->call->kernel_size : LONG_BLOCK;
}

static void lay_out_windows_backward_tile(struct windows_backward_tile *tile, struct arena *arena) {
    const struct windows_plan *plan = tile->windows.plan;
    const struct cell *cell = tile->windows.weights->cell;
    int64_t states = TILE_WINDOWS * cell->padded, block_rows = block_of(plan) * TILE_WINDOWS;
    lay_out_windows_tile(&tile->windows, arena);
    lay_out_windows_repeat(&tile->repeat, &tile->windows, arena);
    tile->grad_gates = take(arena, block_rows * cell->grad_stride);
    tile->grad_projected = take(arena, plan->shares_frames ? plan->most_frames * cell->input_stride : 0);
    tile->x = take(arena, (plan->shares_frames ? plan->most_frames : block_rows) * cell->features);
    tile->dh = take(arena, states);
    tile->dc = take(arena, states);
    tile->d_reset_h = take(arena, cell->blocks > 1 ? states : 0);
    tile->max = take(arena, states);
    tile->share = take(arena, states);
}

INLINE float *grad_gates_of(const struct windows_backward_tile *tile, int64_t row, int64_t step) {
    int64_t place = (step - tile->block) * tile->windows.rows + row;
    return tile->grad_gates + place * tile->windows.weights->cell->grad_stride;
}

/* The state after a step from which features are taken. */
INLINE vec feature_state(const struct windows_backward_tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct windows_repeat *repeat = &tile->repeat;
    if (HAS_C && tile->windows.plan->call->sequence == CELL)
        return load(kept_of(repeat, &tile->windows, row, step, group) + STATE_C * LANES);
    return load(h_of(repeat, &tile->windows, row, step) + group * LANES);
}

/* For reduce "max": the maximum and, as in torch.amax, how many steps attain it, which share its gradient equally. */
static void find_maximum(const struct windows_backward_tile *tile, int64_t row, int64_t group, vec *max, vec *count) {
    const struct recurrent_call *call = tile->windows.plan->call;
    if (!is_short(tile->windows.plan)) {
        int64_t place = row * tile->windows.weights->cell->padded + group * LANES, vectors = saved_vectors(call);
        *max = load(saved_vector_of(&tile->windows, vectors - 2) + place);
        *count = load(saved_vector_of(&tile->windows, vectors - 1) + place);
        return;
    }
    *max = feature_state(tile, row, 0, group);
    *count = (vec){0};
    for (int64_t step = 1; step < call->kernel_size; step++)
        *max = maximum(*max, feature_state(tile, row, step, group));
    for (int64_t step = 0; step < call->kernel_size; step++)
        *count += equal(*max, feature_state(tile, row, step, group));
}

static void share_maximum(const struct windows_backward_tile *tile) {
    const struct cell *cell = tile->windows.weights->cell;
    const struct recurrent_call *call = cell->call;
    for (int64_t row = 0; row < tile->windows.rows; row++)
        for (int64_t group = 0; group < cell->groups; group++) {
            vec max, count;
            find_maximum(tile, row, group, &max, &count);
            const float *grad = call->grad_y + output_of(&tile->windows, row, 0) * cell->hidden + group * LANES;
            store(tile->max + row * cell->padded + group * LANES, max);
            store(tile->share + row * cell->padded + group * LANES, load_part(grad, units_of(cell, group)) / count);
        }
}

/* The gradient that the features give to the state after a step. */
static vec feature_gradient(const struct windows_backward_tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct cell *cell = tile->windows.weights->cell;
    const struct recurrent_call *call = cell->call;
    int64_t place = row * cell->padded + group * LANES;
    if (call->reduce == MAX)
        return load(tile->share + place) * equal(feature_state(tile, row, step, group), load(tile->max + place));
    const float *grad_y = call->grad_y + output_of(&tile->windows, row, step) * cell->hidden + group * LANES;
    vec grad = load_part(grad_y, units_of(cell, group));
    return call->reduce == MEAN ? grad / (float)call->kernel_size : grad;
}

/* One step back, one group of units and one block of gates. */
static void windows_group_backward(const struct windows_backward_tile *tile, int64_t step, int block, int64_t group) {
    const struct windows_tile *windows = &tile->windows;
    const struct windows_repeat *repeat = &tile->repeat;
    const struct cell *cell = windows->weights->cell;
    const struct recurrent_call *call = cell->call;
    int64_t at = group * LANES, units = units_of(cell, group), rows = windows->rows, padded = cell->padded;
    int64_t grad_stride = cell->grad_stride;
    float *dh = tile->dh + at, *dc = tile->dc + at, *grad_gates = grad_gates_of(tile, 0, step) + at;
    const float *d_reset_h = tile->d_reset_h + at;
    if (block == cell->blocks - 1 && (call->reduce != LAST || is_last_step(call, step))) {
        float *grad = HAS_C && call->sequence == CELL ? dc : dh;
        for (int64_t row = 0; row < rows; row++) add_to(grad + row * padded, feature_gradient(tile, row, step, group));
    }
    const float *kept = kept_of(repeat, windows, 0, step, group), *peepholes = peepholes_of(cell, group);
    const float *h = h_of(repeat, windows, 0, step) + at;
    struct state_rows h_rows = h_before(repeat, windows, step), c_rows = c_before(repeat, windows, step);
    int with_h = needs_h(call, step); /* without, the slots of o and tanh(c) hold anything, and are not used */
    struct vector_sums sums = {0};
    for (int64_t row = 0; row < rows; row++, kept += SLOT_ROW) {
        struct states states = {load(h + row * padded), state_of(h_rows, row, group), load(kept + STATE_C * LANES),
                                state_of(c_rows, row, group)};
        struct state_gradients d = {load(dh + row * padded), load(dc + row * padded), {0}};
        if (cell->blocks > 1) d.reset_h = load(d_reset_h + row * padded);
        gates_backward(cell, block, (struct gates_row){kept, LANES, units}, states, &d, peepholes, with_h,
                       grad_gates + row * grad_stride, &sums);
        if (HAS_C)
            store(dc + row * padded, d.c);
        else
            store(dh + row * padded, d.h);
    }
    add_vector_sums(cell, tile->vector_sums, step == 0, group, &sums);
}

/* Where frames are not shared: gradients of the input matrix of steps begin <= step < end, which have the same, and of
 * their frames if wanted. */
static void steps_input_backward(const struct windows_backward_tile *tile, struct panels input, int64_t begin,
                                 int64_t end) {
    const struct windows_tile *windows = &tile->windows;
    const struct cell *cell = windows->weights->cell;
    const struct recurrent_call *call = cell->call;
    int64_t features = cell->features, width = whole_vectors(features), rows = (end - begin) * windows->rows;
    float *x = tile->x, *grad_ih = tile->grad_ih;
    for (int64_t step = begin; step < end; step++)
        for (int64_t row = 0; row < windows->rows; row++, x += features)
            memcpy(x, call->x + window_frame(windows, row, step) * features, sizeof(float) * (size_t)features);
    if (call->per_position) grad_ih += position_of(call, begin) * features * cell->input_stride;
    for (int i = 0; i < cell->spans; i++) {
        const struct span *span = &cell->span[i];
        if (span->input_row < 0) continue;
        for (int64_t step = begin; tile->grad_frames && step < end; step++) {
            const float *from[TILE_WINDOWS];
            float *to[TILE_WINDOWS];
            for (int64_t row = 0; row < windows->rows; row++) {
                from[row] = grad_gates_of(tile, row, step) + span->from;
                to[row] = tile->grad_frames + tile_frame(windows, row, step) * width;
            }
            multiply_panels(from, to, windows->rows, input, (struct range){span->input_row, span->columns}, 1, ALL);
        }
        const float *grad = grad_gates_of(tile, 0, begin) + span->from;
        add_outer((struct matrix){tile->x, features, features}, (struct matrix){grad, cell->grad_stride, span->columns},
                  rows, grad_ih + span->input_place, cell->input_stride);
    }
}

/* Where they are: the gradient of a projected frame is the sum over the windows that contain it. */
static void add_to_projected(const struct windows_backward_tile *tile, int64_t begin, int64_t end) {
    const struct cell *cell = tile->windows.weights->cell;
    for (int64_t step = begin; step < end; step++)
        for (int64_t row = 0; row < tile->windows.rows; row++)
            for (int i = 0; i < cell->spans; i++) {
                const struct span *span = &cell->span[i];
                if (span->input_row < 0) continue;
                const float *from = grad_gates_of(tile, row, step) + span->from;
                float *to = tile->grad_projected + tile_frame(&tile->windows, row, step) * cell->input_stride;
                to += span->input_place;
                for (int64_t k = 0; k < span->columns; k += LANES) add_to(to + k, load(from + k));
            }
}

INLINE int64_t frames_of(const struct windows_tile *tile) {
    return tile->plan->tile_frame_begin[tile->number + 1] - tile->plan->tile_frame_begin[tile->number];
}

/* Gradients of the input matrix and, if wanted, of the frames, from those of all projected frames. */
static void projection_backward(const struct windows_backward_tile *tile, struct panels input) {
    const struct windows_tile *windows = &tile->windows;
    const struct windows_plan *plan = windows->plan;
    const struct cell *cell = windows->weights->cell;
    const struct recurrent_call *call = cell->call;
    int64_t features = cell->features, input_stride = cell->input_stride, frames = frames_of(windows);
    float *x = tile->x;
    for (int64_t row = windows->begin; row < windows->begin + windows->rows; row++) {
        int64_t begin = new_frames_begin(plan, row, windows->begin), end = plan->first_frame[row] + call->kernel_size;
        memcpy(x, call->x + begin * features, sizeof(float) * (size_t)((end - begin) * features));
        x += (end - begin) * features;
    }
    int add = 0;
    for (int i = 0; i < cell->spans; i++) {
        const struct span *span = &cell->span[i];
        if (span->input_row < 0) continue;
        const float *grad = tile->grad_projected + span->input_place;
        add_outer((struct matrix){tile->x, features, features}, (struct matrix){grad, input_stride, span->columns},
                  frames, tile->grad_ih + span->input_place, input_stride);
        for (int64_t at = 0; tile->grad_frames && at < frames; at += FRAME_BLOCK) {
            int64_t count = at_most(FRAME_BLOCK, frames - at);
            const float *from[FRAME_BLOCK];
            float *to[FRAME_BLOCK];
            for (int64_t k = 0; k < count; k++) {
                from[k] = grad + (at + k) * input_stride;
                to[k] = tile->grad_frames + (at + k) * whole_vectors(features);
            }
            multiply_panels(from, to, count, input, (struct range){span->input_row, span->columns}, add, ALL);
        }
        add = 1;
    }
}

/* The gradient of the recurrent matrix from steps begin <= step < end: in a step it multiplies h before it, or r h. */
static void recurrent_backward(const struct windows_backward_tile *tile, int64_t begin, int64_t end) {
    const struct windows_tile *windows = &tile->windows;
    const struct windows_repeat *repeat = &tile->repeat;
    const struct cell *cell = windows->weights->cell;
    for (int i = 0; i < cell->spans; i++) {
        const struct span *span = &cell->span[i];
        if (span->recurrent_row < 0) continue;
        int takes_h = span->recurrent_row < cell->hidden_gates * cell->hidden;
        /* h before the first step is the same in every row: gradients.h. If it is zeros, so is r h. */
        int64_t first = takes_h || !cell->call->initial_hidden ? at_least(begin, 1) : begin, steps = end - first;
        if (steps < 1) continue;
        const float *from = takes_h ? h_of(repeat, windows, 0, first - 1) : reset_h_of(repeat, windows, 0, first);
        const float *to = grad_gates_of(tile, 0, first) + span->from;
        struct matrix h = {from, cell->padded, cell->hidden}, grad = {to, cell->grad_stride, span->columns};
        float *out = tile->grad_hh + span->recurrent_place;
        /* Where the last step has no gate o, its gradients there are zeros, and the step can be left out. */
        int64_t with_o = needs_h(cell->call, end - 1) ? steps : steps - 1;
        if (with_o < steps) grad.columns = at_most(span->columns, whole_vectors(3 * cell->hidden));
        add_outer(h, grad, steps * windows->rows, out, cell->recurrent_stride);
        struct matrix rest = {grad.data + grad.columns, cell->grad_stride, span->columns - grad.columns};
        add_outer(h, rest, with_o * windows->rows, out + grad.columns, cell->recurrent_stride);
    }
}

/* Back through steps begin <= step < end. */
static void block_backward(const struct windows_backward_tile *tile, const struct backward_weights *weights,
                           int64_t begin, int64_t end) {
    const struct windows_tile *windows = &tile->windows;
    const struct cell *cell = windows->weights->cell;
    const struct recurrent_call *call = cell->call;
    for (int64_t step = end - 1; step >= begin; step--) {
        const float *grad_gates[TILE_WINDOWS];
        for (int64_t row = 0; row < windows->rows; row++) grad_gates[row] = grad_gates_of(tile, row, step);
        for (int gates = cell->blocks - 1; gates >= 0; gates--) {
            for (int64_t group = 0; group < cell->groups; group++) windows_group_backward(tile, step, gates, group);
            hidden_backward(cell, gates, weights->recurrent, grad_gates, windows->rows, step == 0, needs_h(call, step),
                            tile->dh, tile->d_reset_h, ALL);
        }
        if (call->per_position)
            steps_input_backward(tile, input_panels(weights, position_of(call, step)), step, step + 1);
    }
    if (windows->plan->shares_frames)
        add_to_projected(tile, begin, end);
    else if (!call->per_position)
        steps_input_backward(tile, weights->input, begin, end);
    recurrent_backward(tile, begin, end);
}

/* Back through the steps that were repeated. */
static void segment_backward(struct windows_backward_tile *tile, const struct backward_weights *weights) {
    int64_t block = block_of(tile->windows.plan);
    for (int64_t end = tile->repeat.end; end > tile->repeat.begin; end = tile->block) {
        tile->block = at_least(tile->repeat.begin, end - block);
        block_backward(tile, weights, tile->block, end);
    }
}

static void windows_tile_backward(struct windows_backward_tile *tile, const struct backward_weights *weights) {
    const struct windows_tile *windows = &tile->windows;
    const struct windows_plan *plan = windows->plan;
    const struct cell *cell = windows->weights->cell;
    struct windows_repeat *repeat = &tile->repeat;
    size_t states = sizeof(float) * (size_t)(windows->rows * cell->padded);
    memset(tile->dh, 0, states);
    memset(tile->dc, 0, states);
    if (cell->blocks > 1) memset(tile->d_reset_h, 0, states);
    if (plan->shares_frames) {
        memset(tile->grad_projected, 0, sizeof(float) * (size_t)(frames_of(windows) * cell->input_stride));
        if (!is_short(plan) || first_saved(plan->call)) project_tile(windows);
    }
    if (is_short(plan)) {
        repeat_short(repeat, windows);
        if (plan->call->reduce == MAX) share_maximum(tile);
        segment_backward(tile, weights);
    } else {
        if (plan->call->reduce == MAX) share_maximum(tile);
        for (int64_t section = plan->sections - 1; section >= 0; section--)
            for (int64_t segment = begin_section(repeat, windows, section) - 1; segment >= 0; segment--) {
                repeat_segment(repeat, windows, section, segment);
                segment_backward(tile, weights);
            }
    }
    if (plan->shares_frames) projection_backward(tile, weights->input);
}

#endif
