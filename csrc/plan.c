/* The library's interface: one call planned and given to the best kernel that the machine can run. */
#include <stdlib.h>

#include "lstm.h"

#define PUBLIC __attribute__((visibility("default")))

/* Windows in a tile: few enough for all that the backward pass keeps of them to stay in the second cache beside the
 * weights, and a multiple of every kernel's block of rows. */
#ifndef TILE_WINDOWS
#define TILE_WINDOWS 24
#endif
/* Sequences in a tile at most. */
#define TILE_SEQUENCES 32
/* Fewer for each thread than this, and the threads share the units of all instead of sharing out the sequences. */
#define FEW_SEQUENCES 8

static int64_t length_of(const struct lstm_call *call, int64_t sequence) {
    if (!call->lengths) return call->frames;
    /* Checked before; whatever happens, memory beyond the frames is not to be read. */
    int64_t length = call->lengths[sequence];
    return length < 0 ? 0 : length > call->frames ? call->frames : length;
}

static int64_t windows_of(const struct lstm_call *call, int64_t sequence) {
    int64_t beyond = length_of(call, sequence) - call->kernel_size;
    return beyond < 0 ? 0 : beyond / call->stride + 1;
}

/* Every window of every sequence, in tiles that do not depend on the number of threads. */
static void plan_windows(struct lstm_plan *plan) {
    const struct lstm_call *call = plan->call;
    int64_t row = 0, frames = 0;
    for (int64_t sequence = 0; sequence < call->batch; sequence++) {
        plan->row_begin[sequence] = row;
        for (int64_t window = 0; window < windows_of(call, sequence); window++, row++) {
            plan->first_frame[row] = sequence * call->frames + window * call->stride +
                                     (call->reverse ? call->kernel_size - 1 : 0);
            plan->output[row] = sequence * call->windows + window;
        }
    }
    plan->row_begin[call->batch] = row;
    for (int64_t tile = 0; tile < plan->tiles; tile++) {
        int64_t begin = tile * TILE_WINDOWS, end = at_most(begin + TILE_WINDOWS, row);
        plan->tile_begin[tile] = begin;
        plan->frame_begin[tile] = frames;
        for (int64_t r = begin; r < end; r++) {
            int64_t from = new_frames_from(plan, r, begin), window = window_begin(plan, r);
            plan->place[r] = frames - plan->frame_begin[tile] - (from - window);
            frames += window + call->kernel_size - from;
        }
    }
    plan->tile_begin[plan->tiles] = row;
    plan->frame_begin[plan->tiles] = frames;
}

struct sequence_length {
    int64_t sequence, length;
};

static int longest_first(const void *a, const void *b) {
    const struct sequence_length *one = a, *other = b;
    if (one->length != other->length) return one->length < other->length ? 1 : -1;
    return one->sequence > other->sequence ? 1 : -1;
}

/* Sequences from the longest to the shortest, dealt out to the tiles in turn. */
static int plan_sequences(struct lstm_plan *plan) {
    const struct lstm_call *call = plan->call;
    struct sequence_length *order = malloc(sizeof(*order) * (size_t)call->batch);
    if (!order) return -1;
    for (int64_t i = 0; i < call->batch; i++) {
        plan->length[i] = length_of(call, i);
        order[i] = (struct sequence_length){i, plan->length[i]};
    }
    qsort(order, (size_t)call->batch, sizeof(*order), longest_first);
    int64_t row = 0;
    for (int64_t tile = 0; tile < plan->tiles; tile++) {
        plan->tile_begin[tile] = row;
        for (int64_t at = tile; at < call->batch; at += plan->tiles, row++) {
            int64_t length = order[at].length, begin = order[at].sequence * call->frames;
            plan->first_frame[row] = begin + (call->reverse && length ? length - 1 : 0);
            plan->steps[row] = length;
        }
    }
    plan->tile_begin[plan->tiles] = row;
    free(order);
    return 0;
}

static lstm_kernel *const kernels[] = {
    convrnn_lstm_portable,
#ifdef CONVRNN_X86
    convrnn_lstm_avx2,
    convrnn_lstm_avx512,
#endif
};

/* Whether this machine can run instruction set 0 (portable), 1 (AVX2) or 2 (AVX-512). */
PUBLIC int convrnn_supports(int instruction_set) {
#ifdef CONVRNN_X86
    if (instruction_set == 2)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    if (instruction_set == 1) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return instruction_set == 0;
}

/* What the caller has to be made for. */
PUBLIC int64_t convrnn_interface(void) { return CONVRNN_INTERFACE; }

/* Forward (direction 0) or backward (1) pass; 0, or -1 where memory is short. */
PUBLIC int convrnn_lstm(const struct lstm_call *call, int direction, int instruction_set) {
    int windowed = call->kernel_size > 0;
    struct lstm_plan plan = {.call = call};
    if (windowed) {
        plan.tiles = divide_up(call->rows, TILE_WINDOWS);
        plan.tile_rows = TILE_WINDOWS;
    } else {
        plan.tiles = divide_up(call->batch, TILE_SEQUENCES);
        plan.members = 1;
        if (call->batch < FEW_SEQUENCES * call->threads)
            /* Each thread reads its part of the weights, where with few rows to a thread reading is most of the work. */
            plan.members = call->threads;
        else if (plan.tiles < call->threads)
            plan.tiles = call->threads;
        plan.tile_rows = plan.tiles ? divide_up(call->batch, plan.tiles) : 1;
    }
    int64_t rows = call->rows, size = 4 * rows + 2 * (plan.tiles + 1) + 2 * call->batch + 1;
    int64_t *memory = malloc(sizeof(int64_t) * (size_t)size);
    if (!memory) return -1;
    plan.first_frame = memory;
    plan.steps = plan.first_frame + rows;
    plan.output = plan.steps + rows;
    plan.place = plan.output + rows;
    plan.tile_begin = plan.place + rows;
    plan.frame_begin = plan.tile_begin + plan.tiles + 1;
    plan.length = plan.frame_begin + plan.tiles + 1;
    plan.row_begin = plan.length + call->batch;
    int failed = 0;
    if (windowed)
        plan_windows(&plan);
    else
        failed = plan_sequences(&plan);
    if (!failed) failed = kernels[instruction_set](&plan, direction);
    free(memory);
    return failed;
}
