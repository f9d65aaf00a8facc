/* The forward pass of whole sequences. */
#ifndef CONVRNN_SEQUENCES_FORWARD_H
#define CONVRNN_SEQUENCES_FORWARD_H

#include "projection.h"
#include "sequences.h"
#include "step.h"

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
    float *reset_h;        /* r h, [rows, padded]; with two blocks of gates */
    float *all_gates;      /* [groups, rows, SLOTS, LANES]; with two blocks */
};

/* The memory of one thread, for one panel or group at a time. */
struct sequences_forward_thread {
    float *sums;  /* [rows, PANEL] */
    float *gates; /* [rows, SLOTS, LANES]; with one block of gates */
};

static void lay_out_sequences_forward_tile(struct sequences_forward_tile *tile, const struct sequences_forward *pass,
                                           struct arena *arena) {
    int64_t rows = pass->run.plan->tile_rows;
    tile->projected = take(arena, pass->chunk * rows * pass->cell.gate_stride);
    tile->h = take(arena, rows * pass->cell.padded);
    tile->h_next = take(arena, rows * pass->cell.padded);
    tile->c = take(arena, HAS_C * rows * pass->cell.padded);
    if (pass->cell.blocks == 1) return;
    tile->reset_h = take(arena, rows * pass->cell.padded);
    tile->all_gates = take(arena, pass->cell.groups * rows * SLOT_ROW);
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
    struct projection projection = {.weights = &pass->weights, .share = sequences->share};
    int64_t rows = sequences->rows;
    for (int64_t step = begin; step < begin + pass->chunk; step++) {
        float *out = tile->projected + (step - begin) * rows * pass->cell.gate_stride;
        int64_t active = rows_at(sequences, rows, step);
        for (int64_t row = 0; row < active; row++)
            project_frame(&projection, sequence_frame(sequences, row, step), out + row * pass->cell.gate_stride);
    }
    flush_projection(&projection);
}

/* The states of one group of units after a step and, if wanted, its gates. */
static void store_group(const struct sequences_forward *pass, const struct sequences_forward_tile *tile, int64_t rows,
                        int64_t index, int64_t group, const float *gates) {
    const struct cell *cell = &pass->cell;
    const struct recurrent_call *call = cell->call;
    int64_t hidden = cell->hidden, padded = cell->padded, units = units_of(cell, group), at = group * LANES;
    int64_t slots = saved_gates(call);
    float *h = tile->h_next + at, *c = tile->c + at;
    for (int64_t row = 0; row < rows; row++, gates += SLOT_ROW) {
        int64_t frame = sequence_frame(tile->sequences, row, index);
        store_part(call->states_hidden + frame * hidden + at, load(h + row * padded), units);
        if (HAS_C) {
            vec c_after = load(gates + STATE_C * LANES);
            store(c + row * padded, c_after);
            store_part(call->states_cell + frame * hidden + at, c_after, units);
        }
        if (!call->saved) continue;
        float *to = call->saved + frame * slots * hidden + at;
        for (int64_t gate = 0; gate < slots; gate++) store_part(to + gate * hidden, load(gates + gate * LANES), units);
    }
}

/* One block of gates in one step. A step has the same bits whether its gates are saved or not. */
static void sequences_block_forward(const struct sequences_forward *pass, const struct sequences_forward_tile *tile,
                                    const struct sequences_forward_thread *thread, const struct step *step,
                                    int64_t index, const struct gate_block *block) {
    const struct cell *cell = &pass->cell;
    struct range own = range_of(tile->sequences->share, block->panels);
    for (int64_t number = own.first; number < own.first + own.count; number++) {
        struct panel panel = panel_of(cell, block, number);
        sum_gates(&pass->weights, step, &panel, needed_gates(step, &panel));
        for (int64_t group = panel.first_group; group < panel.end_group; group++) {
            float *gates = thread->gates;
            if (cell->blocks > 1) gates = tile->all_gates + group * pass->run.plan->tile_rows * SLOT_ROW;
            gates_forward(cell, step, &panel, group, gates, tile->h_next + group * LANES);
            if (block == &cell->block[cell->blocks - 1]) store_group(pass, tile, step->rows, index, group, gates);
        }
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
        step.reset_h = tile.reset_h;
        if (index) continue_step(&step, cell, tile.h, (struct state_rows){tile.c, cell->padded, LANES});
        for (int block = 0; block < cell->blocks; block++) {
            sequences_block_forward(pass, &tile, &thread, &step, index, &cell->block[block]);
            convrnn_barrier(sequences->team);
        }
        float *h = tile.h;
        tile.h = tile.h_next;
        tile.h_next = h;
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
