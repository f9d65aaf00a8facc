/* The LSTM cell: how its units and gates lie in vectors, and the parameters that every pass needs. */
#ifndef CONVRNN_CELL_H
#define CONVRNN_CELL_H

#include "arena.h"
#include "lstm.h"
#include "product.h"

/* Units are processed in groups of LANES, all four gates of a group together; the last group may have fewer units. A
 * frame's packed gates, [gate_stride], are ordered by group. The gates of a group, [4, units of the group], are padded
 * to whole vectors as one, not each gate for itself: a few units then cost few vectors. */
struct cell {
    const struct lstm_call *call;
    int64_t hidden, features;
    int64_t groups;
    int64_t padded;      /* hidden, rounded up to whole vectors */
    int64_t gate_stride; /* 4 hidden, rounded up likewise */
    float *peepholes;    /* [groups, 3, LANES], order i, f, o; NULL without peepholes */
    float *initial_cell; /* [padded] */
};

static struct cell new_cell(const struct lstm_call *call) {
    struct cell cell = {.call = call, .hidden = call->hidden, .features = call->features};
    cell.groups = divide_up(call->hidden, LANES);
    cell.padded = cell.groups * LANES;
    cell.gate_stride = whole_vectors(4 * call->hidden);
    /* Rows a multiple of 256 bytes apart would compete for a few sets of the caches. */
    if (cell.gate_stride % 64 == 0) cell.gate_stride += LANES;
    return cell;
}

INLINE int64_t units_of(const struct cell *cell, int64_t group) { return at_most(LANES, cell->hidden - group * LANES); }

/* Vectors that the first `gates` packed gates of a group fill. */
INLINE int gate_vectors(const struct cell *cell, int64_t group, int gates) {
    return (int)divide_up(gates * units_of(cell, group), LANES);
}

/* Where a group begins in a frame's packed gates. */
INLINE int64_t group_offset(int64_t group) { return group * PANEL; }

INLINE const float *peepholes_of(const struct cell *cell, int64_t group) {
    return cell->peepholes ? cell->peepholes + group * 3 * LANES : NULL;
}

/* Number of input matrices: one for each position in the window, or one in all. */
INLINE int64_t positions_of(const struct lstm_call *call) { return call->per_position ? call->kernel_size : 1; }

static void lay_out_cell(struct cell *cell, struct arena *arena) {
    cell->peepholes = cell->call->weight_peephole ? take(arena, 3 * cell->padded) : NULL;
    cell->initial_cell = take(arena, cell->padded);
}

/* `vectors` [count, hidden], or zeros if NULL, as [groups, count, LANES]. */
static void pack_vectors(const struct cell *cell, const float *vectors, int64_t count, float *out) {
    int64_t hidden = cell->hidden;
    for (int64_t unit = 0; unit < cell->padded; unit++)
        for (int64_t v = 0; v < count; v++)
            out[(unit / LANES * count + v) * LANES + unit % LANES] =
                vectors && unit < hidden ? vectors[v * hidden + unit] : 0.0f;
}

static void pack_cell(const struct cell *cell) {
    if (cell->peepholes) pack_vectors(cell, cell->call->weight_peephole, 3, cell->peepholes);
    pack_vectors(cell, cell->call->initial_cell, 1, cell->initial_cell);
}

#endif
