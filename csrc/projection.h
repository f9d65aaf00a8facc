/* W_x x + b of many frames. */
#ifndef CONVRNN_PROJECTION_H
#define CONVRNN_PROJECTION_H

#include "weights.h"

/* Frames in one product: a multiple of every micro-kernel's rows. */
#define FRAME_BLOCK 60

/* Collects frames from anywhere and multiplies them FRAME_BLOCK at a time. */
struct projection {
    const struct weights *weights;
    int64_t position;   /* of the input matrix */
    struct share share; /* panels to compute */
    int64_t count;
    const float *x[FRAME_BLOCK];
    float *out[FRAME_BLOCK];
};

static void project_panel(const struct projection *projection, const struct panel *panel) {
    const struct weights *weights = projection->weights;
    const struct cell *cell = weights->cell;
    int64_t features = cell->features, offset = panel->offset;
    const float *input = weights->input + projection->position * features * cell->gate_stride + offset * features;
    int vectors = gate_vectors(panel, panel->block->gates);
    const float *init[MICRO_ROWS];
    for (int i = 0; i < MICRO_ROWS; i++) init[i] = weights->bias + offset;
    for (int64_t at = 0, count; at < projection->count; at += count) {
        float *out[MICRO_ROWS];
        count = block_rows(projection->count - at);
        for (int64_t i = 0; i < count; i++) out[i] = projection->out[at + i] + offset;
        multiply((int)count, vectors, projection->x + at, 1, features, input, vectors * LANES, init, out);
    }
}

static void flush_projection(struct projection *projection) {
    const struct cell *cell = projection->weights->cell;
    for (int b = 0; b < cell->blocks; b++) {
        const struct gate_block *block = &cell->block[b];
        struct range own = range_of(projection->share, block->panels);
        for (int64_t number = own.first; number < own.first + own.count; number++) {
            struct panel panel = panel_of(cell, block, number);
            project_panel(projection, &panel);
        }
    }
    projection->count = 0;
}

/* `frame`: within batch * frames. */
static void project_frame(struct projection *projection, int64_t frame, float *out) {
    const struct cell *cell = projection->weights->cell;
    projection->x[projection->count] = cell->call->x + frame * cell->features;
    projection->out[projection->count++] = out;
    if (projection->count == FRAME_BLOCK) flush_projection(projection);
}

#endif
