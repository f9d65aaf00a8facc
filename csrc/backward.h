/* One step back, for a row and a group of units, from what the forward pass or its repetition has kept. */
#ifndef CONVRNN_BACKWARD_H
#define CONVRNN_BACKWARD_H

#include "forward.h"

INLINE void add_to(float *sum, vec value) { store(sum, load(sum) + value); }

/* Sums over rows, of one group of units; `gates` of the first step or of the others. */
struct sums {
    vec i, f, g, o, peephole_i, peephole_f, peephole_o, cell;
};

static void add_sums(const struct job *job, int64_t part, int64_t step, int64_t group, const struct sums *sums) {
    float *to = job->sums + part * SUMS * job->padded + group * LANES, *gates = to + (step ? 0 : SUM_FIRST) * job->padded;
    add_to(gates, sums->i);
    add_to(gates + job->padded, sums->f);
    add_to(gates + 2 * job->padded, sums->g);
    add_to(gates + 3 * job->padded, sums->o);
    add_to(to + SUM_PEEPHOLES * job->padded, sums->peephole_i);
    add_to(to + (SUM_PEEPHOLES + 1) * job->padded, sums->peephole_f);
    add_to(to + (SUM_PEEPHOLES + 2) * job->padded, sums->peephole_o);
    if (!step) add_to(to + SUM_CELL * job->padded, sums->cell);
}

/* One row and group of units: from the gradients of h and c after the step to those of the gates and of c before. */
INLINE void gates_backward(const struct tile *tile, int64_t row, int64_t step, int64_t group, struct gates gates, vec c,
                           vec c_before, vec dh, vec dc, float *grad_gates, struct sums *sums) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t units = units_of(job, group), hidden = call->hidden;
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
        sums->peephole_i += da_i * c_before;
        sums->peephole_f += da_f * c_before;
        sums->peephole_o += da_o * c;
    }
    sums->i += da_i;
    sums->f += da_f;
    sums->g += da_g;
    sums->o += da_o;
    sums->cell += dc_before;
    store(tile->c + row * job->padded + group * LANES, dc_before);
    store_part(grad_gates, da_i, units);
    store_part(grad_gates + hidden, da_f, units);
    store_part(grad_gates + 2 * hidden, da_g, units);
    store_part(grad_gates + 3 * hidden, da_o, units);
}

static void clear_gradients(const struct tile *tile) {
    int64_t padded = tile->job->padded, at = tile->first_group * LANES;
    size_t size = sizeof(float) * (size_t)(tile->end_group * LANES - at);
    for (int64_t row = 0; row < tile->all_rows; row++) {
        memset(tile->h + row * padded + at, 0, size);
        memset(tile->c + row * padded + at, 0, size);
    }
}

/* dh of the step before: the gradients of the gates times W_h. */
static void hidden_backward(const struct tile *tile, int64_t step, const float *const *grad_gates) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    float *to[tile->rows];
    for (int64_t row = 0; row < tile->rows; row++) to[row] = tile->h + row * job->padded;
    int64_t depth = (needs_hidden(call, step) ? 4 : 3) * call->hidden;
    multiply_panels(grad_gates, to, tile->rows, depth, job->recurrent_back, 4 * call->hidden, call->hidden, 0,
                    tile->member, tile->members);
}

#endif
