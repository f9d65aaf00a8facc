/* The pre-activations of the gates: the input's projection, once for each frame, and the recurrent product. */
#ifndef CONVRNN_PROJECT_H
#define CONVRNN_PROJECT_H

#include "tile.h"

struct frames {
    const float *x[FRAMES_AT_ONCE];
    float *to[FRAMES_AT_ONCE];
    int64_t count;
};

static void project(const struct tile *tile, int64_t position, struct frames *frames) {
    const struct job *job = tile->job;
    int64_t features = job->plan->call->features;
    const float *weights = job->input + position * features * job->gates;
    for (int64_t group = tile->first_group; group < tile->end_group; group++) {
        int vectors = (int)divide_up(4 * units_of(job, group), LANES);
        const float *init[BLOCK_ROWS];
        for (int i = 0; i < BLOCK_ROWS; i++) init[i] = job->bias + packed_at(group);
        for (int64_t at = 0, count; at < frames->count; at += count) {
            float *out[BLOCK_ROWS];
            count = block_of(frames->count - at);
            for (int64_t i = 0; i < count; i++) out[i] = frames->to[at + i] + packed_at(group);
            multiply((int)count, vectors, frames->x + at, 1, features, weights + packed_at(group) * features,
                     vectors * LANES, init, out);
        }
    }
    frames->count = 0;
}

static void add_frame(const struct tile *tile, int64_t position, struct frames *frames, int64_t frame, int64_t to) {
    const struct job *job = tile->job;
    frames->x[frames->count] = job->plan->call->x + frame * job->plan->call->features;
    frames->to[frames->count++] = tile->projected + to * job->gates;
    if (frames->count == FRAMES_AT_ONCE) project(tile, position, frames);
}

/* All frames of a tile of windows. */
static void project_all(const struct tile *tile) {
    const struct lstm_plan *plan = tile->job->plan;
    struct frames frames = {.count = 0};
    int64_t place = 0;
    for (int64_t row = tile->begin; row < tile->begin + tile->all_rows; row++) {
        int64_t end = window_begin(plan, row) + plan->call->kernel_size;
        for (int64_t frame = new_frames_from(plan, row, tile->begin); frame < end; frame++)
            add_frame(tile, 0, &frames, frame, place++);
    }
    if (frames.count) project(tile, 0, &frames);
}

/* The frames of the chunk of steps that `step` is in. */
static void project_chunk(const struct tile *tile, int64_t step) {
    const struct job *job = tile->job;
    struct frames frames = {.count = 0};
    int64_t position = job->plan->call->per_position ? position_of(job->plan->call, step) : 0;
    int64_t begin = step - step % job->chunk;
    for (int64_t s = begin; s < begin + job->chunk; s++)
        for (int64_t row = 0; row < tile->all_rows && steps_of(tile, row) > s; row++)
            add_frame(tile, position, &frames, frame_of(tile, row, s), (s - begin) * tile->all_rows + row);
    if (frames.count) project(tile, position, &frames);
}

INLINE const float *projected_of(const struct tile *tile, int64_t row, int64_t step) {
    const struct job *job = tile->job;
    int64_t frame = job->chunk ? step % job->chunk * tile->all_rows + row : place_of(tile, row, step);
    return tile->projected + frame * job->gates;
}

/* Pre-activations without peepholes of one group of units, from h before the step [rows, padded], into `gate_sums`. */
static void sum_gates(const struct tile *tile, int64_t group, int64_t step, const float *h) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    static const float one = 1.0f;
    int packed = (int)divide_up(4 * units_of(job, group), LANES);
    int vectors = needs_hidden(call, step) ? packed : (int)divide_up(3 * units_of(job, group), LANES);
    for (int64_t row = 0, count; row < tile->rows; row += count) {
        const float *from[BLOCK_ROWS], *init[BLOCK_ROWS];
        float *out[BLOCK_ROWS];
        count = block_of(tile->rows - row);
        for (int64_t i = 0; i < count; i++) {
            from[i] = step ? h + (row + i) * job->padded : &one;
            init[i] = projected_of(tile, row + i, step) + packed_at(group);
            out[i] = tile->gate_sums + (row + i) * PANEL;
        }
        if (step)
            multiply((int)count, vectors, from, 1, call->hidden, job->recurrent + packed_at(group) * call->hidden,
                     packed * LANES, init, out);
        else /* h_0 is the same in every row, so its product is one vector. */
            multiply((int)count, vectors, from, 0, 1, job->first + packed_at(group), 0, init, out);
    }
}

#endif
