/* The forward pass of a tile: equations 3 to 7. */
#ifndef CONVRNN_FORWARD_H
#define CONVRNN_FORWARD_H

#include "project.h"

struct gates {
    vec i, f, g, o, tanh_c;
};

/* From the pre-activations in `a`, and the state c before the step; gives c after it. */
INLINE struct gates open_gates(const float *a, int64_t units, const float *peephole, int hidden_too, vec *c) {
    struct gates gates = {0};
    vec a_i = load(a), a_f = load(a + units);
    if (peephole) {
        a_i += load(peephole) * *c;
        a_f += load(peephole + LANES) * *c;
    }
    vec e = tanh_exponential(load(a + 2 * units));
    gates.i = 1.0f / sigmoid_inverse(a_i);
    gates.f = 1.0f / sigmoid_inverse(a_f);
    gates.g = -e / (2.0f + e);
    *c = gates.f * *c + gates.i * gates.g;
    if (hidden_too) {
        vec a_o = load(a + 3 * units);
        if (peephole) a_o += load(peephole + 2 * LANES) * *c;
        e = tanh_exponential(*c);
        gates.o = 1.0f / sigmoid_inverse(a_o);
        gates.tanh_c = -e / (2.0f + e);
    }
    return gates;
}

/* The same without the gates themselves, for fewer divisions; gives h, or 0 where it is not needed. */
INLINE vec pass_gates(const float *a, int64_t units, const float *peephole, int hidden_too, vec *c) {
    vec a_i = load(a), a_f = load(a + units);
    if (peephole) {
        a_i += load(peephole) * *c;
        a_f += load(peephole + LANES) * *c;
    }
    vec e = tanh_exponential(load(a + 2 * units));
    *c = *c / sigmoid_inverse(a_f) - e / (sigmoid_inverse(a_i) * (2.0f + e));
    if (!hidden_too) return (vec){0};
    vec a_o = load(a + 3 * units);
    if (peephole) a_o += load(peephole + 2 * LANES) * *c;
    e = tanh_exponential(*c);
    return -e / (sigmoid_inverse(a_o) * (2.0f + e));
}

static void put_output(const struct tile *tile, int64_t row, int64_t step, int64_t group, vec state) {
    const struct lstm_call *call = tile->job->plan->call;
    int64_t units = units_of(tile->job, group), last = call->kernel_size - 1;
    if (call->reduce == LAST && step < last) return;
    float *y = call->y + output_of(tile, row, step) * call->hidden + group * LANES;
    if (step && call->reduce == MEAN) state += load_part(y, units);
    if (step && call->reduce == MAX) state = maximum(load_part(y, units), state);
    if (step == last && call->reduce == MEAN) state /= (float)call->kernel_size;
    store_part(y, state, units);
}

static void put_states(const struct tile *tile, int64_t row, int64_t step, int64_t group, vec h, vec c) {
    const struct lstm_call *call = tile->job->plan->call;
    int64_t place = frame_of(tile, row, step) * call->hidden + group * LANES, units = units_of(tile->job, group);
    store_part(call->states_hidden + place, h, units);
    store_part(call->states_cell + place, c, units);
}

/* Where the gates of a whole sequence's step are kept for its backward pass, KEPT_GATES vectors of `hidden` units. */
INLINE float *kept_gates_of(const struct tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct lstm_call *call = tile->job->plan->call;
    return call->gates + frame_of(tile, row, step) * KEPT_GATES * call->hidden + group * LANES;
}

static void keep_gates(const struct tile *tile, int64_t row, int64_t step, int64_t group, struct gates gates) {
    int64_t units = units_of(tile->job, group), hidden = tile->job->plan->call->hidden;
    float *kept = kept_gates_of(tile, row, step, group);
    store_part(kept + GATE_I * hidden, gates.i, units);
    store_part(kept + GATE_F * hidden, gates.f, units);
    store_part(kept + GATE_G * hidden, gates.g, units);
    store_part(kept + GATE_O * hidden, gates.o, units);
    store_part(kept + TANH_C * hidden, gates.tanh_c, units);
}

static void step_forward(const struct tile *tile, int64_t row, int count, int64_t group, int64_t step) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int hidden_too = needs_hidden(call, step);
    int64_t units = units_of(job, group);
    const float *h_before[BLOCK_ROWS];
    for (int i = 0; i < count; i++) h_before[i] = tile->h + (row + i) * job->padded;
    sum_gates(tile, row, count, group, step, h_before);
    const float *peephole = call->weight_peephole ? job->peephole + group * 3 * LANES : NULL;
    for (int i = 0; i < count; i++) {
        const float *a = tile->gate_sums + i * PANEL;
        int64_t place = (row + i) * job->padded + group * LANES;
        vec c = load(step ? tile->c + place : job->cell + group * LANES), h;
        if (is_windowed(call)) {
            h = pass_gates(a, units, peephole, hidden_too, &c);
        } else { /* the same bits whether the gates are kept or not */
            struct gates gates = open_gates(a, units, peephole, 1, &c);
            h = gates.o * gates.tanh_c;
            if (call->gates) keep_gates(tile, row + i, step, group, gates);
        }
        store(tile->c + place, c);
        store(tile->h_next + place, h);
        if (is_windowed(call))
            put_output(tile, row + i, step, group, call->sequence == CELL ? c : h);
        else
            put_states(tile, row + i, step, group, h, c);
    }
}

static void tile_forward(struct tile *tile) {
    const struct job *job = tile->job;
    if (!job->chunk) project_all(tile);
    for (int64_t step = 0; (tile->rows = rows_at(tile, tile->rows, step)); step++) {
        if (job->chunk && step % job->chunk == 0) project_chunk(tile, step);
        for (int64_t group = 0; group < job->groups; group++)
            for (int64_t row = 0, count; row < tile->rows; row += count) {
                count = block_of(tile->rows - row);
                step_forward(tile, row, (int)count, group, step);
            }
        float *h = tile->h;
        tile->h = tile->h_next;
        tile->h_next = h;
    }
}

#endif
