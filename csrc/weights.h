/* The weights, packed in each call in the order in which the products read them. */
#ifndef CONVRNN_WEIGHTS_H
#define CONVRNN_WEIGHTS_H

#include "cell.h"
#include "threads.h"

/* For products that give gates. */
struct weights {
    const struct cell *cell;
    float *input;         /* [positions][groups][features, packed gates of the group] */
    float *recurrent;     /* [groups][hidden, packed gates of the group] */
    float *bias;          /* [gate_stride] */
    float *first_product; /* [gate_stride], W_h h_0: the same in every row */
};

static void lay_out_weights(struct weights *weights, const struct cell *cell, struct arena *arena) {
    weights->cell = cell;
    weights->input = take(arena, positions_of(cell->call) * cell->features * cell->gate_stride);
    weights->recurrent = take(arena, cell->hidden * cell->gate_stride);
    weights->bias = take(arena, cell->gate_stride);
    weights->first_product = take(arena, cell->gate_stride);
}

/* One group of `matrix` [4 hidden, depth], or zeros if NULL, as [depth, packed gates of the group]. */
static void pack_gates(const struct cell *cell, const float *matrix, int64_t depth, int64_t group, float *out) {
    int64_t units = units_of(cell, group), width = whole_vectors(4 * units);
    for (int64_t i = 0; i < width; i++) {
        int64_t row = i / units * cell->hidden + group * LANES + i % units;
        int given = matrix && i < 4 * units;
        for (int64_t k = 0; k < depth; k++) out[k * width + i] = given ? matrix[row * depth + k] : 0.0f;
    }
}

static void pack_group(void *context, int64_t group, int64_t worker) {
    (void)worker;
    const struct weights *weights = context;
    const struct cell *cell = weights->cell;
    const struct lstm_call *call = cell->call;
    int64_t hidden = cell->hidden, features = cell->features, offset = group_offset(group);
    for (int64_t p = 0; p < positions_of(call); p++)
        pack_gates(cell, call->weight_ih + p * 4 * hidden * features, features, group,
                   weights->input + p * features * cell->gate_stride + offset * features);
    float *recurrent = weights->recurrent + offset * hidden;
    pack_gates(cell, call->weight_hh, hidden, group, recurrent);
    pack_gates(cell, call->bias, 1, group, weights->bias + offset);
    int vectors = gate_vectors(cell, group, 4);
    static const float zeros[PANEL], zero;
    /* A zero h_0 is multiplied too: a weight that is not finite makes it NaN. */
    const float *rows[] = {call->initial_hidden ? call->initial_hidden : &zero}, *init[] = {zeros};
    float *out[] = {weights->first_product + offset};
    multiply(1, vectors, rows, call->initial_hidden ? 1 : 0, hidden, recurrent, vectors * LANES, init, out);
}

static void pack_weights(struct weights *weights) {
    convrnn_parallel_for(weights->cell->groups, weights->cell->call->threads, pack_group, weights);
}

/* For products that take gradients of gates: the same matrices as panels. */
struct backward_weights {
    const struct cell *cell;
    struct panels recurrent; /* [4 hidden, hidden] */
    struct panels input;     /* [4 hidden, features] of position 0, the others behind it; empty without grad_x */
};

static void lay_out_backward_weights(struct backward_weights *weights, const struct cell *cell, struct arena *arena) {
    int64_t gates = 4 * cell->hidden, width = cell->call->grad_x ? whole_vectors(cell->features) : 0;
    weights->cell = cell;
    weights->recurrent = (struct panels){take(arena, gates * cell->padded), gates, cell->hidden};
    weights->input = (struct panels){take(arena, positions_of(cell->call) * gates * width), gates, cell->features};
}

static struct panels input_panels(const struct backward_weights *weights, int64_t position) {
    struct panels panels = weights->input;
    panels.data += position * panels.depth * whole_vectors(panels.columns);
    return panels;
}

/* First the recurrent matrix, in as many shares as there are threads, then the input matrix of each position. */
static void pack_backward(void *context, int64_t number, int64_t worker) {
    (void)worker;
    const struct backward_weights *weights = context;
    const struct lstm_call *call = weights->cell->call;
    int64_t position = number - call->threads;
    if (number < call->threads)
        pack_panels(call->weight_hh, weights->recurrent, (struct share){number, call->threads});
    else
        pack_panels(call->weight_ih + position * 4 * call->hidden * call->features, input_panels(weights, position),
                    ALL_PANELS);
}

static void pack_backward_weights(struct backward_weights *weights) {
    const struct lstm_call *call = weights->cell->call;
    int64_t matrices = call->grad_x ? positions_of(call) : 0;
    convrnn_parallel_for(call->threads + matrices, call->threads, pack_backward, weights);
}

#endif
