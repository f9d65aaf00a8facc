/* A tile of whole sequences, as the forward and the backward pass both have it, and how threads share the tiles. */
#ifndef CONVRNN_SEQUENCES_H
#define CONVRNN_SEQUENCES_H

#include "cell.h"
#include "plan.h"
#include "threads.h"

/* A tile as one thread sees it. Threads share out the tiles or, as members of a team, the units of each tile; they then
 * share the tile's memory and meet at the team's barrier in each step. */
struct sequences_tile {
    const struct sequences_plan *plan;
    int64_t begin, rows;
    struct share share;     /* of groups and panels, for this thread */
    struct team *team;      /* NULL: the tile belongs to this thread alone */
    int64_t memory, thread; /* which part of the pass's memory the tile has, and this thread */
};

/* Rows of the tile that still have a frame in a step, the first of at most `rows`. */
static int64_t rows_at(const struct sequences_tile *tile, int64_t rows, int64_t step) {
    while (rows && tile->plan->steps[tile->begin + rows - 1] <= step) rows--;
    return rows;
}

/* Frame of a row's step, within batch * frames. */
INLINE int64_t sequence_frame(const struct sequences_tile *tile, int64_t row, int64_t step) {
    return tile->plan->first_frame[tile->begin + row] + (tile->plan->call->reverse ? -step : step);
}

/* All tiles of a pass. */
struct sequences_run {
    const struct sequences_plan *plan;
    void (*task)(const void *pass, const struct sequences_tile *tile);
    const void *pass;
    int64_t members; /* threads that share each tile's units */
    int64_t workers; /* threads in all */
    int64_t tiles;   /* tiles processed at the same time */
};

static struct sequences_run new_sequences_run(const struct sequences_plan *plan, int64_t groups) {
    struct sequences_run run = {.plan = plan, .members = at_most(plan->members, groups)};
    run.workers = run.members > 1 ? run.members : at_most(plan->call->threads, plan->tiles);
    run.tiles = run.members > 1 ? 1 : run.workers;
    return run;
}

static struct sequences_tile new_sequences_tile(const struct sequences_run *run, int64_t number) {
    const struct sequences_plan *plan = run->plan;
    struct sequences_tile tile = {.plan = plan, .begin = plan->tile_begin[number]};
    tile.rows = plan->tile_begin[number + 1] - tile.begin;
    tile.share = ALL;
    return tile;
}

static void run_sequences_tile(void *context, int64_t number, int64_t worker) {
    const struct sequences_run *run = context;
    struct sequences_tile tile = new_sequences_tile(run, number);
    tile.memory = tile.thread = worker;
    run->task(run->pass, &tile);
}

static void run_sequences_member(void *context, int64_t member, int64_t members, struct team *team) {
    const struct sequences_run *run = context;
    for (int64_t number = 0; number < run->plan->tiles; number++) {
        struct sequences_tile tile = new_sequences_tile(run, number);
        tile.share = (struct share){member, members};
        tile.team = team;
        tile.thread = member;
        run->task(run->pass, &tile);
    }
}

static void run_sequences(struct sequences_run *run, void (*task)(const void *pass, const struct sequences_tile *tile),
                          const void *pass) {
    run->task = task;
    run->pass = pass;
    if (run->members > 1)
        convrnn_run_team(run->members, run_sequences_member, run);
    else
        convrnn_parallel_for(run->plan->tiles, run->workers, run_sequences_tile, run);
}

#endif
