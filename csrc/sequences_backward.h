/* The backward pass of whole sequences.
 *
 * A sequence is too long to compute again, so the forward pass has saved all gates. First the recurrence runs back and
 * leaves the gradients of the gates of every frame; then the gradients of the weights and of x are large products over
 * all frames. */
#ifndef CONVRNN_SEQUENCES_BACKWARD_H
#define CONVRNN_SEQUENCES_BACKWARD_H

#include "gates_backward.h"
#include "projection.h"
#include "sequences.h"

struct sequences_backward {
    struct sequences_run run;
    struct cell cell;
    struct backward_weights weights;
    struct vector_gradients vectors; /* parts: one for each sequence, since tiles depend on the number of threads */
    float *grad_gates;               /* [batch, frames, gate_stride] */
    float *packed_x, *packed_h;      /* [batch][blocks of rows][frames], as pack_frames leaves them */
    float *dh, *dc;                  /* [run.tiles, tile_rows, padded] */
    int64_t product_workers, product_size;
    float *products; /* [product_workers, product_size] */
};

/* The recurrence. */

/* A row's step back, for the units of this thread. */
static void sequences_row_backward(const struct sequences_backward *pass, const struct sequences_tile *tile,
                                   int64_t row, int64_t step, float *dh, float *dc) {
    const struct cell *cell = &pass->cell;
    const struct lstm_call *call = cell->call;
    int64_t hidden = cell->hidden, frame = sequence_frame(tile, row, step), place = frame * hidden;
    const float *saved = call->saved + frame * SAVED_GATES * hidden, *c = call->states_cell + place;
    const float *c_before = step ? call->states_cell + sequence_frame(tile, row, step - 1) * hidden : NULL;
    const float *grad_hidden = call->grad_hidden ? call->grad_hidden + place : NULL;
    const float *grad_cell = call->grad_cell ? call->grad_cell + place : NULL;
    float *grad_gates = pass->grad_gates + frame * cell->gate_stride;
    float *part = vector_part(&pass->vectors, cell, frame / call->frames);
    for (int64_t group = tile->first_group; group < tile->end_group; group++) {
        int64_t at = group * LANES, units = units_of(cell, group);
        const float *from = saved + at;
        struct gates gates = {load_part(from + GATE_I * hidden, units), load_part(from + GATE_F * hidden, units),
                              load_part(from + GATE_G * hidden, units), load_part(from + GATE_O * hidden, units),
                              load_part(from + TANH_C * hidden, units)};
        vec before = c_before ? load_part(c_before + at, units) : load(cell->initial_cell + at);
        vec grad_h = load(dh + at), grad_c = load(dc + at);
        if (grad_hidden) grad_h += load_part(grad_hidden + at, units);
        if (grad_cell) grad_c += load_part(grad_cell + at, units);
        struct vector_sums sums = {0};
        struct gate_gradients grad = gates_backward(gates, load_part(c + at, units), before, grad_h, grad_c,
                                                    peepholes_of(cell, group), 1, &sums);
        store(dc + at, grad.c);
        store_gradients(grad_gates + at, hidden, units, grad);
        add_vector_sums(cell, part, step == 0, group, &sums);
    }
}

static void sequences_tile_backward(const void *context, const struct sequences_tile *tile) {
    const struct sequences_backward *pass = context;
    const struct cell *cell = &pass->cell;
    int64_t padded = cell->padded, memory = tile->memory * pass->run.plan->tile_rows * padded;
    int64_t begin = tile->first_group * LANES, end = tile->end_group * LANES;
    float *dh = pass->dh + memory, *dc = pass->dc + memory;
    for (int64_t row = 0; row < tile->rows; row++) {
        memset(dh + row * padded + begin, 0, sizeof(float) * (size_t)(end - begin));
        memset(dc + row * padded + begin, 0, sizeof(float) * (size_t)(end - begin));
    }
    for (int64_t step = tile->plan->steps[tile->begin] - 1; step >= 0; step--) {
        const float *grad_gates[MAX_TILE_ROWS];
        int64_t rows = rows_at(tile, tile->rows, step);
        for (int64_t row = 0; row < rows; row++) {
            sequences_row_backward(pass, tile, row, step, dh + row * padded, dc + row * padded);
            grad_gates[row] = pass->grad_gates + sequence_frame(tile, row, step) * cell->gate_stride;
        }
        convrnn_barrier(tile->team);
        if (step) hidden_backward(cell, pass->weights.recurrent, grad_gates, rows, 4 * cell->hidden, dh, tile->share);
        convrnn_barrier(tile->team);
    }
}

/* The gradients of the weights. */

/* `rows` numbers of each frame, [frames, rows], one block of rows after the other, for products over frames. */
static void pack_frames(const float *from, int64_t frames, int64_t rows, float *to) {
    for (int64_t row = 0, count; row < rows; row += count) {
        count = block_rows(rows - row);
        for (int64_t frame = 0; frame < frames; frame++)
            for (int64_t i = 0; i < count; i++) *to++ = from[frame * rows + row + i];
    }
}

/* Steps of a sequence whose gates multiply the h of a frame: all but the first. */
static int64_t recurrent_steps(const struct sequences_plan *plan, int64_t sequence) {
    return at_least(0, plan->length[sequence] - 1);
}

static void pack_sequence(void *context, int64_t sequence, int64_t worker) {
    (void)worker;
    const struct sequences_backward *pass = context;
    const struct sequences_plan *plan = pass->run.plan;
    const struct lstm_call *call = plan->call;
    int64_t begin = sequence * call->frames, h_begin = begin + (call->reverse ? 1 : 0);
    pack_frames(call->x + begin * call->features, plan->length[sequence], call->features,
                pass->packed_x + begin * call->features);
    pack_frames(call->states_hidden + h_begin * call->hidden, recurrent_steps(plan, sequence), call->hidden,
                pass->packed_h + begin * call->hidden);
}

/* sums [rows, PANEL] += the products over frames of packed rows and one panel of gates [frames, PANEL]. */
static void add_products(const float *packed, int64_t rows, const float *gates, int vectors, int64_t frames,
                         float *sums) {
    for (int64_t row = 0, count; row < rows; row += count) {
        const float *from[MICRO_ROWS];
        float *to[MICRO_ROWS];
        count = block_rows(rows - row);
        for (int64_t i = 0; i < count; i++) {
            from[i] = packed + row * frames + i;
            to[i] = sums + (row + i) * PANEL;
        }
        multiply((int)count, vectors, from, count, frames, gates, PANEL, (const float *const *)to, to);
    }
}

/* One panel of the gates of both matrices: sums over all frames, in their order. */
static void weights_backward(void *context, int64_t panel, int64_t worker) {
    const struct sequences_backward *pass = context;
    const struct sequences_plan *plan = pass->run.plan;
    const struct lstm_call *call = plan->call;
    int64_t hidden = call->hidden, features = call->features, at = panel * PANEL;
    int64_t columns = at_most(PANEL, 4 * hidden - at);
    int vectors = (int)divide_up(columns, LANES);
    float *sums_hh = pass->products + worker * pass->product_size, *sums_ih = sums_hh + hidden * PANEL;
    float *gates = sums_ih + features * PANEL;
    memset(sums_hh, 0, sizeof(float) * (size_t)((hidden + features) * PANEL));
    for (int64_t sequence = 0; sequence < call->batch; sequence++) {
        int64_t begin = sequence * call->frames, length = plan->length[sequence];
        for (int64_t frame = 0; frame < length; frame++)
            memcpy(gates + frame * PANEL, pass->grad_gates + (begin + frame) * pass->cell.gate_stride + at,
                   sizeof(float) * (size_t)(vectors * LANES));
        add_products(pass->packed_x + begin * features, features, gates, vectors, length, sums_ih);
        add_products(pass->packed_h + begin * hidden, hidden, gates + (call->reverse ? 0 : PANEL), vectors,
                     recurrent_steps(plan, sequence), sums_hh);
    }
    for (int64_t gate = 0; gate < columns; gate++) {
        for (int64_t k = 0; k < hidden; k++) call->grad_weight_hh[(at + gate) * hidden + k] = sums_hh[k * PANEL + gate];
        for (int64_t k = 0; k < features; k++)
            call->grad_weight_ih[(at + gate) * features + k] = sums_ih[k * PANEL + gate];
    }
}

/* The gradient of x. */

/* A block of frames: products for those within their sequence's length, zeros for the others. */
static void frames_backward(void *context, int64_t block, int64_t worker) {
    const struct sequences_backward *pass = context;
    const struct lstm_call *call = pass->cell.call;
    const int64_t *length = pass->run.plan->length;
    int64_t features = call->features, width = whole_vectors(features), count = 0;
    const float *from[FRAME_BLOCK] = {0};
    float *to[FRAME_BLOCK] = {0}, *products = pass->products + worker * pass->product_size;
    int64_t begin = block * FRAME_BLOCK, end = at_most(begin + FRAME_BLOCK, call->batch * call->frames);
    for (int64_t frame = begin; frame < end; frame++)
        if (frame % call->frames < length[frame / call->frames]) {
            from[count] = pass->grad_gates + frame * pass->cell.gate_stride;
            to[count] = products + count * width;
            count++;
        }
    multiply_panels(from, to, count, 4 * call->hidden, pass->weights.input, 0, ALL_PANELS);
    for (int64_t frame = begin; frame < end; frame++) {
        float *grad_x = call->grad_x + frame * features;
        if (frame % call->frames < length[frame / call->frames]) {
            memcpy(grad_x, products, sizeof(float) * (size_t)features);
            products += width;
        } else {
            memset(grad_x, 0, sizeof(float) * (size_t)features);
        }
    }
}

/* The pass. */

static void lay_out_sequences_backward(struct sequences_backward *pass, struct arena *arena) {
    struct cell *cell = &pass->cell;
    const struct lstm_call *call = cell->call;
    int64_t frames = call->batch * call->frames, rows = pass->run.tiles * pass->run.plan->tile_rows;
    lay_out_cell(cell, arena);
    lay_out_backward_weights(&pass->weights, cell, arena);
    lay_out_vector_gradients(&pass->vectors, cell, call->batch, arena);
    pass->grad_gates = take(arena, frames * cell->gate_stride);
    pass->packed_x = take(arena, frames * cell->features);
    pass->packed_h = take(arena, frames * cell->hidden);
    pass->dh = take(arena, rows * cell->padded);
    pass->dc = take(arena, rows * cell->padded);
    pass->products = take(arena, pass->product_workers * pass->product_size);
}

static int sequences_backward(const struct sequences_plan *plan) {
    const struct lstm_call *call = plan->call;
    struct sequences_backward pass = {.cell = new_cell(call)};
    pass.run = new_sequences_run(plan, pass.cell.groups);
    int64_t panels = divide_up(4 * call->hidden, PANEL), blocks = divide_up(call->batch * call->frames, FRAME_BLOCK);
    pass.product_workers = at_most(call->threads, at_least(panels, blocks));
    pass.product_size = at_least(FRAME_BLOCK * whole_vectors(call->features),
                                 whole_vectors((call->hidden + call->features + call->frames) * PANEL));
    struct arena arena = {0};
    lay_out_sequences_backward(&pass, &arena);
    if (allocate(&arena)) return -1;
    lay_out_sequences_backward(&pass, &arena);
    pack_cell(&pass.cell);
    pack_backward_weights(&pass.weights);
    for (int64_t sequence = 0; sequence < call->batch; sequence++)
        clear_vector_part(&pass.vectors, &pass.cell, sequence);
    run_sequences(&pass.run, sequences_tile_backward, &pass);
    convrnn_parallel_for(call->batch, call->threads, pack_sequence, &pass);
    convrnn_parallel_for(panels, pass.product_workers, weights_backward, &pass);
    if (call->grad_x) convrnn_parallel_for(blocks, pass.product_workers, frames_backward, &pass);
    add_up_vectors(&pass.cell, &pass.vectors, pass.weights.recurrent);
    free(arena.memory);
    return 0;
}

#endif
