/* The backward pass of whole sequences.
 *
 * The forward pass has kept the gates, since a sequence is too long to go through it again. The gradients of the weights
 * are large products over all frames, after the recurrence. */
#ifndef CONVRNN_BACKWARD_SEQUENCES_H
#define CONVRNN_BACKWARD_SEQUENCES_H

#include "backward.h"

/* A row's groups of units in one step. */
static void row_backward(const struct tile *tile, int64_t row, int64_t step) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, frame = frame_of(tile, row, step), place = frame * hidden, end = tile->end_group;
    const float *kept = kept_gates_of(tile, row, step, 0), *c = call->states_cell + place;
    const float *c_before = step ? call->states_cell + frame_of(tile, row, step - 1) * hidden : NULL;
    const float *grad_hidden = call->grad_hidden ? call->grad_hidden + place : NULL;
    const float *grad_cell = call->grad_cell ? call->grad_cell + place : NULL;
    float *dh = tile->h + row * job->padded, *dc = tile->c + row * job->padded;
    float *to = job->grad_gates + frame * job->gates;
    for (int64_t group = tile->first_group; group < end; group++) {
        int64_t at = group * LANES, units = units_of(job, group);
        const float *from = kept + at;
        struct gates gates = {load_part(from + GATE_I * hidden, units), load_part(from + GATE_F * hidden, units),
                              load_part(from + GATE_G * hidden, units), load_part(from + GATE_O * hidden, units),
                              load_part(from + TANH_C * hidden, units)};
        vec before = c_before ? load_part(c_before + at, units) : load(job->cell + at);
        vec grad_h = load(dh + at), grad_c = load(dc + at);
        if (grad_hidden) grad_h += load_part(grad_hidden + at, units);
        if (grad_cell) grad_c += load_part(grad_cell + at, units);
        /* A sequence has sums of its own, since which of them share a tile depends on the number of threads. */
        struct sums sums = {0};
        struct gradients grad = gates_backward(gates, load_part(c + at, units), before, grad_h, grad_c,
                                               peephole_of(job, group), 1, &sums);
        store(dc + at, grad.c);
        store_gradients(to + at, hidden, units, grad);
        add_sums(job, frame / call->frames, step, group, &sums);
    }
}

static void sequences_backward(struct tile *tile) {
    const struct job *job = tile->job;
    int64_t rows = tile->all_rows, most = steps_of(tile, 0);
    clear_gradients(tile);
    for (int64_t step = most - 1; step >= 0; step--) {
        tile->rows = rows_at(tile, rows, step);
        for (int64_t row = 0; row < tile->rows; row++) row_backward(tile, row, step);
        convrnn_wait(tile->team);
        const float *grad_gates[tile->rows];
        for (int64_t row = 0; row < tile->rows; row++)
            grad_gates[row] = job->grad_gates + frame_of(tile, row, step) * job->gates;
        if (step) hidden_backward(tile, step, grad_gates);
        convrnn_wait(tile->team);
    }
}

/* Some frames' `rows` numbers [frames, rows], a block of rows after the other, for products over the frames. */
static void pack_frames(const float *from, int64_t frames, int64_t rows, float *to) {
    for (int64_t row = 0, count; row < rows; row += count) {
        count = block_of(rows - row);
        for (int64_t frame = 0; frame < frames; frame++)
            for (int64_t i = 0; i < count; i++) *to++ = from[frame * rows + row + i];
    }
}

/* Frames with which the gates of a sequence meet a hidden state: that of the frame processed before. */
static int64_t later_frames(const struct job *job, int64_t sequence) {
    int64_t length = job->plan->length[sequence];
    return length ? length - 1 : 0;
}

static void pack_sequence(void *context, int64_t sequence, int64_t worker) {
    (void)worker;
    const struct job *job = context;
    const struct lstm_call *call = job->plan->call;
    int64_t begin = sequence * call->frames, before = begin + (call->reverse ? 1 : 0);
    pack_frames(call->x + begin * call->features, job->plan->length[sequence], call->features,
                job->packed_x + begin * call->features);
    pack_frames(call->states_hidden + before * call->hidden, later_frames(job, sequence), call->hidden,
                job->packed_states + begin * call->hidden);
}

/* sums [rows, PANEL] += the products over frames of packed `rows` and a panel of gates [frames, PANEL]. */
static void add_products(const float *packed, int64_t rows, const float *gates, int vectors, int64_t frames,
                         float *sums) {
    for (int64_t row = 0, count; row < rows; row += count) {
        const float *from[BLOCK_ROWS];
        float *to[BLOCK_ROWS];
        count = block_of(rows - row);
        for (int64_t i = 0; i < count; i++) {
            from[i] = packed + row * frames + i;
            to[i] = sums + (row + i) * PANEL;
        }
        multiply((int)count, vectors, from, count, frames, gates, PANEL, (const float *const *)to, to);
    }
}

/* The gradients of both weight matrices, one panel of their gates: sums over all frames, in the frames' order. */
static void weights_backward(void *context, int64_t panel, int64_t worker) {
    const struct job *job = context;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, features = call->features, at = panel * PANEL;
    int64_t columns = at_most(PANEL, 4 * hidden - at);
    int vectors = (int)divide_up(columns, LANES);
    float *sums_hh = job->scratch + worker * job->scratch_size, *sums_ih = sums_hh + hidden * PANEL;
    float *gates = sums_ih + features * PANEL;
    memset(sums_hh, 0, sizeof(float) * (size_t)((hidden + features) * PANEL));
    for (int64_t sequence = 0; sequence < call->batch; sequence++) {
        int64_t begin = sequence * call->frames, length = job->plan->length[sequence];
        for (int64_t frame = 0; frame < length; frame++)
            memcpy(gates + frame * PANEL, job->grad_gates + (begin + frame) * job->gates + at,
                   sizeof(float) * (size_t)(vectors * LANES));
        add_products(job->packed_x + begin * features, features, gates, vectors, length, sums_ih);
        add_products(job->packed_states + begin * hidden, hidden, gates + (call->reverse ? 0 : PANEL), vectors,
                     later_frames(job, sequence), sums_hh);
    }
    for (int64_t gate = 0; gate < columns; gate++) {
        for (int64_t k = 0; k < hidden; k++) call->grad_weight_hh[(at + gate) * hidden + k] = sums_hh[k * PANEL + gate];
        for (int64_t k = 0; k < features; k++)
            call->grad_weight_ih[(at + gate) * features + k] = sums_ih[k * PANEL + gate];
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
    multiply_panels(from, to, count, 4 * call->hidden, job->input_back, 4 * call->hidden, features, 0, 0, 1);
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
