/* The backward pass of a tile of windows.
 *
 * Only the gates of the last step are kept from the forward pass: the tile goes through the few steps before it again,
 * and this time keeps all that the way back needs, at the paper's sizes within the second cache. The gradients of the
 * weights are summed up tile by tile, there too. The states are then of other roundings than the forward pass's, whose
 * gates are never divided out: of two steps whose states are that close, the maximum may be the other. */
#ifndef CONVRNN_BACKWARD_WINDOWS_H
#define CONVRNN_BACKWARD_WINDOWS_H

#include "backward.h"

INLINE float *kept_of(const struct tile *tile, int64_t row, int64_t step, int64_t group) {
    return tile->kept + ((step * tile->job->groups + group) * tile->all_rows + row) * KEPT * LANES;
}

INLINE float *state_of(const struct tile *tile, int64_t row, int64_t step) {
    return tile->states + slot_of(tile, row, step) * tile->job->padded;
}

INLINE float *gradients_of(const struct tile *tile, int64_t row, int64_t step) {
    return tile->grad_gates + slot_of(tile, row, step) * tile->job->gates;
}

/* Part of the sums over windows that a tile belongs to: always the same. */
INLINE int64_t split_of(const struct tile *tile) { return tile->number * tile->job->splits / tile->job->plan->tiles; }

INLINE struct before kept_before(const struct tile *tile, int64_t step, int64_t group) {
    if (!step) return (struct before){tile->job->cell + group * LANES, 0};
    return (struct before){kept_of(tile, 0, step - 1, group) + STATE_C * LANES, KEPT * LANES};
}

static void step_again(const struct tile *tile, int64_t group, int64_t step) {
    const struct job *job = tile->job;
    sum_gates(tile, group, step, step ? state_of(tile, 0, step - 1) : NULL);
    open_gates(tile, group, kept_before(tile, step, group), kept_of(tile, 0, step, group),
               state_of(tile, 0, step) + group * LANES);
}

/* The last step, from the gates that the forward pass has kept of it. */
static void take_last_step(const struct tile *tile, int64_t row, int64_t group) {
    const struct job *job = tile->job;
    int64_t step = job->plan->call->kernel_size - 1;
    const float *from = kept_last_of(tile, row, group);
    float *kept = kept_of(tile, row, step, group);
    vec c = load(step ? kept_of(tile, row, step - 1, group) + STATE_C * LANES : job->cell + group * LANES);
    vec i = load(from + GATE_I * LANES), f = load(from + GATE_F * LANES), g = load(from + GATE_G * LANES);
    c = f * c + i * g;
    store(kept + GATE_I * LANES, i);
    store(kept + GATE_F * LANES, f);
    store(kept + GATE_G * LANES, g);
    store(kept + STATE_C * LANES, c);
    if (!needs_hidden(job->plan->call, step)) return;
    vec o = load(from + GATE_O * LANES), tanh_c = tanh_of(c);
    store(kept + GATE_O * LANES, o);
    store(kept + TANH_C * LANES, tanh_c);
    store(state_of(tile, row, step) + group * LANES, o * tanh_c);
}

/* The states that a window's features are made of. */
INLINE vec feature_state(const struct tile *tile, int64_t row, int64_t step, int64_t group) {
    if (tile->job->plan->call->sequence == CELL) return load(kept_of(tile, row, step, group) + STATE_C * LANES);
    return load(state_of(tile, row, step) + group * LANES);
}

/* The maximum over the window, and what each step that has it gets: torch.amax shares the gradient among equals. */
static void share_maximum(const struct tile *tile) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    for (int64_t row = 0; row < tile->rows; row++)
        for (int64_t group = 0; group < job->groups; group++) {
            vec top = feature_state(tile, row, 0, group), count = {0};
            for (int64_t step = 1; step < call->kernel_size; step++)
                top = maximum(top, feature_state(tile, row, step, group));
            for (int64_t step = 0; step < call->kernel_size; step++)
                count += equal(top, feature_state(tile, row, step, group));
            const float *grad = call->grad_y + output_of(tile, row, 0) * call->hidden + group * LANES;
            store(tile->top + row * job->padded + group * LANES, top);
            store(tile->share + row * job->padded + group * LANES, load_part(grad, units_of(job, group)) / count);
        }
}

/* What a window's features give back to the state after `step`. */
static vec grad_state(const struct tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t place = row * job->padded + group * LANES;
    if (call->reduce == MAX)
        return load(tile->share + place) * equal(feature_state(tile, row, step, group), load(tile->top + place));
    const float *grad_y = call->grad_y + output_of(tile, row, step) * call->hidden + group * LANES;
    vec grad = load_part(grad_y, units_of(job, group));
    return call->reduce == MEAN ? grad / (float)call->kernel_size : grad;
}

/* Gradients of one position's input matrix and, where asked for, of its frames. */
static void position_backward(const struct tile *tile, int64_t step, float *grad_x) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t features = call->features, position = position_of(call, step), hidden = call->hidden;
    int64_t width = whole_vectors(features);
    const float *grad_gates = gradients_of(tile, 0, step), *from[tile->rows];
    float *to[tile->rows];
    for (int64_t row = 0; row < tile->rows; row++) {
        memcpy(tile->frames + row * features, call->x + frame_of(tile, row, step) * features,
               sizeof(float) * (size_t)features);
        from[row] = grad_gates + row * job->gates;
        to[row] = grad_x ? grad_x + place_of(tile, row, step) * width : NULL;
    }
    add_outer(tile->frames, features, features, grad_gates, job->gates, 4 * hidden, tile->rows,
              job->sums_ih + (split_of(tile) * call->kernel_size + position) * features * job->gates, job->gates);
    if (!grad_x) return;
    const float *weights = job->input_back + position * 4 * hidden * width;
    multiply_panels(from, to, tile->rows, 4 * hidden, weights, 4 * hidden, features, 1, 0, 1);
}

/* Gradients of the input matrix and, where asked for, of x, by way of the projected frames: a frame's gradient is the
 * sum over the windows that contain it. */
static void projection_backward(const struct tile *tile, float *grad_x) {
    const struct job *job = tile->job;
    const struct lstm_plan *plan = job->plan;
    const struct lstm_call *call = plan->call;
    int64_t features = call->features, frames = plan->frame_begin[tile->number + 1] - plan->frame_begin[tile->number];
    memset(tile->grad_projected, 0, sizeof(float) * (size_t)(frames * job->gates));
    for (int64_t step = 0; step < call->kernel_size; step++)
        for (int64_t row = 0; row < tile->rows; row++) {
            const float *from = gradients_of(tile, row, step);
            float *to = tile->grad_projected + place_of(tile, row, step) * job->gates;
            for (int64_t k = 0; k < job->gates; k += LANES) add_to(to + k, load(from + k));
        }
    float *x = tile->frames;
    for (int64_t row = tile->begin; row < tile->begin + tile->rows; row++) {
        int64_t from = new_frames_from(plan, row, tile->begin), to = window_begin(plan, row) + call->kernel_size;
        memcpy(x, call->x + from * features, sizeof(float) * (size_t)((to - from) * features));
        x += (to - from) * features;
    }
    add_outer(tile->frames, features, features, tile->grad_projected, job->gates, 4 * call->hidden, frames,
              job->sums_ih + split_of(tile) * features * job->gates, job->gates);
    if (!grad_x) return;
    for (int64_t at = 0; at < frames; at += FRAMES_AT_ONCE) {
        int64_t count = at_most(FRAMES_AT_ONCE, frames - at);
        const float *from[FRAMES_AT_ONCE];
        float *to[FRAMES_AT_ONCE];
        for (int64_t i = 0; i < count; i++) {
            from[i] = tile->grad_projected + (at + i) * job->gates;
            to[i] = grad_x + (at + i) * whole_vectors(features);
        }
        multiply_panels(from, to, count, 4 * call->hidden, job->input_back, 4 * call->hidden, features, 0, 0, 1);
    }
}

static void group_backward(const struct tile *tile, int64_t step, int64_t group) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t at = group * LANES, units = units_of(job, group), rows = tile->rows, padded = job->padded;
    int64_t hidden = call->hidden, all_gates = job->gates;
    float *dh = tile->h + at, *dc = tile->c + at, *to = gradients_of(tile, 0, step) + at;
    if (call->reduce != LAST || is_last_step(call, step)) {
        float *grad = call->sequence == CELL ? dc : dh;
        for (int64_t row = 0; row < rows; row++) add_to(grad + row * padded, grad_state(tile, row, step, group));
    }
    const float *kept = kept_of(tile, 0, step, group), *peephole = peephole_of(job, group);
    struct before before = kept_before(tile, step, group);
    int with_hidden = needs_hidden(call, step); /* if not, o and tanh(c) were not kept, and what is loaded is not used */
    struct sums sums = {0};
    for (int64_t row = 0; row < rows; row++, kept += KEPT * LANES) {
        struct gates gates = {load(kept + GATE_I * LANES), load(kept + GATE_F * LANES), load(kept + GATE_G * LANES),
                              load(kept + GATE_O * LANES), load(kept + TANH_C * LANES)};
        struct gradients grad = gates_backward(gates, load(kept + STATE_C * LANES), load(before.c + row * before.step),
                                               load(dh + row * padded), load(dc + row * padded), peephole, with_hidden,
                                               &sums);
        store(dc + row * padded, grad.c);
        store_gradients(to + row * all_gates, hidden, units, grad);
    }
    add_sums(job, split_of(tile), step, group, &sums);
}

/* The gradient of W_h, which meets in step t the state after step t - 1. */
static void recurrent_backward(const struct tile *tile) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t gates = 4 * call->hidden, steps = call->kernel_size - 1, rows = tile->all_rows;
    float *sums = job->sums_hh + split_of(tile) * call->hidden * job->gates;
    if (steps < 1) return;
    const float *grad_gates = gradients_of(tile, 0, 1);
    /* Where the last step has no gate o, its gradients there are zeros. */
    int64_t all_steps = needs_hidden(call, steps) ? gates : at_most(gates, whole_vectors(3 * call->hidden));
    add_outer(tile->states, job->padded, call->hidden, grad_gates, job->gates, all_steps, steps * rows, sums, job->gates);
    add_outer(tile->states, job->padded, call->hidden, grad_gates + all_steps, job->gates, gates - all_steps,
              (steps - 1) * rows, sums + all_steps, job->gates);
}

static void windows_backward(struct tile *tile) {
    const struct job *job = tile->job;
    const struct lstm_plan *plan = job->plan;
    const struct lstm_call *call = plan->call;
    if (!job->chunk && call->kernel_size > 1) project_all(tile);
    for (int64_t step = 0; step < call->kernel_size - 1; step++) {
        if (job->chunk) project_chunk(tile, step);
        for (int64_t group = 0; group < job->groups; group++) step_again(tile, group, step);
    }
    for (int64_t group = 0; group < job->groups; group++)
        for (int64_t row = 0; row < tile->rows; row++) take_last_step(tile, row, group);
    if (call->reduce == MAX) share_maximum(tile);
    clear_gradients(tile);
    int64_t width = whole_vectors(call->features), frame = plan->frame_begin[tile->number];
    float *grad_x = call->grad_x ? job->grad_frames + frame * width : NULL;
    if (grad_x && call->per_position)
        memset(grad_x, 0, sizeof(float) * (size_t)((plan->frame_begin[tile->number + 1] - frame) * width));
    for (int64_t step = call->kernel_size - 1; step >= 0; step--) {
        for (int64_t group = 0; group < job->groups; group++) group_backward(tile, step, group);
        if (call->per_position) position_backward(tile, step, grad_x);
        const float *grad_gates[tile->rows];
        for (int64_t row = 0; row < tile->rows; row++) grad_gates[row] = gradients_of(tile, row, step);
        if (step) hidden_backward(tile, step, grad_gates);
    }
    if (!call->per_position) projection_backward(tile, grad_x);
    recurrent_backward(tile);
}

#endif
