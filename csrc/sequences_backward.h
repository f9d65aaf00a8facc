/* The backward pass of whole sequences.
 *
 * A sequence is too long to compute again, so the forward pass has saved all gates. First the recurrence runs back and
 * leaves the gradients of the gates of every frame; then the gradients of the weights and of x are large products over
 * all frames. */
#ifndef CONVRNN_SEQUENCES_BACKWARD_H
#define CONVRNN_SEQUENCES_BACKWARD_H

#include "gradients.h"
#include "projection.h"
#include "sequences.h"

struct sequences_backward {
    struct sequences_run run;
    struct cell cell;
    struct backward_weights weights;
    struct vector_gradients vectors; /* parts: one for each sequence, since tiles depend on the number of threads */
    float *grad_gates;               /* [batch, frames, grad_stride] */
    float *reset_h;                  /* r h, [batch, frames, hidden]; with two blocks of gates */
    /* [batch][blocks of rows][frames], as pack_frames leaves them; packed_reset_h with two blocks of gates. */
    float *packed_x, *packed_h, *packed_reset_h;
    float *dh, *dc, *d_reset_h; /* [run.tiles, tile_rows, padded] */
    int64_t product_workers, product_size;
    float *products; /* [product_workers, product_size] */
};

/* The recurrence. */

/* The arrays of a tile, [rows, padded]. */
struct sequences_backward_tile {
    const struct sequences_tile *sequences;
    float *dh, *dc, *d_reset_h;
};

/* A row's step back through one block of gates, for the units of this thread. */
static void sequences_row_backward(const struct sequences_backward *pass, const struct sequences_backward_tile *tile,
                                   int64_t row, int64_t step, int block) {
    const struct cell *cell = &pass->cell;
    const struct recurrent_call *call = cell->call;
    const struct sequences_tile *sequences = tile->sequences;
    int last_block = block == cell->blocks - 1;
    int64_t hidden = cell->hidden, frame = sequence_frame(sequences, row, step), place = frame * hidden;
    int64_t before = step ? sequence_frame(sequences, row, step - 1) * hidden : 0;
    const float *saved = call->saved + frame * saved_gates(call) * hidden;
    const float *grad_hidden = call->grad_hidden ? call->grad_hidden + place : NULL;
    const float *grad_cell = call->grad_cell ? call->grad_cell + place : NULL;
    float *grad_gates = pass->grad_gates + frame * cell->grad_stride;
    float *part = vector_part(&pass->vectors, cell, frame / call->frames);
    struct range own = range_of(sequences->share, cell->groups);
    for (int64_t group = own.first; group < own.first + own.count; group++) {
        int64_t at = group * LANES, units = units_of(cell, group);
        float *dh = tile->dh + row * cell->padded + at, *dc = tile->dc + row * cell->padded + at;
        struct states states = {load_part(call->states_hidden + place + at, units), {0}, {0}, {0}};
        struct state_gradients d = {load(dh), {0}, {0}};
        if (step)
            states.h_before = load_part(call->states_hidden + before + at, units);
        else
            states.h_before = load(cell->initial_hidden + at);
        if (HAS_C) {
            states.c = load_part(call->states_cell + place + at, units);
            states.c_before = step ? load_part(call->states_cell + before + at, units) : load(cell->initial_cell + at);
            d.c = load(dc);
            if (grad_cell) d.c += load_part(grad_cell + at, units);
        }
        if (last_block && grad_hidden) d.h += load_part(grad_hidden + at, units);
        if (cell->blocks > 1) d.reset_h = load(tile->d_reset_h + row * cell->padded + at);
        struct vector_sums sums = {0};
        gates_backward(cell, block, (struct gates_row){saved + at, hidden, units}, states, &d,
                       peepholes_of(cell, group), 1, grad_gates + at, &sums);
        if (HAS_C)
            store(dc, d.c);
        else
            store(dh, d.h);
        add_vector_sums(cell, part, step == 0, group, &sums);
        if (cell->blocks > 1 && last_block)
            store_part(pass->reset_h + place + at, load_part(saved + at, units) * states.h_before, units);
    }
}

static void sequences_tile_backward(const void *context, const struct sequences_tile *sequences) {
    const struct sequences_backward *pass = context;
    const struct cell *cell = &pass->cell;
    int64_t padded = cell->padded, memory = sequences->memory * pass->run.plan->tile_rows * padded;
    struct range own = range_of(sequences->share, cell->groups);
    struct sequences_backward_tile tile = {sequences, pass->dh + memory, pass->dc + memory * HAS_C,
                                           pass->d_reset_h + memory * (cell->blocks - 1)};
    for (int64_t row = 0; row < sequences->rows; row++) {
        int64_t at = row * padded + own.first * LANES;
        size_t size = sizeof(float) * (size_t)(own.count * LANES);
        memset(tile.dh + at, 0, size);
        if (HAS_C) memset(tile.dc + at, 0, size);
        if (cell->blocks > 1) memset(tile.d_reset_h + at, 0, size);
    }
    for (int64_t step = sequences->plan->steps[sequences->begin] - 1; step >= 0; step--) {
        const float *grad_gates[MAX_TILE_ROWS];
        int64_t rows = rows_at(sequences, sequences->rows, step);
        for (int64_t row = 0; row < rows; row++)
            grad_gates[row] = pass->grad_gates + sequence_frame(sequences, row, step) * cell->grad_stride;
        for (int block = cell->blocks - 1; block >= 0; block--) {
            for (int64_t row = 0; row < rows; row++) sequences_row_backward(pass, &tile, row, step, block);
            convrnn_barrier(sequences->team);
            hidden_backward(cell, block, pass->weights.recurrent, grad_gates, rows, step == 0, 1, tile.dh,
                            tile.d_reset_h, sequences->share);
            convrnn_barrier(sequences->team);
        }
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
    const struct recurrent_call *call = plan->call;
    int64_t begin = sequence * call->frames, h_begin = begin + (call->reverse ? 1 : 0);
    pack_frames(call->x + begin * call->features, plan->length[sequence], call->features,
                pass->packed_x + begin * call->features);
    pack_frames(call->states_hidden + h_begin * call->hidden, recurrent_steps(plan, sequence), call->hidden,
                pass->packed_h + begin * call->hidden);
    if (pass->cell.blocks > 1)
        pack_frames(pass->reset_h + begin * call->hidden, plan->length[sequence], call->hidden,
                    pass->packed_reset_h + begin * call->hidden);
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

/* Panels that the gradients of all gates are cut into, none with gates of two spans. */
static int64_t gradient_panels(const struct cell *cell) {
    int64_t panels = 0;
    for (int i = 0; i < cell->spans; i++) panels += divide_up(cell->span[i].columns, PANEL);
    return panels;
}

/* The columns of one panel, as a span of their own. */
static struct span gradient_panel(const struct cell *cell, int64_t number) {
    const struct span *span = cell->span;
    for (; number >= divide_up(span->columns, PANEL); span++) number -= divide_up(span->columns, PANEL);
    int64_t at = number * PANEL;
    struct span panel = {.from = span->from + at, .columns = at_most(PANEL, span->columns - at)};
    panel.input_row = span->input_row < 0 ? -1 : span->input_row + at;
    panel.recurrent_row = span->recurrent_row < 0 ? -1 : span->recurrent_row + at;
    return panel;
}

/* Sums [rows, PANEL] of a panel's columns into as many rows of a matrix [.., rows]. */
static void store_columns(const float *sums, int64_t rows, int64_t columns, float *matrix) {
    for (int64_t column = 0; column < columns; column++)
        for (int64_t k = 0; k < rows; k++) matrix[column * rows + k] = sums[k * PANEL + column];
}

/* One panel of the gradients of gates, times what the two matrices multiply: sums over all frames, in their order. */
static void weights_backward(void *context, int64_t number, int64_t worker) {
    const struct sequences_backward *pass = context;
    const struct sequences_plan *plan = pass->run.plan;
    const struct cell *cell = &pass->cell;
    const struct recurrent_call *call = plan->call;
    struct span panel = gradient_panel(cell, number);
    int64_t hidden = call->hidden, features = call->features;
    int vectors = (int)divide_up(panel.columns, LANES);
    int has_input = panel.input_row >= 0, has_recurrent = panel.recurrent_row >= 0;
    int takes_h = panel.recurrent_row < cell->hidden_gates * hidden;
    float *sums_hh = pass->products + worker * pass->product_size, *sums_ih = sums_hh + hidden * PANEL;
    float *gates = sums_ih + features * PANEL;
    memset(sums_hh, 0, sizeof(float) * (size_t)((hidden + features) * PANEL));
    for (int64_t sequence = 0; sequence < call->batch; sequence++) {
        int64_t begin = sequence * call->frames, length = plan->length[sequence];
        for (int64_t frame = 0; frame < length; frame++)
            memcpy(gates + frame * PANEL, pass->grad_gates + (begin + frame) * cell->grad_stride + panel.from,
                   sizeof(float) * (size_t)(vectors * LANES));
        if (has_input) add_products(pass->packed_x + begin * features, features, gates, vectors, length, sums_ih);
        if (has_recurrent && takes_h)
            add_products(pass->packed_h + begin * hidden, hidden, gates + (call->reverse ? 0 : PANEL), vectors,
                         recurrent_steps(plan, sequence), sums_hh);
        if (has_recurrent && !takes_h)
            add_products(pass->packed_reset_h + begin * hidden, hidden, gates, vectors, length, sums_hh);
    }
    if (has_recurrent)
        store_columns(sums_hh, hidden, panel.columns, call->grad_weight_hh + panel.recurrent_row * hidden);
    if (has_input) store_columns(sums_ih, features, panel.columns, call->grad_weight_ih + panel.input_row * features);
}

/* The gradient of x. */

/* A block of frames: products for those within their sequence's length, zeros for the others. */
static void frames_backward(void *context, int64_t block, int64_t worker) {
    const struct sequences_backward *pass = context;
    const struct recurrent_call *call = pass->cell.call;
    const int64_t *length = pass->run.plan->length;
    int64_t features = call->features, width = whole_vectors(features), count = 0;
    const float *from[FRAME_BLOCK] = {0}, *columns[FRAME_BLOCK];
    float *to[FRAME_BLOCK] = {0}, *products = pass->products + worker * pass->product_size;
    int64_t begin = block * FRAME_BLOCK, end = at_most(begin + FRAME_BLOCK, call->batch * call->frames);
    for (int64_t frame = begin; frame < end; frame++)
        if (frame % call->frames < length[frame / call->frames]) {
            from[count] = pass->grad_gates + frame * pass->cell.grad_stride;
            to[count] = products + count * width;
            count++;
        }
    for (int i = 0, add = 0; i < pass->cell.spans; i++) {
        const struct span *span = &pass->cell.span[i];
        if (span->input_row < 0) continue;
        for (int64_t k = 0; k < count; k++) columns[k] = from[k] + span->from;
        multiply_panels(columns, to, count, pass->weights.input, (struct range){span->input_row, span->columns}, add,
                        ALL);
        add = 1;
    }
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
    const struct recurrent_call *call = cell->call;
    int64_t frames = call->batch * call->frames, rows = pass->run.tiles * pass->run.plan->tile_rows;
    lay_out_cell(cell, arena);
    lay_out_backward_weights(&pass->weights, cell, arena);
    lay_out_vector_gradients(&pass->vectors, cell, call->batch, arena);
    int64_t two = cell->blocks > 1;
    pass->grad_gates = take(arena, frames * cell->grad_stride);
    pass->reset_h = take(arena, two * frames * cell->hidden);
    pass->packed_x = take(arena, frames * cell->features);
    pass->packed_h = take(arena, frames * cell->hidden);
    pass->packed_reset_h = take(arena, two * frames * cell->hidden);
    pass->dh = take(arena, rows * cell->padded);
    pass->dc = take(arena, HAS_C * rows * cell->padded);
    pass->d_reset_h = take(arena, two * rows * cell->padded);
    pass->products = take(arena, pass->product_workers * pass->product_size);
}

static int sequences_backward(const struct sequences_plan *plan) {
    const struct recurrent_call *call = plan->call;
    struct sequences_backward pass = {.cell = new_cell(call)};
    pass.run = new_sequences_run(plan, pass.cell.groups);
    int64_t panels = gradient_panels(&pass.cell), blocks = divide_up(call->batch * call->frames, FRAME_BLOCK);
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
