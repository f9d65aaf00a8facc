/* The weights, packed in each call in the order in which the products read them. */
#ifndef CONVRNN_WEIGHTS_H
#define CONVRNN_WEIGHTS_H

#include <string.h>

#include "cell.h"
#include "threads.h"

/* For products that give gates. */
struct weights {
    const struct cell *cell;
    float *input;          /* [positions][panels][features, packed gates of the panel] */
    float *recurrent;      /* [panels][hidden, packed gates of the panel] */
    float *bias;           /* [gate_stride] */
    float *recurrent_bias; /* [gate_stride], bias_hn of a GRU; NULL for other cells */
    float *first_product;  /* [gate_stride], W_h h_0: the same in every row */
};

static void lay_out_weights(struct weights *weights, const struct cell *cell, struct arena *arena) {
    weights->cell = cell;
    weights->input = take(arena, positions_of(cell->call) * cell->features * cell->gate_stride);
    weights->recurrent = take(arena, cell->hidden * cell->gate_stride);
    weights->bias = take(arena, cell->gate_stride);
    weights->recurrent_bias = HAS_RECURRENT_BIAS ? take(arena, cell->gate_stride) : NULL;
    weights->first_product = take(arena, cell->gate_stride);
}

/* The rows of a panel's gates of `matrix` [gates, depth], or zeros if NULL, as [depth, packed gates of the panel]. */
static void pack_gates(const struct cell *cell, const float *matrix, int64_t depth, const struct panel *panel,
                       float *out) {
    int64_t units = panel->units, gates = panel->block->gates, width = whole_vectors(gates * units);
    for (int64_t i = 0; i < width; i++) {
        int64_t row = (panel->block->first + i / units) * cell->hidden + panel->first_group * LANES + i % units;
        int given = matrix && i < gates * units;
        for (int64_t k = 0; k < depth; k++) out[k * width + i] = given ? matrix[row * depth + k] : 0.0f;
    }
}

/* `number`: of a panel among those of all blocks. */
static void pack_panel(void *context, int64_t number, int64_t worker) {
    (void)worker;
    const struct weights *weights = context;
    const struct cell *cell = weights->cell;
    const struct recurrent_call *call = cell->call;
    struct panel panel = any_panel(cell, number);
    const struct gate_block *block = panel.block;
    int64_t hidden = cell->hidden, features = cell->features, rows = GATES * hidden, offset = panel.offset;
    for (int64_t p = 0; p < positions_of(call); p++)
        pack_gates(cell, call->weight_ih + p * rows * features, features, &panel,
                   weights->input + p * features * cell->gate_stride + offset * features);
    float *recurrent = weights->recurrent + offset * hidden;
    pack_gates(cell, call->weight_hh, hidden, &panel, recurrent);
    pack_gates(cell, call->bias, 1, &panel, weights->bias + offset);
    if (weights->recurrent_bias) {
        float *bias = weights->recurrent_bias + offset;
        int64_t from = (GATES - 1 - block->first) * panel.units;
        memset(bias, 0, sizeof(float) * (size_t)(gate_vectors(&panel, block->gates) * LANES));
        for (int64_t unit = 0; call->bias_hn && unit < panel.units; unit++)
            bias[from + unit] = call->bias_hn[panel.first_group * LANES + unit];
    }
    int vectors = gate_vectors(&panel, block->gates);
    static const float zeros[PANEL], zero;
    /* A zero h_0 is multiplied too: a weight that is not finite makes it NaN. */
    const float *row[] = {call->initial_hidden ? call->initial_hidden : &zero}, *init[] = {zeros};
    float *out[] = {weights->first_product + offset};
    multiply(1, vectors, row, call->initial_hidden ? 1 : 0, hidden, recurrent, vectors * LANES, init, out);
}

static void pack_weights(struct weights *weights) {
    convrnn_parallel_for(weights->cell->panels, weights->cell->call->threads, pack_panel, weights);
}

/* For products that take gradients of gates: the same matrices as panels. */
struct backward_weights {
    const struct cell *cell;
    struct panels recurrent; /* [gates, hidden] */
    struct panels input;     /* [gates, features] of position 0, the others behind it; empty without grad_x */
};

static void lay_out_backward_weights(struct backward_weights *weights, const struct cell *cell, struct arena *arena) {
    int64_t gates = GATES * cell->hidden, width = cell->call->grad_x ? whole_vectors(cell->features) : 0;
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
    const struct recurrent_call *call = weights->cell->call;
    int64_t position = number - call->threads;
    if (number < call->threads)
        pack_panels(call->weight_hh, weights->recurrent, (struct share){number, call->threads});
    else
        pack_panels(call->weight_ih + position * GATES * call->hidden * call->features, input_panels(weights, position),
                    ALL);
}

static void pack_backward_weights(struct backward_weights *weights) {
    const struct recurrent_call *call = weights->cell->call;
    int64_t matrices = call->grad_x ? positions_of(call) : 0;
    convrnn_parallel_for(call->threads + matrices, call->threads, pack_backward, weights);
}

#endif
