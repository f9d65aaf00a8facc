/* The forward pass of a tile: equations 3 to 7. */
#ifndef CONVRNN_FORWARD_H
#define CONVRNN_FORWARD_H

#include "project.h"

struct gates {
    vec i, f, g, o, tanh_c;
};

/* A block of rows goes through its gates in two loops, as far as c and from there: h waits for c, and one row's chain
 * of operations is so long that a processor does not look beyond it for the next row's.
 *
 * First half: from the pre-activations in `a`, and the state c before the step; gives c after it. */
INLINE struct gates open_cell(const float *a, int64_t units, const float *peephole, vec *c) {
    struct gates gates = {0};
    vec a_i = load(a), a_f = load(a + units);
    if (peephole) {
        a_i += load(peephole) * *c;
        a_f += load(peephole + LANES) * *c;
    }
    gates.g = tanh_of(load(a + 2 * units));
    gates.i = 1.0f / sigmoid_inverse(a_i);
    gates.f = 1.0f / sigmoid_inverse(a_f);
    *c = gates.f * *c + gates.i * gates.g;
    return gates;
}

/* Second half, from c after the step. */
INLINE void open_hidden(struct gates *gates, const float *a, int64_t units, const float *peephole, vec c) {
    vec a_o = load(a + 3 * units);
    if (peephole) a_o += load(peephole + 2 * LANES) * c;
    gates->tanh_c = tanh_of(c);
    gates->o = 1.0f / sigmoid_inverse(a_o);
}

/* The same without the gates themselves, for fewer divisions: c after the step. */
INLINE vec pass_cell(const float *a, int64_t units, const float *peephole, vec c) {
    vec a_i = load(a), a_f = load(a + units);
    if (peephole) {
        a_i += load(peephole) * c;
        a_f += load(peephole + LANES) * c;
    }
    vec e = tanh_exponential(load(a + 2 * units));
    return c / sigmoid_inverse(a_f) - e / (sigmoid_inverse(a_i) * (2.0f + e));
}

/* h, from c after the step. */
INLINE vec pass_hidden(const float *a, int64_t units, const float *peephole, vec c) {
    vec a_o = load(a + 3 * units), e = tanh_exponential(c);
    if (peephole) a_o += load(peephole + 2 * LANES) * c;
    return -e / (sigmoid_inverse(a_o) * (2.0f + e));
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

static void put_states(const struct tile *tile, int64_t row, int64_t step, int64_t group, vec h, vec c) {
    const struct lstm_call *call = tile->job->plan->call;
    int64_t place = frame_of(tile, row, step) * call->hidden + group * LANES, units = units_of(tile->job, group);
    store_part(call->states_hidden + place, h, units);
    store_part(call->states_cell + place, c, units);
}

/* Where the gates of a whole sequence's step are kept for its backward pass, KEPT_GATES vectors of `hidden` units. */
INLINE float *kept_gates_of(const struct tile *tile, int64_t row, int64_t step, int64_t group) {
    const struct lstm_call *call = tile->job->plan->call;
    return call->gates + frame_of(tile, row, step) * KEPT_GATES * call->hidden + group * LANES;
}

static void keep_gates(const struct tile *tile, int64_t row, int64_t step, int64_t group, struct gates gates) {
    int64_t units = units_of(tile->job, group), hidden = tile->job->plan->call->hidden;
    float *kept = kept_gates_of(tile, row, step, group);
    store_part(kept + GATE_I * hidden, gates.i, units);
    store_part(kept + GATE_F * hidden, gates.f, units);
    store_part(kept + GATE_G * hidden, gates.g, units);
    store_part(kept + GATE_O * hidden, gates.o, units);
    store_part(kept + TANH_C * hidden, gates.tanh_c, units);
}

/* Where the gates of a window's last step are kept: side by side in the order in which they are computed. */
INLINE float *kept_last_of(const struct tile *tile, int64_t row, int64_t group) {
    const struct job *job = tile->job;
    int64_t place = tile->begin * job->groups + group * tile->all_rows + row;
    return job->plan->call->gates + place * (job->plan->call->sequence == CELL ? 3 : 4) * LANES;
}

static void keep_last(const struct tile *tile, int64_t row, int64_t group, struct gates gates) {
    float *kept = kept_last_of(tile, row, group);
    store(kept + GATE_I * LANES, gates.i);
    store(kept + GATE_F * LANES, gates.f);
    store(kept + GATE_G * LANES, gates.g);
    if (tile->job->plan->call->sequence == HIDDEN) store(kept + GATE_O * LANES, gates.o);
}

/* The gates of a block of rows, after sum_gates, in a step with a next one; `windowed` is a constant here. */
INLINE void gates_forward(const struct tile *tile, int64_t row, int count, int64_t group, int64_t step, int windowed) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t units = units_of(job, group);
    const float *peephole = call->weight_peephole ? job->peephole + group * 3 * LANES : NULL;
    struct gates gates[BLOCK_ROWS];
    vec c[BLOCK_ROWS];
    for (int i = 0; i < count; i++) {
        const float *a = tile->gate_sums + i * PANEL;
        int64_t place = (row + i) * job->padded + group * LANES;
        c[i] = load(step ? tile->c + place : job->cell + group * LANES);
        if (windowed)
            c[i] = pass_cell(a, units, peephole, c[i]);
        else /* the same bits whether the gates are kept or not */
            gates[i] = open_cell(a, units, peephole, &c[i]);
        store(tile->c + place, c[i]);
    }
    for (int i = 0; i < count; i++) {
        const float *a = tile->gate_sums + i * PANEL;
        vec h;
        if (windowed) {
            h = pass_hidden(a, units, peephole, c[i]);
            put_output(tile, row + i, step, group, call->sequence == CELL ? c[i] : h);
        } else {
            open_hidden(&gates[i], a, units, peephole, c[i]);
            h = gates[i].o * gates[i].tanh_c;
            if (call->gates) keep_gates(tile, row + i, step, group, gates[i]);
            put_states(tile, row + i, step, group, h, c[i]);
        }
        store(tile->h_next + (row + i) * job->padded + group * LANES, h);
    }
}

/* The same in a window's last step, with the same bits whether its gates are kept or not. */
INLINE void last_gates_forward(const struct tile *tile, int64_t row, int count, int64_t group, int64_t step) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t units = units_of(job, group);
    const float *peephole = call->weight_peephole ? job->peephole + group * 3 * LANES : NULL;
    for (int i = 0; i < count; i++) {
        const float *a = tile->gate_sums + i * PANEL;
        vec c = load(step ? tile->c + (row + i) * job->padded + group * LANES : job->cell + group * LANES);
        struct gates gates = open_cell(a, units, peephole, &c);
        if (call->sequence == HIDDEN) open_hidden(&gates, a, units, peephole, c);
        if (call->gates) keep_last(tile, row + i, group, gates);
        put_output(tile, row + i, step, group, call->sequence == CELL ? c : gates.o * gates.tanh_c);
    }
}

static void step_forward(const struct tile *tile, int64_t row, int count, int64_t group, int64_t step) {
    const struct lstm_call *call = tile->job->plan->call;
    const float *h_before[BLOCK_ROWS];
    for (int i = 0; i < count; i++) h_before[i] = tile->h + (row + i) * tile->job->padded;
    sum_gates(tile, row, count, group, step, h_before);
    if (!is_windowed(call))
        gates_forward(tile, row, count, group, step, 0);
    else if (is_last_step(call, step))
        last_gates_forward(tile, row, count, group, step);
    else
        gates_forward(tile, row, count, group, step, 1);
}

static void tile_forward(struct tile *tile) {
    const struct job *job = tile->job;
    if (!job->chunk) project_all(tile);
    for (int64_t step = 0; (tile->rows = rows_at(tile, tile->rows, step)); step++) {
        if (job->chunk && step % job->chunk == 0) project_chunk(tile, step);
        for (int64_t group = tile->first_group; group < tile->end_group; group++)
            for (int64_t row = 0, count; row < tile->rows; row += count) {
                count = block_of(tile->rows - row);
                step_forward(tile, row, (int)count, group, step);
            }
        float *h = tile->h;
        tile->h = tile->h_next;
        tile->h_next = h;
        convrnn_wait(tile->team);
    }
}

#endif
