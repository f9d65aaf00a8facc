/* Weights in the order in which the products read them, packed anew in each call. */
#ifndef CONVRNN_PACK_H
#define CONVRNN_PACK_H

#include "tile.h"

/* One group of `matrix` [4 hidden, depth], or of zeros, as [depth, whole vectors of 4 units]. */
static void pack_gates(const struct job *job, const float *matrix, int64_t depth, int64_t group, float *out) {
    int64_t units = units_of(job, group), width = whole_vectors(4 * units);
    for (int64_t i = 0; i < width; i++) {
        int64_t row = i / units * job->plan->call->hidden + group * LANES + i % units;
        int there = matrix && i < 4 * units;
        for (int64_t k = 0; k < depth; k++) out[k * width + i] = there ? matrix[row * depth + k] : 0.0f;
    }
}

/* `vectors` [count, hidden], or zeros, as [groups, count, LANES]. */
static void pack_vectors(const struct job *job, const float *vectors, int64_t count, float *out) {
    int64_t hidden = job->plan->call->hidden;
    for (int64_t unit = 0; unit < job->padded; unit++)
        for (int64_t v = 0; v < count; v++)
            out[(unit / LANES * count + v) * LANES + unit % LANES] =
                vectors && unit < hidden ? vectors[v * hidden + unit] : 0.0f;
}

static int64_t positions_of(const struct lstm_call *call) { return call->per_position ? call->kernel_size : 1; }

static void pack(void *context, int64_t group, int64_t worker) {
    (void)worker;
    struct job *job = context;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, features = call->features;
    for (int64_t p = 0; p < positions_of(call); p++)
        pack_gates(job, call->weight_ih + p * 4 * hidden * features, features, group,
                   job->input + p * features * job->gates + packed_at(group) * features);
    float *recurrent = job->recurrent + packed_at(group) * hidden;
    pack_gates(job, call->weight_hh, hidden, group, recurrent);
    pack_gates(job, call->bias, 1, group, job->bias + packed_at(group));
    int vectors = (int)divide_up(4 * units_of(job, group), LANES);
    static const float zeros[PANEL], zero;
    /* Zeros are multiplied too, for what they make of a weight that is not finite. */
    const float *rows[] = {call->initial_hidden ? call->initial_hidden : &zero}, *init[] = {zeros};
    float *out[] = {job->first + packed_at(group)};
    multiply(1, vectors, rows, call->initial_hidden ? 1 : 0, hidden, recurrent, vectors * LANES, init, out);
}

static void pack_back(void *context, int64_t number, int64_t worker) {
    (void)worker;
    struct job *job = context;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, features = call->features, position = number - call->threads;
    if (number < call->threads)
        pack_panels(call->weight_hh, 4 * hidden, hidden, job->recurrent_back, number, call->threads);
    else
        pack_panels(call->weight_ih + position * 4 * hidden * features, 4 * hidden, features,
                    job->input_back + position * 4 * hidden * whole_vectors(features), 0, 1);
}

#endif
