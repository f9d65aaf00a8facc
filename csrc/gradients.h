/* The gradients of all parameters that are vectors: sums over rows and steps. */
#ifndef CONVRNN_GRADIENTS_H
#define CONVRNN_GRADIENTS_H

#include <string.h>

/* Each partial sum has a fixed order, and they are added in order, so the bits do not depend on the threads. The gates'
 * gradients of the first step are separate, since in it every row has the same h before the step, initial_hidden. */
enum vector_gradient {
    SUM_GATES = 0,                        /* of all steps but the first */
    SUM_FIRST_GATES = GRAD_GATES,         /* of the first step */
    SUM_OTHERS = 2 * GRAD_GATES,          /* as in struct vector_sums */
    SUM_FIRSTS = SUM_OTHERS + OTHER_SUMS, /* likewise */
    SUMMED_VECTORS = SUM_FIRSTS + FIRST_SUMS,
};

struct vector_gradients {
    int64_t parts;
    float *sums;           /* [parts, SUMMED_VECTORS, padded] */
    float *total;          /* [SUMMED_VECTORS, hidden] */
    float *initial_hidden; /* [padded] */
};

static void lay_out_vector_gradients(struct vector_gradients *gradients, const struct cell *cell, int64_t parts,
                                     struct arena *arena) {
    gradients->parts = parts;
    gradients->sums = take(arena, parts * SUMMED_VECTORS * cell->padded);
    gradients->total = take(arena, SUMMED_VECTORS * cell->hidden);
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
    float *to = part + group * LANES, *gates = to + (first ? SUM_FIRST_GATES : SUM_GATES) * padded;
    for (int64_t v = 0; v < GRAD_GATES; v++) add_to(gates + v * padded, sums->gates[v]);
    for (int64_t v = 0; v < OTHER_SUMS; v++) add_to(to + (SUM_OTHERS + v) * padded, sums->others[v]);
    for (int64_t v = 0; first && v < FIRST_SUMS; v++) add_to(to + (SUM_FIRSTS + v) * padded, sums->firsts[v]);
}

/* Bytes of `count` vectors [hidden]. */
INLINE size_t vector_bytes(const struct cell *cell, int64_t count) {
    return sizeof(float) * (size_t)(count * cell->hidden);
}

/* The first step's products with initial_hidden: their gradients of that vector and of weight_hh. */
static void first_product_backward(const struct cell *cell, const struct vector_gradients *gradients,
                                   struct panels recurrent) {
    const struct recurrent_call *call = cell->call;
    int64_t hidden = cell->hidden;
    const float *first_gates = gradients->total + SUM_FIRST_GATES * hidden;
    multiply_gradients(cell, recurrent, &first_gates, 1, (struct range){0, cell->hidden_gates * hidden},
                       gradients->initial_hidden, 0, ALL);
    for (int64_t gate = 0; call->initial_hidden && gate < cell->hidden_gates * hidden; gate++)
        for (int64_t k = 0; k < hidden; k++)
            call->grad_weight_hh[gate * hidden + k] += first_gates[gate] * call->initial_hidden[k];
}

/* All parts into the call's gradients; grad_weight_hh, which lacks that of the first product, has to be there. */
static void add_up_vectors(const struct cell *cell, const struct vector_gradients *gradients, struct panels recurrent) {
    const struct recurrent_call *call = cell->call;
    int64_t hidden = cell->hidden;
    float *total = gradients->total;
    memset(total, 0, vector_bytes(cell, SUMMED_VECTORS));
    for (int64_t part = 0; part < gradients->parts; part++)
        for (int64_t v = 0; v < SUMMED_VECTORS; v++) {
            const float *from = vector_part(gradients, cell, part) + v * cell->padded;
            for (int64_t unit = 0; unit < hidden; unit++) total[v * hidden + unit] += from[unit];
        }
    first_product_backward(cell, gradients, recurrent);
    for (int i = 0; i < cell->spans; i++) {
        const struct span *span = &cell->span[i];
        float *bias = span->input_row < 0 ? call->grad_bias_hn : call->grad_bias;
        if (!bias) continue;
        const float *later = total + SUM_GATES * hidden + span->from,
                    *first = total + SUM_FIRST_GATES * hidden + span->from;
        if (span->input_row > 0) bias += span->input_row;
        for (int64_t k = 0; k < span->columns; k++) bias[k] = later[k] + first[k];
    }
    if (HAS_C && call->grad_weight_peephole)
        memcpy(call->grad_weight_peephole, total + SUM_OTHERS * hidden, vector_bytes(cell, OTHER_SUMS));
    if (HAS_C && call->grad_initial_cell)
        memcpy(call->grad_initial_cell, total + SUM_FIRSTS * hidden, vector_bytes(cell, 1));
    if (!call->grad_initial_hidden) return;
    memcpy(call->grad_initial_hidden, gradients->initial_hidden, vector_bytes(cell, 1));
    for (int64_t k = 0; !HAS_C && FIRST_SUMS && k < hidden; k++)
        call->grad_initial_hidden[k] += total[SUM_FIRSTS * hidden + k];
}

#endif
