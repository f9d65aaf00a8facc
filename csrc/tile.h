/* A tile of rows on its way through the steps: what it works with, where things stand, and the input's projection. */
#ifndef CONVRNN_TILE_H
#define CONVRNN_TILE_H

#include <string.h>

#include "lstm.h"
#include "product.h"

/* What is kept of a step for the way back; of whole sequences c is a result. */
enum { GATE_I, GATE_F, GATE_G, GATE_O, TANH_C, STATE_C, KEPT, KEPT_GATES = STATE_C };
enum { SUM_GATES = 0, SUM_FIRST = 4, SUM_PEEPHOLES = 8, SUM_CELL = 11, SUMS };

/* Units are taken in groups of a vector; the last group may have fewer. A group's four gates stand next to each other,
 * [4, units of the group], filled up to whole vectors, so that few units cost few vectors. */
struct job {
    const struct lstm_plan *plan;
    int direction;
    int64_t groups, padded, gates; /* units and 4 * units: groups of them, and rounded up to whole vectors */
    int64_t chunk;                 /* steps whose frames are projected at a time; 0: all of a tile's at once */
    int64_t splits;                /* backward: sums over windows have so many parts, each of successive tiles */
    float *input, *recurrent;      /* packed gates: [positions][groups][features, ..], [groups][hidden, ..] */
    float *input_back, *recurrent_back; /* packed panels of the same, for the backward pass */
    float *bias, *first, *peephole, *cell; /* packed; first: W_h h_0 */
    float *sums;                   /* [splits, or batch where whole][SUMS][padded] */
    float *sums_hh, *sums_ih;      /* [splits][hidden][gates], [splits][positions][features][gates] */
    float *grad_frames;            /* windowed: gradients of the frames of all tiles, [.., whole vectors of features] */
    float *grad_gates;             /* whole: of the pre-activations, [batch, frames, gates] */
    float *scratch;
    int64_t scratch_size;          /* of one worker, in floats */
};

struct tile {
    const struct job *job;
    int64_t number, begin, all_rows, rows; /* rows: those at work in this step */
    float *gate_sums;              /* [BLOCK_ROWS, PANEL] */
    float *projected;              /* W_x x + b of frames, [.., gates] */
    float *h, *h_next, *c;         /* [rows, padded]; in the backward pass the gradients dh, -, dc */
    /* Windowed, backward: */
    float *kept;                   /* [steps, rows, groups, KEPT, LANES] */
    float *states;                 /* h after every step, [steps, rows, padded] */
    float *grad_gates;             /* [steps, rows, gates] */
    float *grad_projected;         /* [frames of the tile, gates] */
    float *frames;                 /* x of a step's rows or of all frames, [.., features] */
    float *top, *share;            /* [rows, padded]: the maximum over the window, and what each step that has it gets */
};

static const float one = 1.0f;

INLINE int is_windowed(const struct lstm_call *call) { return call->kernel_size > 0; }

INLINE int64_t units_of(const struct job *job, int64_t group) {
    return at_most(LANES, job->plan->call->hidden - group * LANES);
}

/* Where a group's packed gates begin in a row of `gates` floats. */
INLINE int64_t packed_at(int64_t group) { return group * PANEL; }

INLINE int64_t steps_of(const struct tile *tile, int64_t row) {
    const struct lstm_plan *plan = tile->job->plan;
    return is_windowed(plan->call) ? plan->call->kernel_size : plan->steps[tile->begin + row];
}

/* Frame of a row's step, among batch * frames. */
INLINE int64_t frame_of(const struct tile *tile, int64_t row, int64_t step) {
    const struct lstm_plan *plan = tile->job->plan;
    return plan->first_frame[tile->begin + row] + (plan->call->reverse ? -step : step);
}

INLINE int64_t position_of(const struct lstm_call *call, int64_t step) {
    return call->reverse ? call->kernel_size - 1 - step : step;
}

/* Place of a row's step in `y`. */
INLINE int64_t output_of(const struct tile *tile, int64_t row, int64_t step) {
    const struct lstm_plan *plan = tile->job->plan;
    int64_t window = plan->output[tile->begin + row];
    return plan->call->reduce == NONE ? window * plan->call->kernel_size + position_of(plan->call, step) : window;
}

/* Place of a row's step among the frames of its tile. */
INLINE int64_t place_of(const struct tile *tile, int64_t row, int64_t step) {
    const struct lstm_plan *plan = tile->job->plan;
    return plan->place[tile->begin + row] + position_of(plan->call, step);
}

/* A step of a row among those of a tile. */
INLINE int64_t slot_of(const struct tile *tile, int64_t row, int64_t step) { return step * tile->all_rows + row; }

/* After the last step of a window whose features are cell states, h is not needed, nor is the gate o. */
INLINE int needs_hidden(const struct lstm_call *call, int64_t step) {
    return !(is_windowed(call) && call->sequence == CELL && step == call->kernel_size - 1);
}

/* The first of `rows` rows, that still have a frame in this step. */
static int64_t rows_at(const struct tile *tile, int64_t rows, int64_t step) {
    while (rows && steps_of(tile, rows - 1) <= step) rows--;
    return rows;
}

/* -------------------------------------------------------------------------------------------------- the projection */

struct frames {
    const float *x[60];
    float *to[60];
    int64_t count;
};

static void project(const struct job *job, int64_t position, struct frames *frames) {
    int64_t features = job->plan->call->features;
    const float *weights = job->input + position * features * job->gates;
    for (int64_t group = 0; group < job->groups; group++) {
        int vectors = (int)divide_up(4 * units_of(job, group), LANES);
        const float *bias = job->bias + packed_at(group), *init[] = {bias, bias, bias, bias, bias, bias};
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
    if (frames->count == 60) project(job, position, frames);
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
    if (frames.count) project(tile->job, 0, &frames);
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
    if (frames.count) project(job, position, &frames);
}

INLINE const float *projected_of(const struct tile *tile, int64_t row, int64_t step) {
    const struct job *job = tile->job;
    int64_t frame = job->chunk ? step % job->chunk * tile->all_rows + row : place_of(tile, row, step);
    return tile->projected + frame * job->gates;
}

/* Pre-activations without peepholes of one group of units for a block of rows, into `gate_sums`. */
static void sum_gates(const struct tile *tile, int64_t row, int count, int64_t group, int64_t step,
                      const float *const *h) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    const float *init[BLOCK_ROWS], *ones[] = {&one, &one, &one, &one, &one, &one};
    float *out[BLOCK_ROWS];
    int packed = (int)divide_up(4 * units_of(job, group), LANES);
    int vectors = needs_hidden(call, step) ? packed : (int)divide_up(3 * units_of(job, group), LANES);
    for (int i = 0; i < count; i++) {
        init[i] = projected_of(tile, row + i, step) + packed_at(group);
        out[i] = tile->gate_sums + i * PANEL;
    }
    if (step)
        multiply(count, vectors, h, 1, call->hidden, job->recurrent + packed_at(group) * call->hidden, packed * LANES,
                 init, out);
    else /* h_0 is the same in every row, so its product is one vector. */
        multiply(count, vectors, ones, 0, call->initial_hidden ? 1 : 0, job->first + packed_at(group), 0, init, out);
}

#endif
