/* How a call is cut into tiles: rows (windows or sequences) that go through the steps together.
 *
 * No result depends on the number of threads: windows are always cut into the same tiles, and sums over whole sequences
 * are taken sequence by sequence, whichever tiles they are in. */
#ifndef CONVRNN_PLAN_H
#define CONVRNN_PLAN_H

#include "lstm.h"

/* Windows in a tile: few enough for what the backward pass keeps of them to stay in the L2 cache (README.md has the
 * sizes), and a multiple of every micro-kernel's rows. */
#define TILE_WINDOWS 24
/* Sequences in a tile at most. */
#define TILE_SEQUENCES 32
#define MAX_TILE_ROWS TILE_SEQUENCES /* of both kinds */
_Static_assert(TILE_WINDOWS <= MAX_TILE_ROWS, "arrays of a tile's rows have MAX_TILE_ROWS elements");

/* A row is a window that lies within its sequence, in the order of sequence and window; each TILE_WINDOWS of them are a
 * tile. Frames are numbered within batch * frames and, each once however many windows contain it, within their tile. */
struct windows_plan {
    const struct lstm_call *call;
    int64_t tiles;
    int64_t *tile_begin;       /* [tiles + 1], first window of a tile */
    int64_t *sequence_begin;   /* [batch + 1], first window of a sequence */
    int64_t *first_frame;      /* [rows], lowest frame of a window */
    int64_t *output;           /* [rows], place of a window in batch * windows */
    int64_t *tile_frame_begin; /* [tiles + 1], frames of all tiles before this one */
    int64_t *tile_frame;       /* [rows], lowest frame of a window, within its tile */
    int64_t *memory;
};

/* A row is a sequence. They are dealt out to the tiles in turn, the longest first. */
struct sequences_plan {
    const struct lstm_call *call;
    int64_t tiles;
    int64_t tile_rows;    /* of the largest tile */
    int64_t members;      /* threads that share each tile's units; 1: threads share out the tiles instead */
    int64_t *tile_begin;  /* [tiles + 1], first row of a tile */
    int64_t *first_frame; /* [batch], by row: the frame processed first, within batch * frames */
    int64_t *steps;       /* [batch], by row: frames to process, falling within a tile */
    int64_t *length;      /* [batch], by sequence */
    int64_t *memory;
};

/* Fill in a plan; 0, or -1 without memory. The caller frees plan->memory in either case. */
int convrnn_plan_windows(struct windows_plan *plan, const struct lstm_call *call);
int convrnn_plan_sequences(struct sequences_plan *plan, const struct lstm_call *call);

/* The first frame of a window that no earlier window of its tile contains. */
static inline int64_t new_frames_begin(const struct windows_plan *plan, int64_t window, int64_t tile_begin) {
    int64_t begin = plan->first_frame[window];
    if (window == tile_begin) return begin;
    return at_least(begin, plan->first_frame[window - 1] + plan->call->kernel_size);
}

#endif
