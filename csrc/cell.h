/* A recurrent cell: how its units and gates lie in vectors, and the parameters that every pass needs.
 *
 * A file of gates, such as lstm_gates.h, defines GATES and the other constants of one cell before it includes this one.
 */
#ifndef CONVRNN_CELL_H
#define CONVRNN_CELL_H

#include "arena.h"
#include "call.h"
#include "product.h"

/* Gates whose pre-activations are products with the same vector, and so can be computed together. A GRU whose reset
 * gate acts on h has two such blocks: r and z from h, then n from r h. Every other cell has one. */
struct gate_block {
    int64_t first, gates; /* in the order of weight_ih and weight_hh */
    int64_t panels;
    int64_t offset; /* in a frame's packed gates */
};

/* Columns of the gradients of a row's gates, [grad_gates, hidden], and the rows of the weights they belong to. */
struct span {
    int64_t from, columns;
    int64_t input_row, recurrent_row; /* -1: not of this matrix */
    int64_t input_place,
        recurrent_place; /* in the sums of gradients of the matrix, where each span has whole vectors */
};

/* Units are processed in groups of LANES; the last group may have fewer units. One product computes a panel: the gates
 * of a block of one group or, with few gates, of several. A frame's packed gates, [gate_stride], are ordered by block
 * and panel. Those of a panel, [gates, units of the panel], are padded to whole vectors as one, not each gate for
 * itself: a few units then cost few vectors. */
struct cell {
    const struct recurrent_call *call;
    int64_t hidden, features;
    int64_t groups;
    int64_t padded; /* hidden, rounded up to whole vectors */
    int blocks;
    struct gate_block block[2];
    int64_t panels;       /* of all blocks */
    int64_t gate_stride;  /* a frame's packed gates */
    int64_t hidden_gates; /* the first gates, whose products take h itself */
    int64_t grad_gates;   /* columns of gradients, in blocks of hidden */
    int64_t grad_stride;
    int spans;
    struct span span[3];
    int64_t input_stride, recurrent_stride; /* of the sums of gradients of the two matrices */
    float *peepholes;                       /* [groups, 3, LANES], order i, f, o; NULL without peepholes */
    float *initial_hidden, *initial_cell;   /* [padded] */
};

/* The blocks and spans of the cell; each file of gates has its own. */
static void describe_cell(struct cell *cell);

static void add_block(struct cell *cell, int64_t first, int64_t gates) {
    int64_t panel_groups = MICRO_VECTORS / gates;
    struct gate_block *block = &cell->block[cell->blocks++];
    *block = (struct gate_block){.first = first, .gates = gates, .offset = cell->gate_stride};
    block->panels = divide_up(cell->groups, panel_groups);
    cell->panels += block->panels;
    cell->gate_stride += whole_vectors(gates * cell->hidden);
}

/* The next `gates` columns of gradients, of the rows of the two matrices from these gates on; -1: not of this matrix.
 */
static void add_span(struct cell *cell, int64_t gates, int64_t input_gate, int64_t recurrent_gate) {
    int64_t hidden = cell->hidden, columns = gates * hidden, whole = whole_vectors(columns);
    struct span *span = &cell->span[cell->spans++];
    *span = (struct span){.from = cell->grad_gates * hidden, .columns = columns, .input_row = -1, .recurrent_row = -1};
    cell->grad_gates += gates;
    if (input_gate >= 0) {
        span->input_row = input_gate * hidden;
        span->input_place = cell->input_stride;
        cell->input_stride += whole;
    }
    if (recurrent_gate >= 0) {
        span->recurrent_row = recurrent_gate * hidden;
        span->recurrent_place = cell->recurrent_stride;
        cell->recurrent_stride += whole;
    }
}

/* Rows a multiple of 256 bytes apart would compete for a few sets of the caches. */
static int64_t spread(int64_t stride) { return stride % 64 ? stride : stride + LANES; }

static struct cell new_cell(const struct recurrent_call *call) {
    struct cell cell = {.call = call, .hidden = call->hidden, .features = call->features};
    cell.groups = divide_up(call->hidden, LANES);
    cell.padded = cell.groups * LANES;
    describe_cell(&cell);
    cell.gate_stride = spread(cell.gate_stride);
    cell.input_stride = spread(cell.input_stride);
    cell.recurrent_stride = spread(cell.recurrent_stride);
    /* The last span is read in whole vectors. */
    cell.grad_stride =
        spread(whole_vectors(cell.span[cell.spans - 1].from + whole_vectors(cell.span[cell.spans - 1].columns)));
    return cell;
}

INLINE int64_t units_of(const struct cell *cell, int64_t group) { return at_most(LANES, cell->hidden - group * LANES); }

struct panel {
    const struct gate_block *block;
    int64_t first_group, end_group;
    int64_t units;
    int64_t offset; /* in a frame's packed gates */
};

INLINE struct panel panel_of(const struct cell *cell, const struct gate_block *block, int64_t number) {
    struct panel panel = {.block = block};
    panel.first_group = number * cell->groups / block->panels;
    panel.end_group = (number + 1) * cell->groups / block->panels;
    panel.units = at_most(panel.end_group * LANES, cell->hidden) - panel.first_group * LANES;
    panel.offset = block->offset + panel.first_group * LANES * block->gates;
    return panel;
}

/* The same of all blocks. */
INLINE struct panel any_panel(const struct cell *cell, int64_t number) {
    const struct gate_block *block = cell->block;
    if (number >= block->panels) number -= (block++)->panels;
    return panel_of(cell, block, number);
}

/* Vectors that the first `gates` packed gates of a panel fill. */
INLINE int gate_vectors(const struct panel *panel, int64_t gates) {
    return (int)divide_up(gates * panel->units, LANES);
}

/* Where a group's units lie among those of its panel. */
INLINE int64_t place_in(const struct panel *panel, int64_t group) { return (group - panel->first_group) * LANES; }

INLINE const float *peepholes_of(const struct cell *cell, int64_t group) {
    return cell->peepholes ? cell->peepholes + group * 3 * LANES : NULL;
}

/* Number of input matrices: one for each position in the window, or one in all. */
INLINE int64_t positions_of(const struct recurrent_call *call) { return call->per_position ? call->kernel_size : 1; }

static void lay_out_cell(struct cell *cell, struct arena *arena) {
    cell->peepholes = cell->call->weight_peephole ? take(arena, 3 * cell->padded) : NULL;
    cell->initial_hidden = take(arena, cell->padded);
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
    pack_vectors(cell, cell->call->initial_hidden, 1, cell->initial_hidden);
    pack_vectors(cell, cell->call->initial_cell, 1, cell->initial_cell);
}

#endif
