/* One step back, for rows and a group of units, from what the forward pass or its repetition has kept. */
#ifndef CONVRNN_BACKWARD_H
#define CONVRNN_BACKWARD_H

#include "forward.h"

INLINE void add_to(float *sum, vec value) { store(sum, load(sum) + value); }

struct gates {
    vec i, f, g, o, tanh_c;
};

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

struct gradients {
    vec i, f, g, o, c; /* of the gates' pre-activations, and of c before the step */
};

/* From the gradients of h and c after a step, `with_hidden` where h was needed: else o, tanh(c) and dh do not count. */
INLINE struct gradients gates_backward(struct gates gates, vec c, vec c_before, vec dh, vec dc, const float *peephole,
                                       int with_hidden, struct sums *sums) {
    struct gradients grad = {0};
    if (with_hidden) {
        grad.o = dh * gates.tanh_c * gates.o * (1.0f - gates.o);
        dc += dh * gates.o * (1.0f - gates.tanh_c * gates.tanh_c);
        if (peephole) {
            dc += grad.o * load(peephole + 2 * LANES);
            sums->peephole_o += grad.o * c;
        }
        sums->o += grad.o;
    }
    grad.i = dc * gates.g * gates.i * (1.0f - gates.i);
    grad.f = dc * c_before * gates.f * (1.0f - gates.f);
    grad.g = dc * gates.i * (1.0f - gates.g * gates.g);
    grad.c = dc * gates.f;
    if (peephole) {
        grad.c += grad.i * load(peephole) + grad.f * load(peephole + LANES);
        sums->peephole_i += grad.i * c_before;
        sums->peephole_f += grad.f * c_before;
    }
    sums->i += grad.i;
    sums->f += grad.f;
    sums->g += grad.g;
    sums->cell += grad.c;
    return grad;
}

/* Into a row of gates, of one group of units. */
INLINE void store_gradients(float *to, int64_t hidden, int64_t units, struct gradients grad) {
    store_part(to, grad.i, units);
    store_part(to + hidden, grad.f, units);
    store_part(to + 2 * hidden, grad.g, units);
    store_part(to + 3 * hidden, grad.o, units);
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
