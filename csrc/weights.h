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

/* Four rows of a matrix, from column k on, as four columns of `out`. */
INLINE void transpose(const float *const *row, int64_t k, float *out, int64_t out_stride) {
    typedef float four __attribute__((vector_size(16)));
    four a, b, c, d;
    memcpy(&a, row[0] + k, 16);
    memcpy(&b, row[1] + k, 16);
    memcpy(&c, row[2] + k, 16);
    memcpy(&d, row[3] + k, 16);
#if defined(__clang__)
#define SHUFFLE(x, y, i, j, k, l) __builtin_shufflevector(x, y, i, j, k, l)
#else
    typedef int32_t places __attribute__((vector_size(16)));
#define SHUFFLE(x, y, i, j, k, l) __builtin_shuffle(x, y, (places){i, j, k, l})
#endif
    four ab_low = SHUFFLE(a, b, 0, 4, 1, 5), ab_high = SHUFFLE(a, b, 2, 6, 3, 7);
    four cd_low = SHUFFLE(c, d, 0, 4, 1, 5), cd_high = SHUFFLE(c, d, 2, 6, 3, 7);
    four columns[4] = {SHUFFLE(ab_low, cd_low, 0, 1, 4, 5), SHUFFLE(ab_low, cd_low, 2, 3, 6, 7),
                       SHUFFLE(ab_high, cd_high, 0, 1, 4, 5), SHUFFLE(ab_high, cd_high, 2, 3, 6, 7)};
#undef SHUFFLE
    for (int64_t j = 0; j < 4; j++) memcpy(out + (k + j) * out_stride, &columns[j], 16);
}

/* The rows of a panel's gates of `matrix` [gates, depth], or zeros if NULL, as [depth, packed gates of the panel]. With
 * few frames, a call spends much of its time here. */
static void pack_gates(const struct cell *cell, const float *matrix, int64_t depth, const struct panel *panel,
                       float *out) {
    int64_t units = panel->units, gates = panel->block->gates, width = whole_vectors(gates * units);
    for (int64_t i = 0; i < width; i += 4) {
        const float *row[4] = {0};
        int64_t given = 0, k = 0;
        for (int64_t j = 0; matrix && j < 4 && i + j < gates * units; j++, given++) {
            int64_t gate = panel->block->first + (i + j) / units, unit = (i + j) % units;
            row[j] = matrix + (gate * cell->hidden + panel->first_group * LANES + unit) * depth;
        }
        for (; given == 4 && k + 4 <= depth; k += 4) transpose(row, k, out + i, width);
        for (; k < depth; k++)
            for (int64_t j = 0; j < 4; j++) out[k * width + i + j] = j < given ? row[j][k] : 0.0f;
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
