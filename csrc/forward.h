/* The forward pass of a tile: equations 3 to 7. */
#ifndef CONVRNN_FORWARD_H
#define CONVRNN_FORWARD_H

#include "project.h"

/* The gates of a group of units are applied to all rows of a tile at once, in short loops: one row's gates are a long
 * chain of operations, whose waits a processor fills up with the next rows' where it finds them soon enough. What the
 * loops need is in local variables, since for the compiler a store may change anything else. */

/* c of a group of units before a step; c_0 is the same in all rows. */
struct before {
    const float *c;
    int64_t step; /* from row to row */
};

INLINE struct before before_step(const struct tile *tile, int64_t group, int64_t step) {
    const struct job *job = tile->job;
    return step ? (struct before){tile->c + group * LANES, job->padded} : (struct before){job->cell + group * LANES, 0};
}

INLINE const float *peephole_of(const struct job *job, int64_t group) {
    return job->plan->call->weight_peephole ? job->peephole + group * 3 * LANES : NULL;
}

/* i and f before their sigmoids, from the sums of products and, through the peepholes, c before the step. */
INLINE void peep(const float *a, int64_t units, const float *peephole, vec c, vec *a_i, vec *a_f) {
    *a_i = load(a);
    *a_f = load(a + units);
    if (!peephole) return;
    *a_i += load(peephole) * c;
    *a_f += load(peephole + LANES) * c;
}

/* After sum_gates: gates and c into `to` [rows, KEPT, LANES], and h, unless it is NULL, by rows of `padded` floats. */
static void open_gates(const struct tile *tile, int64_t group, struct before before, float *to, float *h) {
    const struct job *job = tile->job;
    const float *peephole = peephole_of(job, group);
    int64_t units = units_of(job, group), rows = tile->rows, padded = job->padded;
    for (int64_t row = 0; row < rows; row++) {
        const float *a = tile->gate_sums + row * PANEL;
        float *gates = to + row * KEPT * LANES;
        vec a_i, a_f, c = load(before.c + row * before.step);
        peep(a, units, peephole, c, &a_i, &a_f);
        vec g = tanh_of(load(a + 2 * units)), i = 1.0f / sigmoid_inverse(a_i), f = 1.0f / sigmoid_inverse(a_f);
        store(gates + GATE_I * LANES, i);
        store(gates + GATE_F * LANES, f);
        store(gates + GATE_G * LANES, g);
        store(gates + STATE_C * LANES, f * c + i * g);
    }
    for (int64_t row = 0; h && row < rows; row++) {
        float *gates = to + row * KEPT * LANES;
        vec c = load(gates + STATE_C * LANES), a_o = load(tile->gate_sums + row * PANEL + 3 * units);
        if (peephole) a_o += load(peephole + 2 * LANES) * c;
        vec tanh_c = tanh_of(c), o = 1.0f / sigmoid_inverse(a_o);
        store(gates + GATE_O * LANES, o);
        store(gates + TANH_C * LANES, tanh_c);
        store(h + row * padded, o * tanh_c);
    }
}

/* The same, but for roundings, without the gates themselves, for fewer divisions: c into tile->c, and h. */
static void pass_gates(const struct tile *tile, int64_t group, struct before before, float *h) {
    const struct job *job = tile->job;
    const float *peephole = peephole_of(job, group);
    int64_t units = units_of(job, group), rows = tile->rows, padded = job->padded;
    float *c = tile->c + group * LANES;
    for (int64_t row = 0; row < rows; row++) {
        const float *a = tile->gate_sums + row * PANEL;
        float *to = tile->gates + row * KEPT * LANES;
        vec a_i, a_f;
        peep(a, units, peephole, load(before.c + row * before.step), &a_i, &a_f);
        store(to + GATE_I * LANES, sigmoid_inverse(a_i));
        store(to + GATE_F * LANES, sigmoid_inverse(a_f));
        store(to + GATE_G * LANES, tanh_exponential(load(a + 2 * units)));
    }
    for (int64_t row = 0; row < rows; row++) {
        const float *from = tile->gates + row * KEPT * LANES;
        vec e = load(from + GATE_G * LANES);
        store(c + row * padded, load(before.c + row * before.step) / load(from + GATE_F * LANES) -
                                    e / (load(from + GATE_I * LANES) * (2.0f + e)));
    }
    for (int64_t row = 0; row < rows; row++) {
        float *to = tile->gates + row * KEPT * LANES;
        vec c_after = load(c + row * padded), a_o = load(tile->gate_sums + row * PANEL + 3 * units);
        if (peephole) a_o += load(peephole + 2 * LANES) * c_after;
        store(to + GATE_O * LANES, sigmoid_inverse(a_o));
        store(to + TANH_C * LANES, tanh_exponential(c_after));
    }
    for (int64_t row = 0; row < rows; row++) {
        const float *from = tile->gates + row * KEPT * LANES;
        vec e = load(from + TANH_C * LANES);
        store(h + row * padded, -e / (load(from + GATE_O * LANES) * (2.0f + e)));
    }
}

static void put_output(const struct tile *tile, int64_t row, int64_t step, int64_t group, vec state) {
    const struct lstm_call *call = tile->job->plan->call;
    int64_t units = units_of(tile->job, group), last = call->kernel_size - 1;
    if (call->reduce == LAST && step < last) return;
    float *y = call->y + output_of(tile, row, step) * call->hidden + group * LANES;
    if (step && call->reduce == MEAN) state += load_part(y, units);
    if (step && call->reduce == MAX) state = maximum(load_part(y, units), state);
    if (step == last && call->reduce == MEAN) state /= (float)call->kernel_size;
    store_part(y, state, units);
}

/* Where the gates of a whole sequence's step are kept for its backward pass, KEPT_GATES vectors of `hidden` units. */
INLINE float *kept_gates_of(const struct tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct lstm_call *call = tile->job->plan->call;
    return call->gates + frame_of(tile, row, step) * KEPT_GATES * call->hidden + group * LANES;
}

/* Where the gates of a window's last step are kept: side by side in the order in which they are computed. */
INLINE float *kept_last_of(const struct tile *tile, int64_t row, int64_t group) {
    const struct job *job = tile->job;
    int64_t place = tile->begin * job->groups + group * tile->all_rows + row;
    return job->plan->call->gates + place * (job->plan->call->sequence == CELL ? 3 : 4) * LANES;
}

/* A group's units in a step of windows: in the last step with the same bits whether its gates are kept or not. */
static void windows_forward(const struct tile *tile, int64_t group, int64_t step) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int last = is_last_step(call, step), cell = call->sequence == CELL;
    struct before before = before_step(tile, group, step);
    float *h = tile->h_next + group * LANES;
    if (last)
        open_gates(tile, group, before, tile->gates, cell ? NULL : h);
    else
        pass_gates(tile, group, before, h);
    for (int64_t row = 0; last && call->gates && row < tile->rows; row++)
        memcpy(kept_last_of(tile, row, group), tile->gates + row * KEPT * LANES,
               sizeof(float) * (size_t)((cell ? 3 : 4) * LANES));
    if (call->reduce == LAST && !last) return;
    for (int64_t row = 0; row < tile->rows; row++) {
        int64_t place = row * job->padded;
        const float *c = last ? tile->gates + (row * KEPT + STATE_C) * LANES : tile->c + place + group * LANES;
        put_output(tile, row, step, group, load(cell ? c : h + place));
    }
}

/* A group's units in a step of whole sequences, with the same bits whether its gates are kept or not. */
static void sequences_forward(const struct tile *tile, int64_t group, int64_t step) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, units = units_of(job, group);
    float *h = tile->h_next + group * LANES, *c = tile->c + group * LANES;
    open_gates(tile, group, before_step(tile, group, step), tile->gates, h);
    for (int64_t row = 0; row < tile->rows; row++) {
        const float *gates = tile->gates + row * KEPT * LANES;
        int64_t place = frame_of(tile, row, step) * hidden + group * LANES;
        vec c_after = load(gates + STATE_C * LANES);
        store(c + row * job->padded, c_after);
        store_part(call->states_hidden + place, load(h + row * job->padded), units);
        store_part(call->states_cell + place, c_after, units);
        if (!call->gates) continue;
        float *kept = kept_gates_of(tile, row, step, group);
        for (int64_t gate = 0; gate < KEPT_GATES; gate++)
            store_part(kept + gate * hidden, load(gates + gate * LANES), units);
    }
}

static void tile_forward(struct tile *tile) {
    const struct job *job = tile->job;
    if (!job->chunk) project_all(tile);
    for (int64_t step = 0; (tile->rows = rows_at(tile, tile->rows, step)); step++) {
        if (job->chunk && step % job->chunk == 0) project_chunk(tile, step);
        for (int64_t group = tile->first_group; group < tile->end_group; group++) {
            sum_gates(tile, group, step, tile->h);
            if (is_windowed(job->plan->call))
                windows_forward(tile, group, step);
            else
                sequences_forward(tile, group, step);
        }
        float *h = tile->h;
        tile->h = tile->h_next;
        tile->h_next = h;
        convrnn_wait(tile->team);
    }
}

#endif
