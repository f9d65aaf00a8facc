/* How a call is cut into tiles: rows (windows or sequences) that go through the steps together.
 *
 * No result depends on the number of threads: windows are always cut into the same tiles, and sums over whole sequences
 * are taken sequence by sequence, whichever tiles they are in. */
#ifndef CONVRNN_PLAN_H
#define CONVRNN_PLAN_H

#include "call.h"

/* Windows in a tile: few enough for what the backward pass keeps of them to stay in the L2 cache (README.md has the
 * sizes), and a multiple of every micro-kernel's rows. */
#define TILE_WINDOWS 24
/* Windows of at most so many steps are short: the backward pass keeps all of their steps in the L2 cache. Longer ones
 * are cut into sections of successive steps, and the forward pass saves the states between them. */
#define SHORT_WINDOW 8
/* At most so many, whatever the length: the memory for what is saved then does not grow with the window. */
#define MAX_SECTIONS 8
/* Frames of a tile, at most, whose projections are kept for all windows that contain them. With more of them it is
 * cheaper, and takes less memory, to project each window's frame in each step. */
#define MAX_SHARED_FRAMES 512
/* Sequences in a tile at most. */
#define TILE_SEQUENCES 32
#define MAX_TILE_ROWS TILE_SEQUENCES /* of both kinds */
_Static_assert(TILE_WINDOWS <= MAX_TILE_ROWS, "arrays of a tile's rows have MAX_TILE_ROWS elements");

/* A row is a window that lies within its sequence, in the order of sequence and window; each TILE_WINDOWS of them are a
 * tile. Frames are numbered within batch * frames and, each once however many windows contain it, within their tile. */
struct windows_plan {
    const struct recurrent_call *call;
    int64_t tiles;
    int64_t section;           /* steps between two states that are saved; kernel_size in short windows */
    int64_t sections;          /* of a window: 1 in short windows */
    int64_t most_frames;       /* of a tile */
    int shares_frames;         /* whether a frame is projected once for all of a tile's windows that contain it */
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
    const struct recurrent_call *call;
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
int convrnn_plan_windows(struct windows_plan *plan, const struct recurrent_call *call);
int convrnn_plan_sequences(struct sequences_plan *plan, const struct recurrent_call *call);

/* Steps of a window's section; the last one may have fewer. */
static inline int64_t section_of(int64_t kernel_size) {
    return divide_up(kernel_size, at_most(MAX_SECTIONS, divide_up(kernel_size, SHORT_WINDOW)));
}

/* Vectors of units that the forward pass saves of a step of short windows: the first slots of its gates. In the last
 * step of an LSTM whose features are cell states, the gate o is not needed. */
static inline int64_t saved_slots(const struct recurrent_call *call, int last) {
    if (call->cell == LSTM) return last && call->sequence == CELL ? 3 : 4;
    return call->cell == RNN ? 1 : call->reset_after ? 4 : 3;
}

/* Vectors of units that the forward pass saves of a frame of whole sequences: of an LSTM i, f, g, o and tanh(c), of a
 * GRU all slots of its gates, of a simple network nothing, as its states are the result. */
static inline int64_t saved_gates(const struct recurrent_call *call) {
    if (call->cell == LSTM) return 5;
    return call->cell == RNN ? 0 : saved_slots(call, 0);
}

/* Vectors of units that the forward pass saves of a window: of a short one the gates of its last steps; of a long one
 * the states between its sections and, for reduce "max", the maximum and how many steps attain it. */
static inline int64_t saved_vectors_of(const struct recurrent_call *call) {
    int64_t sections = divide_up(call->kernel_size, section_of(call->kernel_size)), lstm = call->cell == LSTM;
    if (sections > 1) return (1 + lstm) * (sections - 1) + (call->reduce == MAX ? 2 : 0);
    return saved_slots(call, 1) + (call->saved_steps - 1) * saved_slots(call, 0);
}

/* The first frame of a window that no earlier window of its tile contains. */
static inline int64_t new_frames_begin(const struct windows_plan *plan, int64_t window, int64_t tile_begin) {
    int64_t begin = plan->first_frame[window];
    if (window == tile_begin) return begin;
    return at_least(begin, plan->first_frame[window - 1] + plan->call->kernel_size);
}

#endif
