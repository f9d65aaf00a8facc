/* One step backward of one row's group of units, and the gradients of all parameters that are vectors. */
#ifndef CONVRNN_GATES_BACKWARD_H
#define CONVRNN_GATES_BACKWARD_H

#include <string.h>

#include "gates_forward.h"

struct gates {
    vec i, f, g, o, tanh_c;
};

struct gate_gradients {
    vec i, f, g, o; /* of the pre-activations */
    vec c;          /* of c before the step */
};

/* Sums over rows, of one step and one group of units. */
struct vector_sums {
    vec i, f, g, o; /* of the bias */
    vec peephole_i, peephole_f, peephole_o;
    vec c_before;
};

/* From the gradients dh and dc of the states after a step to those before it. Where h was not needed, the gate o,
 * tanh(c) and dh are not read. */
INLINE struct gate_gradients gates_backward(struct gates gates, vec c, vec c_before, vec dh, vec dc,
                                            const float *peepholes, int needs_h, struct vector_sums *sums) {
    struct gate_gradients grad = {0};
    if (needs_h) {
        grad.o = dh * gates.tanh_c * gates.o * (1.0f - gates.o);
        dc += dh * gates.o * (1.0f - gates.tanh_c * gates.tanh_c);
        if (peepholes) {
            dc += grad.o * load(peepholes + 2 * LANES);
            sums->peephole_o += grad.o * c;
        }
        sums->o += grad.o;
    }
    grad.i = dc * gates.g * gates.i * (1.0f - gates.i);
    grad.f = dc * c_before * gates.f * (1.0f - gates.f);
    grad.g = dc * gates.i * (1.0f - gates.g * gates.g);
    grad.c = dc * gates.f;
    if (peepholes) {
        grad.c += grad.i * load(peepholes) + grad.f * load(peepholes + LANES);
        sums->peephole_i += grad.i * c_before;
        sums->peephole_f += grad.f * c_before;
    }
    sums->i += grad.i;
    sums->f += grad.f;
    sums->g += grad.g;
    sums->c_before += grad.c;
    return grad;
}

/* The gates' gradients into a row [4 hidden], at one group of units. */
INLINE void store_gradients(float *row, int64_t hidden, int64_t units, struct gate_gradients grad) {
    store_part(row, grad.i, units);
    store_part(row + hidden, grad.f, units);
    store_part(row + 2 * hidden, grad.g, units);
    store_part(row + 3 * hidden, grad.o, units);
}

/* dh before a step: the gates' gradients [first `depth` of 4 hidden] times W_h, into rows of dh [rows, padded]. */
static void hidden_backward(const struct cell *cell, struct panels recurrent, const float *const *grad_gates,
                            int64_t rows, int64_t depth, float *dh, struct share share) {
    float *to[MAX_TILE_ROWS];
    for (int64_t row = 0; row < rows; row++) to[row] = dh + row * cell->padded;
    multiply_panels(grad_gates, to, rows, depth, recurrent, 0, share);
}

/* Vectors of call->grad_vectors. The gates' gradients of the first step are separate, since in it every row has the
 * same h before the step, initial_hidden. */
enum vector_gradient {
    GRAD_GATES = 0,       /* i, f, g, o, of all steps but the first */
    GRAD_FIRST_GATES = 4, /* i, f, g, o, of the first step */
    GRAD_PEEPHOLES = 8,   /* i, f, o */
    GRAD_INITIAL_CELL = 11,
    SUMMED_VECTORS = 12, /* those above are sums over rows and steps */
    GRAD_INITIAL_HIDDEN = 12,
};

/* Each partial sum has a fixed order, and they are added in order, so the bits do not depend on the threads. */
struct vector_gradients {
    float *sums; /* [parts, SUMMED_VECTORS, padded] */
    int64_t parts;
    float *initial_hidden; /* [padded] */
};

static void lay_out_vector_gradients(struct vector_gradients *gradients, const struct cell *cell, int64_t parts,
                                     struct arena *arena) {
    gradients->parts = parts;
    gradients->sums = take(arena, parts * SUMMED_VECTORS * cell->padded);
    gradients->initial_hidden = take(arena, cell->padded);
}

static float *vector_part(const struct vector_gradients *gradients, const struct cell *cell, int64_t part) {
    return gradients->sums + part * SUMMED_VECTORS * cell->padded;
}

static void clear_vector_part(const struct vector_gradients *gradients, const struct cell *cell, int64_t part) {
    memset(vector_part(gradients, cell, part), 0, sizeof(float) * (size_t)(SUMMED_VECTORS * cell->padded));
}

/* Add the sums of a step and a group to a part [SUMMED_VECTORS, padded]. */
static void add_vector_sums(const struct cell *cell, float *part, int first, int64_t group,
                            const struct vector_sums *sums) {
    int64_t padded = cell->padded;
    float *to = part + group * LANES, *gates = to + (first ? GRAD_FIRST_GATES : GRAD_GATES) * padded;
    float *peepholes = to + GRAD_PEEPHOLES * padded;
    add_to(gates, sums->i);
    add_to(gates + padded, sums->f);
    add_to(gates + 2 * padded, sums->g);
    add_to(gates + 3 * padded, sums->o);
    add_to(peepholes, sums->peephole_i);
    add_to(peepholes + padded, sums->peephole_f);
    add_to(peepholes + 2 * padded, sums->peephole_o);
    if (first) add_to(to + GRAD_INITIAL_CELL * padded, sums->c_before);
}

/* All parts into call->grad_vectors. */
static void add_up_vectors(const struct cell *cell, const struct vector_gradients *gradients, struct panels recurrent) {
    int64_t hidden = cell->hidden;
    float *grad = cell->call->grad_vectors;
    memset(grad, 0, sizeof(float) * (size_t)(SUMMED_VECTORS * hidden));
    for (int64_t part = 0; part < gradients->parts; part++)
        for (int64_t v = 0; v < SUMMED_VECTORS; v++) {
            const float *from = vector_part(gradients, cell, part) + v * cell->padded;
            for (int64_t unit = 0; unit < hidden; unit++) grad[v * hidden + unit] += from[unit];
        }
    const float *first_gates[] = {grad + GRAD_FIRST_GATES * hidden};
    hidden_backward(cell, recurrent, first_gates, 1, 4 * hidden, gradients->initial_hidden, ALL_PANELS);
    memcpy(grad + GRAD_INITIAL_HIDDEN * hidden, gradients->initial_hidden, sizeof(float) * (size_t)hidden);
}

#endif
