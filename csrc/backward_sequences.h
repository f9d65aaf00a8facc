/* The backward pass of whole sequences.
 *
 * The forward pass has kept the gates, since a sequence is too long to go through it again. The gradients of the weights
 * are large products over all frames, after the recurrence. */
#ifndef CONVRNN_BACKWARD_SEQUENCES_H
#define CONVRNN_BACKWARD_SEQUENCES_H

#include "backward.h"

static void row_backward(const struct tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, at = group * LANES, units = units_of(job, group);
    int64_t frame = frame_of(tile, row, step), place = frame * hidden + at;
    const float *kept = kept_gates_of(tile, row, step, group);
    struct gates gates = {load_part(kept + GATE_I * hidden, units), load_part(kept + GATE_F * hidden, units),
                          load_part(kept + GATE_G * hidden, units), load_part(kept + GATE_O * hidden, units),
                          load_part(kept + TANH_C * hidden, units)};
    vec c_before = step ? load_part(call->states_cell + frame_of(tile, row, step - 1) * hidden + at, units)
                        : load(job->cell + at);
    vec dh = load(tile->h + row * job->padded + at), dc = load(tile->c + row * job->padded + at);
    if (call->grad_hidden) dh += load_part(call->grad_hidden + place, units);
    if (call->grad_cell) dc += load_part(call->grad_cell + place, units);
    /* A sequence has sums of its own, since which of them share a tile depends on the number of threads. */
    struct sums sums = {0};
    gates_backward(tile, row, step, group, gates, load_part(call->states_cell + place, units), c_before, dh, dc,
                   job->grad_gates + frame * job->gates + at, &sums);
    add_sums(job, frame / call->frames, step, group, &sums);
}

static void sequences_backward(struct tile *tile) {
    const struct job *job = tile->job;
    int64_t rows = tile->all_rows, most = steps_of(tile, 0);
    clear_gradients(tile);
    for (int64_t step = most - 1; step >= 0; step--) {
        tile->rows = rows_at(tile, rows, step);
        for (int64_t row = 0; row < tile->rows; row++)
            for (int64_t group = 0; group < job->groups; group++) row_backward(tile, row, step, group);
        const float *grad_gates[tile->rows];
        for (int64_t row = 0; row < tile->rows; row++)
            grad_gates[row] = job->grad_gates + frame_of(tile, row, step) * job->gates;
        if (step) hidden_backward(tile, step, grad_gates);
    }
}

/* The gradients of both weight matrices, one panel of their gates: sums over all frames, in the frames' order. */
static void weights_backward(void *context, int64_t panel, int64_t worker) {
    (void)worker;
    const struct job *job = context;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, features = call->features, gates = job->gates, at = panel * PANEL;
    int64_t columns = at_most(PANEL, 4 * hidden - at);
    float *sums_ih = job->sums_ih + at, *sums_hh = job->sums_hh + at;
    for (int64_t k = 0; k < features; k++) memset(sums_ih + k * gates, 0, sizeof(float) * (size_t)columns);
    for (int64_t k = 0; k < hidden; k++) memset(sums_hh + k * gates, 0, sizeof(float) * (size_t)columns);
    for (int64_t sequence = 0; sequence < call->batch; sequence++) {
        int64_t begin = sequence * call->frames, length = job->plan->length[sequence];
        const float *grad_gates = job->grad_gates + begin * gates + at;
        add_outer(call->x + begin * features, features, features, grad_gates, gates, columns, length, sums_ih, gates);
        if (length < 2) continue;
        /* W_h meets in each frame the state of the frame that was processed before. */
        const float *h = call->states_hidden + (begin + (call->reverse ? 1 : 0)) * hidden;
        grad_gates += call->reverse ? 0 : gates;
        add_outer(h, hidden, hidden, grad_gates, gates, columns, length - 1, sums_hh, gates);
    }
}

/* The gradient of x, of some frames. */
static void frames_backward(void *context, int64_t number, int64_t worker) {
    const struct job *job = context;
    const struct lstm_call *call = job->plan->call;
    int64_t features = call->features, width = whole_vectors(features), count = 0;
    float *products = job->scratch + worker * job->scratch_size, *to[FRAMES_AT_ONCE] = {0};
    const float *from[FRAMES_AT_ONCE] = {0};
    int64_t begin = number * FRAMES_AT_ONCE, end = at_most(begin + FRAMES_AT_ONCE, call->batch * call->frames);
    for (int64_t frame = begin; frame < end; frame++)
        if (frame % call->frames < job->plan->length[frame / call->frames]) {
            from[count] = job->grad_gates + frame * job->gates;
            to[count] = products + count * width;
            count++;
        }
    multiply_panels(from, to, count, 4 * call->hidden, job->input_back, 4 * call->hidden, features, 0);
    for (int64_t frame = begin; frame < end; frame++) {
        float *grad_x = call->grad_x + frame * features;
        if (frame % call->frames < job->plan->length[frame / call->frames]) {
            memcpy(grad_x, products, sizeof(float) * (size_t)features);
            products += width;
        } else {
            memset(grad_x, 0, sizeof(float) * (size_t)features);
        }
    }
}

#endif
