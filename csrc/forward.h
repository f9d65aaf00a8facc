/* The forward pass of a tile: equations 3 to 7. */
#ifndef CONVRNN_FORWARD_H
#define CONVRNN_FORWARD_H

#include "tile.h"

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

static void step_forward(const struct tile *tile, int64_t row, int count, int64_t group, int64_t step) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int hidden_too = needs_hidden(call, step);
    int64_t units = units_of(job, group);
    const float *h_before[BLOCK_ROWS];
    for (int i = 0; i < count; i++) h_before[i] = tile->h + (row + i) * job->padded;
    sum_gates(tile, row, count, group, step, h_before);
    const float *peephole = call->weight_peephole ? job->peephole + group * 3 * LANES : NULL;
    for (int i = 0; i < count; i++) {
        const float *a = tile->gate_sums + i * PANEL;
        int64_t place = (row + i) * job->padded + group * LANES;
        vec a_i = load(a), a_f = load(a + units), a_g = load(a + 2 * units), h = {0};
        vec c = load(step ? tile->c + place : job->cell + group * LANES);
        if (peephole) {
            a_i += load(peephole) * c;
            a_f += load(peephole + LANES) * c;
        }
        vec e = tanh_exponential(a_g);
        c = c / sigmoid_inverse(a_f) - e / (sigmoid_inverse(a_i) * (2.0f + e));
        store(tile->c + place, c);
        if (hidden_too) {
            vec a_o = load(a + 3 * units);
            if (peephole) a_o += load(peephole + 2 * LANES) * c;
            e = tanh_exponential(c);
            h = -e / (sigmoid_inverse(a_o) * (2.0f + e));
            store(tile->h_next + place, h);
        }
        if (is_windowed(call))
            put_output(tile, row + i, step, group, call->sequence == CELL ? c : h);
        else
            put_states(tile, row + i, step, group, h, c);
    }
}

static void tile_forward(struct tile *tile) {
    const struct job *job = tile->job;
    if (!job->chunk) project_all(tile);
    for (int64_t step = 0; (tile->rows = rows_at(tile, tile->rows, step)); step++) {
        if (job->chunk && step % job->chunk == 0) project_chunk(tile, step);
        for (int64_t group = 0; group < job->groups; group++)
            for (int64_t row = 0, count; row < tile->rows; row += count) {
                count = block_of(tile->rows - row);
                step_forward(tile, row, (int)count, group, step);
            }
        float *h = tile->h;
        tile->h = tile->h_next;
        tile->h_next = h;
    }
}

#endif
