/* A tile of rows on its way through the steps: what it works with, and where things stand. */
#ifndef CONVRNN_TILE_H
#define CONVRNN_TILE_H

#include <string.h>

#include "lstm.h"
#include "parallel.h"
#include "product.h"

/* What is kept of a step for the way back; of whole sequences c is a result. */
enum { GATE_I, GATE_F, GATE_G, GATE_O, TANH_C, STATE_C, KEPT };
#define KEPT_GATES STATE_C /* all but c */
enum { SUM_GATES = 0, SUM_FIRST = 4, SUM_PEEPHOLES = 8, SUM_CELL = 11, SUMS };

/* Units are taken in groups of a vector; the last group may have fewer. A group's four gates stand next to each other,
 * [4, units of the group], filled up to whole vectors, so that few units cost few vectors. */
struct job {
    const struct lstm_plan *plan;
    int direction;
    int64_t groups, padded, gates; /* units and 4 * units: groups of them, and rounded up to whole vectors */
    int64_t workers;               /* threads that have a tile's memory */
    int64_t chunk;                 /* steps whose frames are projected at a time; 0: all of a tile's at once */
    int64_t splits;                /* backward: sums over windows have so many parts, each of successive tiles */
    float *input, *recurrent;      /* packed gates: [positions][groups][features, ..], [groups][hidden, ..] */
    float *input_back, *recurrent_back; /* packed panels of the same, for the backward pass */
    float *bias, *first, *peephole, *cell; /* packed; first: W_h h_0 */
    float *sums;                   /* [splits, or batch where whole][SUMS][padded] */
    float *sums_hh, *sums_ih;      /* windowed: [splits][hidden][gates], [splits][positions][features][gates] */
    float *grad_frames;            /* windowed: gradients of the frames of all tiles, [.., whole vectors of features] */
    float *grad_gates;             /* whole: of the pre-activations, [batch, frames, gates] */
    int64_t members;               /* threads that share the units of whole sequences; 1: they share out the tiles */
    float *member_gates;           /* of each member, gate_sums and gates of a tile */
    float *packed_x, *packed_states; /* whole, backward: by sequences, blocks of rows, frames */
    float *scratch;
    int64_t scratch_size;          /* of one worker, in floats */
};

struct tile {
    const struct job *job;
    int64_t number, begin, all_rows, rows; /* rows: those at work in this step */
    int64_t member, members;       /* this thread among those that share the tile's units */
    int64_t first_group, end_group; /* its groups of units */
    struct team *team;             /* those threads; NULL where it is one */
    float *gate_sums;              /* of a group: before the gates, [rows, PANEL] */
    float *gates;                  /* of a group: gates and c, or what becomes of them, [rows, KEPT, LANES] */
    float *projected;              /* W_x x + b of frames, [.., gates] */
    float *h, *h_next, *c;         /* [rows, padded]; in the backward pass the gradients dh, -, dc */
    /* Windowed, backward: */
    float *kept;                   /* [steps, groups, rows, KEPT, LANES] */
    float *states;                 /* h after every step, [steps, rows, padded] */
    float *grad_gates;             /* [steps, rows, gates] */
    float *grad_projected;         /* [frames of the tile, gates] */
    float *frames;                 /* x of a step's rows or of all frames, [.., features] */
    float *top, *share;            /* [rows, padded]: the maximum over the window, and what each step that has it gets */
};

#define FRAMES_AT_ONCE 60 /* in products over frames: a multiple of every kernel's block of rows */

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

INLINE int is_last_step(const struct lstm_call *call, int64_t step) {
    return is_windowed(call) && step == call->kernel_size - 1;
}

/* After the last step of a window whose features are cell states, h is not needed, nor is the gate o. */
INLINE int needs_hidden(const struct lstm_call *call, int64_t step) {
    return !(is_last_step(call, step) && call->sequence == CELL);
}

/* The first of `rows` rows, that still have a frame in this step. */
static int64_t rows_at(const struct tile *tile, int64_t rows, int64_t step) {
    while (rows && steps_of(tile, rows - 1) <= step) rows--;
    return rows;
}

#endif
