/* The backward pass of whole sequences.
 *
 * Their states are the forward pass's results; each step's gates are computed from them again. The gradients of the
 * weights are large products over all frames, after the recurrence. */
#ifndef CONVRNN_BACKWARD_SEQUENCES_H
#define CONVRNN_BACKWARD_SEQUENCES_H

#include "backward.h"

static void step_backward(const struct tile *tile, int64_t row, int count, int64_t group, int64_t step) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, at = group * LANES, units = units_of(job, group);
    const float *h_before[BLOCK_ROWS];
    for (int i = 0; step && i < count; i++)
        h_before[i] = call->states_hidden + frame_of(tile, row + i, step - 1) * hidden;
    sum_gates(tile, row, count, group, step, h_before);
    const float *peephole = call->weight_peephole ? job->peephole + group * 3 * LANES : NULL;
    for (int i = 0; i < count; i++) {
        int64_t frame = frame_of(tile, row + i, step), place = frame * hidden + at;
        vec c_before = step ? load_part(call->states_cell + frame_of(tile, row + i, step - 1) * hidden + at, units)
                            : load(job->cell + at);
        vec dh = load(tile->h + (row + i) * job->padded + at), dc = load(tile->c + (row + i) * job->padded + at);
        if (call->grad_hidden) dh += load_part(call->grad_hidden + place, units);
        if (call->grad_cell) dc += load_part(call->grad_cell + place, units);
        vec c = c_before;
        struct gates gates = open_gates(tile->gate_sums + i * PANEL, units, peephole, 1, &c);
        gates_backward(tile, row + i, step, group, gates, c, c_before, dh, dc,
                       job->grad_gates + frame * job->gates + at);
    }
}

static void sequences_backward(struct tile *tile) {
    const struct job *job = tile->job;
    int64_t rows = tile->all_rows, most = steps_of(tile, 0);
    clear_gradients(tile);
    for (int64_t step = most - 1; step >= 0; step--) {
        tile->rows = rows_at(tile, rows, step);
        if (step == most - 1 || step % job->chunk == job->chunk - 1) project_chunk(tile, step);
        for (int64_t group = 0; group < job->groups; group++)
            for (int64_t row = 0, count; row < tile->rows; row += count) {
                count = block_of(tile->rows - row);
                step_backward(tile, row, (int)count, group, step);
            }
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

#define FRAMES_AT_ONCE 60

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
