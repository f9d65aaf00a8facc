/* One step back, for a row and a group of units. */
#ifndef CONVRNN_BACKWARD_H
#define CONVRNN_BACKWARD_H

#include "tile.h"

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

INLINE void add_to(float *sum, vec value) { store(sum, load(sum) + value); }

INLINE int64_t split_of(const struct tile *tile) { return tile->number * tile->job->splits / tile->job->plan->tiles; }

/* Where a row's sums go: to those of its tile's split, which are always the same tiles; of a sequence to its own, since
 * which of them share a tile depends on the number of threads. */
INLINE float *sums_of(const struct tile *tile, int64_t row) {
    const struct lstm_plan *plan = tile->job->plan;
    int64_t part = is_windowed(plan->call) ? split_of(tile) : plan->first_frame[tile->begin + row] / plan->call->frames;
    return tile->job->sums + part * SUMS * tile->job->padded;
}

/* One row and group of units: from the gradients of h and c after the step to those of the gates and of c before. */
INLINE void gates_backward(const struct tile *tile, int64_t row, int64_t step, int64_t group, struct gates gates, vec c,
                           vec c_before, vec dh, vec dc, float *grad_gates) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t units = units_of(job, group), hidden = call->hidden;
    float *sums = sums_of(tile, row) + group * LANES, *gate_sums = sums + (step ? SUM_GATES : SUM_FIRST) * job->padded;
    const float *peephole = call->weight_peephole ? job->peephole + group * 3 * LANES : NULL;
    vec da_o = {0};
    if (needs_hidden(call, step)) {
        da_o = dh * gates.tanh_c * gates.o * (1.0f - gates.o);
        dc += dh * gates.o * (1.0f - gates.tanh_c * gates.tanh_c);
        if (peephole) dc += da_o * load(peephole + 2 * LANES);
    }
    vec da_i = dc * gates.g * gates.i * (1.0f - gates.i);
    vec da_f = dc * c_before * gates.f * (1.0f - gates.f);
    vec da_g = dc * gates.i * (1.0f - gates.g * gates.g);
    vec dc_before = dc * gates.f;
    if (peephole) {
        dc_before += da_i * load(peephole) + da_f * load(peephole + LANES);
        add_to(sums + SUM_PEEPHOLES * job->padded, da_i * c_before);
        add_to(sums + (SUM_PEEPHOLES + 1) * job->padded, da_f * c_before);
        add_to(sums + (SUM_PEEPHOLES + 2) * job->padded, da_o * c);
    }
    store(tile->c + row * job->padded + group * LANES, dc_before);
    if (!step) add_to(sums + SUM_CELL * job->padded, dc_before);
    add_to(gate_sums, da_i);
    add_to(gate_sums + job->padded, da_f);
    add_to(gate_sums + 2 * job->padded, da_g);
    add_to(gate_sums + 3 * job->padded, da_o);
    store_part(grad_gates, da_i, units);
    store_part(grad_gates + hidden, da_f, units);
    store_part(grad_gates + 2 * hidden, da_g, units);
    store_part(grad_gates + 3 * hidden, da_o, units);
}

static void clear_gradients(const struct tile *tile) {
    memset(tile->h, 0, sizeof(float) * (size_t)(tile->all_rows * tile->job->padded));
    memset(tile->c, 0, sizeof(float) * (size_t)(tile->all_rows * tile->job->padded));
}

/* dh of the step before: the gradients of the gates times W_h. */
static void hidden_backward(const struct tile *tile, int64_t step, const float *const *grad_gates) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    float *to[tile->rows];
    for (int64_t row = 0; row < tile->rows; row++) to[row] = tile->h + row * job->padded;
    int64_t depth = (needs_hidden(call, step) ? 4 : 3) * call->hidden;
    multiply_panels(grad_gates, to, tile->rows, depth, job->recurrent_back, 4 * call->hidden, call->hidden, 0);
}

#endif
