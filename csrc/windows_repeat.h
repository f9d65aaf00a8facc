/* The steps of a tile of windows that the backward pass repeats, this time with everything kept.
 *
 * A short window is repeated whole but for its last steps, whose gates the forward pass saved. A long window is
 * repeated segment by segment, from the last one, each from the states before it: those between two sections were saved
 * by the forward pass, and those between the segments of a section are computed again and kept. Apart from those of
 * long windows with reduce "max", the repeated states are rounded differently from those of the forward pass, which
 * does not divide for every gate: if the states of two steps of a short window differ by no more than that, the maximum
 * may move from one to the other. */
#ifndef CONVRNN_WINDOWS_REPEAT_H
#define CONVRNN_WINDOWS_REPEAT_H

#include "windows_states.h"

/* Steps of which everything is kept, at most. */
#define MAX_SEGMENT 64

struct windows_repeat {
    int64_t begin, end;           /* of the segment, steps */
    float *kept;                  /* [steps, groups, rows, SLOTS, LANES] */
    float *h;                     /* before the segment and after each of its steps, [steps + 1, rows, padded] */
    float *c;                     /* before the segment, [rows, padded] */
    float *reset_h;               /* r h of each step, [steps, rows, padded]; with two blocks of gates */
    struct windows_states states; /* to find the states between segments */
    float *between;               /* these, [segments of a section - 1], h and c, [rows, padded] */
};

/* How many segments so many steps, a section or what is left of one, are cut into. */
INLINE int64_t segments_of(int64_t steps) { return divide_up(steps, MAX_SEGMENT); }

INLINE int64_t segment_of(int64_t steps) { return divide_up(steps, segments_of(steps)); }

static void lay_out_windows_repeat(struct windows_repeat *repeat, const struct windows_tile *tile,
                                   struct arena *arena) {
    const struct cell *cell = tile->weights->cell;
    int64_t states = TILE_WINDOWS * cell->padded, section = tile->plan->section, steps = segment_of(section);
    repeat->kept = take(arena, steps * states * SLOTS);
    repeat->h = take(arena, (steps + 1) * states);
    repeat->c = take(arena, HAS_C * states);
    repeat->reset_h = take(arena, cell->blocks > 1 ? steps * states : 0);
    lay_out_windows_states(&repeat->states, cell, arena);
    repeat->between = take(arena, (segments_of(section) - 1) * 2 * states);
}

INLINE float *kept_of(const struct windows_repeat *repeat, const struct windows_tile *tile, int64_t row, int64_t step,
                      int64_t group) {
    int64_t place = (step - repeat->begin) * tile->weights->cell->groups + group;
    return repeat->kept + (place * tile->rows + row) * SLOT_ROW;
}

/* h after a step, or before the segment. */
INLINE float *h_of(const struct windows_repeat *repeat, const struct windows_tile *tile, int64_t row, int64_t step) {
    return repeat->h + ((step + 1 - repeat->begin) * tile->rows + row) * tile->weights->cell->padded;
}

INLINE float *reset_h_of(const struct windows_repeat *repeat, const struct windows_tile *tile, int64_t row,
                         int64_t step) {
    return repeat->reset_h + ((step - repeat->begin) * tile->rows + row) * tile->weights->cell->padded;
}

/* h and c before a step. */
INLINE struct state_rows h_before(const struct windows_repeat *repeat, const struct windows_tile *tile, int64_t step) {
    const struct cell *cell = tile->weights->cell;
    if (!step) return (struct state_rows){cell->initial_hidden, 0, LANES};
    return (struct state_rows){h_of(repeat, tile, 0, step - 1), cell->padded, LANES};
}

INLINE struct state_rows c_before(const struct windows_repeat *repeat, const struct windows_tile *tile, int64_t step) {
    const struct cell *cell = tile->weights->cell;
    if (!step || !HAS_C) return (struct state_rows){cell->initial_cell, 0, LANES};
    if (step == repeat->begin) return (struct state_rows){repeat->c, cell->padded, LANES};
    return (struct state_rows){kept_of(repeat, tile, 0, step - 1, 0) + STATE_C * LANES, SLOT_ROW,
                               tile->rows * SLOT_ROW};
}

/* Repeat the steps of the segment up to `end`, from h and c before it. */
static void repeat_steps(const struct windows_repeat *repeat, const struct windows_tile *tile, int64_t end) {
    const struct cell *cell = tile->weights->cell;
    for (int64_t index = repeat->begin; index < end; index++) {
        struct step step;
        begin_windows_step(tile, index, &step);
        if (index) continue_step(&step, cell, h_of(repeat, tile, 0, index - 1), c_before(repeat, tile, index));
        step.reset_h = reset_h_of(repeat, tile, 0, index);
        float *h = h_of(repeat, tile, 0, index);
        for (int64_t number = 0; number < cell->panels; number++) {
            struct panel panel = any_panel(cell, number);
            sum_gates(tile->weights, &step, &panel, needed_gates(&step, &panel));
            for (int64_t group = panel.first_group; group < panel.end_group; group++)
                gates_forward(cell, &step, &panel, group, kept_of(repeat, tile, 0, index, group),
                              step.needs_h ? h + group * LANES : NULL);
        }
    }
}

/* A step of short windows, from the gates that the forward pass saved. */
static void restore_step(const struct windows_repeat *repeat, const struct windows_tile *tile, int64_t step) {
    const struct cell *cell = tile->weights->cell;
    struct state_rows h = h_before(repeat, tile, step), c = c_before(repeat, tile, step);
    int with_h = needs_h(cell->call, step);
    for (int64_t group = 0; group < cell->groups; group++)
        for (int64_t row = 0; row < tile->rows; row++) {
            int64_t at = group * LANES;
            restore_gates(cell, saved_gates_of(tile, row, step, group), state_of(h, row, group),
                          state_of(c, row, group), with_h, kept_of(repeat, tile, row, step, group),
                          h_of(repeat, tile, row, step) + at, reset_h_of(repeat, tile, row, step) + at);
        }
}

/* Short windows, whole. */
static void repeat_short(struct windows_repeat *repeat, const struct windows_tile *tile) {
    repeat->begin = 0;
    repeat->end = tile->plan->call->kernel_size;
    int64_t saved = first_saved(tile->plan->call);
    repeat_steps(repeat, tile, saved);
    for (int64_t step = saved; step < repeat->end; step++) restore_step(repeat, tile, step);
}

/* h and c, each [rows, padded], from one place to another. */
static void copy_states(const struct windows_tile *tile, const float *h, const float *c, float *to_h, float *to_c) {
    size_t size = sizeof(float) * (size_t)(tile->rows * tile->weights->cell->padded);
    memcpy(to_h, h, size);
    if (HAS_C) memcpy(to_c, c, size);
}

/* Find the states between the segments of a section; returns how many segments there are. */
static int64_t begin_section(struct windows_repeat *repeat, const struct windows_tile *tile, int64_t section) {
    const struct cell *cell = tile->weights->cell;
    struct windows_states *states = &repeat->states;
    int64_t begin = section * tile->plan->section,
            steps = at_most(tile->plan->section, cell->call->kernel_size - begin);
    int64_t segment = segment_of(steps), size = tile->rows * cell->padded;
    float *between = repeat->between;
    if (segment == steps) return 1;
    if (section) copy_states(tile, saved_h_of(tile, section), saved_c_of(tile, section), states->h, states->c);
    for (int64_t at = 0; at < (segments_of(steps) - 1) * segment; at++) {
        struct step step;
        begin_states_step(tile, states, begin + at, &step);
        for (int64_t n = 0; n < cell->panels; n++) {
            struct panel panel = any_panel(cell, n);
            sum_gates(tile->weights, &step, &panel, needed_gates(&step, &panel));
            for (int64_t group = panel.first_group; group < panel.end_group; group++)
                states_group_forward(tile, states, &step, &panel, group);
        }
        end_states_step(states);
        if ((at + 1) % segment) continue;
        copy_states(tile, states->h, states->c, between, between + size);
        between += 2 * size;
    }
    return segments_of(steps);
}

/* Repeat one segment of a section that was begun. */
static void repeat_segment(struct windows_repeat *repeat, const struct windows_tile *tile, int64_t section,
                           int64_t number) {
    int64_t begin = section * tile->plan->section, left = tile->plan->call->kernel_size - begin;
    int64_t steps = at_most(tile->plan->section, left), segment = segment_of(steps);
    int64_t size = tile->rows * tile->weights->cell->padded;
    const float *between = repeat->between + 2 * (number - 1) * size;
    repeat->begin = begin + number * segment;
    repeat->end = at_most(repeat->begin + segment, begin + steps);
    if (number)
        copy_states(tile, between, between + size, repeat->h, repeat->c);
    else if (section)
        copy_states(tile, saved_h_of(tile, section), saved_c_of(tile, section), repeat->h, repeat->c);
    repeat_steps(repeat, tile, repeat->end);
}

#endif
