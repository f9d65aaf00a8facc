/* The forward pass of whole sequences. */
#ifndef CONVRNN_SEQUENCES_FORWARD_H
#define CONVRNN_SEQUENCES_FORWARD_H

#include "gates_forward.h"
#include "projection.h"
#include "sequences.h"

struct sequences_forward {
    struct sequences_run run;
    struct cell cell;
    struct weights weights;
    int64_t chunk; /* steps whose frames are projected at a time */
    int64_t tile_size, thread_size;
    float *tiles;   /* [run.tiles, tile_size] */
    float *threads; /* [workers, thread_size] */
};

struct sequences_forward_tile {
    const struct sequences_tile *sequences;
    float *projected;      /* [chunk, rows, gate_stride] */
    float *h, *h_next, *c; /* [rows, padded] */
};

/* The memory of one thread, for one group at a time. */
struct sequences_forward_thread {
    float *sums;  /* [rows, PANEL] */
    float *gates; /* [rows, SLOTS, LANES] */
};

static void lay_out_sequences_forward_tile(struct sequences_forward_tile *tile, const struct sequences_forward *pass,
                                           struct arena *arena) {
    int64_t rows = pass->run.plan->tile_rows;
    tile->projected = take(arena, pass->chunk * rows * pass->cell.gate_stride);
    tile->h = take(arena, rows * pass->cell.padded);
    tile->h_next = take(arena, rows * pass->cell.padded);
    tile->c = take(arena, rows * pass->cell.padded);
}

static void lay_out_sequences_forward_thread(struct sequences_forward_thread *thread,
                                             const struct sequences_forward *pass, struct arena *arena) {
    int64_t rows = pass->run.plan->tile_rows;
    thread->sums = take(arena, rows * PANEL);
    thread->gates = take(arena, rows * SLOT_ROW);
}

/* Frames of the chunk of steps that begins at `begin`. */
static void project_chunk(const struct sequences_forward *pass, const struct sequences_forward_tile *tile,
                          int64_t begin) {
    const struct sequences_tile *sequences = tile->sequences;
    struct projection projection = {
        .weights = &pass->weights, .first_group = sequences->first_group, .end_group = sequences->end_group};
    int64_t rows = sequences->rows;
    for (int64_t step = begin; step < begin + pass->chunk; step++) {
        float *out = tile->projected + (step - begin) * rows * pass->cell.gate_stride;
        int64_t active = rows_at(sequences, rows, step);
        for (int64_t row = 0; row < active; row++)
            project_frame(&projection, sequence_frame(sequences, row, step), out + row * pass->cell.gate_stride);
    }
    flush_projection(&projection);
}

/* One group of units in one step. It has the same bits whether its gates are saved or not. */
static void sequences_group_forward(const struct sequences_forward *pass, const struct sequences_forward_tile *tile,
                                    const struct step *step, int64_t index, int64_t group, float *gates) {
    const struct cell *cell = &pass->cell;
    const struct lstm_call *call = cell->call;
    int64_t hidden = cell->hidden, padded = cell->padded, units = units_of(cell, group), rows = step->rows;
    float *h = tile->h_next + group * LANES, *c = tile->c + group * LANES, *saved = call->saved;
    float *states_hidden = call->states_hidden + group * LANES, *states_cell = call->states_cell + group * LANES;
    sum_gates(&pass->weights, step, group);
    gates_forward(cell, step, group, gates, h);
    for (int64_t row = 0; row < rows; row++, gates += SLOT_ROW) {
        int64_t frame = sequence_frame(tile->sequences, row, index);
        vec c_after = load(gates + STATE_C * LANES);
        store(c + row * padded, c_after);
        store_part(states_hidden + frame * hidden, load(h + row * padded), units);
        store_part(states_cell + frame * hidden, c_after, units);
        if (!saved) continue;
        float *to = saved + frame * SAVED_GATES * hidden + group * LANES;
        for (int64_t gate = 0; gate < SAVED_GATES; gate++)
            store_part(to + gate * hidden, load(gates + gate * LANES), units);
    }
}

static void sequences_tile_forward(const void *context, const struct sequences_tile *sequences) {
    const struct sequences_forward *pass = context;
    const struct cell *cell = &pass->cell;
    struct sequences_forward_tile tile = {.sequences = sequences};
    struct sequences_forward_thread thread;
    struct arena tile_arena = {.memory = pass->tiles + sequences->memory * pass->tile_size};
    struct arena thread_arena = {.memory = pass->threads + sequences->thread * pass->thread_size};
    lay_out_sequences_forward_tile(&tile, pass, &tile_arena);
    lay_out_sequences_forward_thread(&thread, pass, &thread_arena);
    int64_t rows = sequences->rows;
    for (int64_t index = 0; (rows = rows_at(sequences, rows, index)); index++) {
        int64_t in_chunk = index % pass->chunk;
        if (!in_chunk) project_chunk(pass, &tile, index);
        struct step step;
        begin_step(&step, cell, rows, thread.sums);
        for (int64_t row = 0; row < rows; row++)
            step.projected[row] = tile.projected + (in_chunk * sequences->rows + row) * cell->gate_stride;
        if (index) continue_step(&step, tile.h, tile.c, cell->padded, LANES);
        for (int64_t group = sequences->first_group; group < sequences->end_group; group++)
            sequences_group_forward(pass, &tile, &step, index, group, thread.gates);
        float *h = tile.h;
        tile.h = tile.h_next;
        tile.h_next = h;
        convrnn_barrier(sequences->team);
    }
}

static void lay_out_sequences_forward(struct sequences_forward *pass, struct arena *arena) {
    struct sequences_forward_tile tile;
    struct sequences_forward_thread thread;
    struct arena tile_arena = {0}, thread_arena = {0};
    lay_out_weights(&pass->weights, &pass->cell, arena);
    lay_out_cell(&pass->cell, arena);
    lay_out_sequences_forward_tile(&tile, pass, &tile_arena);
    lay_out_sequences_forward_thread(&thread, pass, &thread_arena);
    pass->tile_size = tile_arena.used;
    pass->thread_size = thread_arena.used;
    pass->tiles = take(arena, pass->run.tiles * pass->tile_size);
    pass->threads = take(arena, pass->run.workers * pass->thread_size);
}

static int sequences_forward(const struct sequences_plan *plan) {
    struct sequences_forward pass = {.cell = new_cell(plan->call), .chunk = 1 + 24 / plan->tile_rows};
    pass.run = new_sequences_run(plan, pass.cell.groups);
    struct arena arena = {0};
    lay_out_sequences_forward(&pass, &arena);
    if (allocate(&arena)) return -1;
    lay_out_sequences_forward(&pass, &arena);
    pack_cell(&pass.cell);
    pack_weights(&pass.weights);
    run_sequences(&pass.run, sequences_tile_forward, &pass);
    free(arena.memory);
    return 0;
}

#endif
