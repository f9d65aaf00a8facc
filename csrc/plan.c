#include "plan.h"

#include <stdlib.h>

/* With fewer sequences per thread than this, all threads share the units of each tile. */
#define FEW_SEQUENCES 8

/* The next `count` integers of an array that is handed out from front to back. */
static int64_t *take(int64_t **memory, int64_t count) {
    int64_t *taken = *memory;
    *memory += count;
    return taken;
}

static int64_t length_of(const struct recurrent_call *call, int64_t sequence) {
    if (!call->lengths) return call->frames;
    /* The caller has checked them; clamp them all the same, so that nothing is ever read beyond x. */
    return at_least(0, at_most(call->lengths[sequence], call->frames));
}

static int64_t windows_of(const struct recurrent_call *call, int64_t sequence) {
    int64_t beyond = length_of(call, sequence) - call->kernel_size;
    return beyond < 0 ? 0 : beyond / call->stride + 1;
}

int convrnn_plan_windows(struct windows_plan *plan, const struct recurrent_call *call) {
    int64_t tiles = divide_up(call->rows, TILE_WINDOWS), size = 2 * (tiles + 1) + call->batch + 1 + 3 * call->rows;
    int64_t *memory = malloc(sizeof(*memory) * (size_t)size);
    *plan = (struct windows_plan){.call = call, .tiles = tiles, .memory = memory};
    if (!memory) return -1;
    plan->section = section_of(call->kernel_size);
    plan->sections = divide_up(call->kernel_size, plan->section);
    plan->tile_begin = take(&memory, tiles + 1);
    plan->sequence_begin = take(&memory, call->batch + 1);
    plan->first_frame = take(&memory, call->rows);
    plan->output = take(&memory, call->rows);
    plan->tile_frame_begin = take(&memory, tiles + 1);
    plan->tile_frame = take(&memory, call->rows);
    int64_t row = 0, frames = 0;
    for (int64_t sequence = 0; sequence < call->batch; sequence++) {
        plan->sequence_begin[sequence] = row;
        for (int64_t window = 0; window < windows_of(call, sequence); window++, row++) {
            plan->first_frame[row] = sequence * call->frames + window * call->stride;
            plan->output[row] = sequence * call->windows + window;
        }
    }
    plan->sequence_begin[call->batch] = row;
    for (int64_t tile = 0; tile < tiles; tile++) {
        int64_t begin = tile * TILE_WINDOWS, end = at_most(begin + TILE_WINDOWS, row);
        plan->tile_begin[tile] = begin;
        plan->tile_frame_begin[tile] = frames;
        for (int64_t r = begin; r < end; r++) {
            int64_t window_begin = plan->first_frame[r], window_end = window_begin + call->kernel_size;
            int64_t new_begin = new_frames_begin(plan, r, begin);
            plan->tile_frame[r] = frames - plan->tile_frame_begin[tile] - (new_begin - window_begin);
            frames += window_end - new_begin;
        }
        plan->most_frames = at_least(plan->most_frames, frames - plan->tile_frame_begin[tile]);
    }
    plan->shares_frames = !call->per_position && plan->most_frames <= MAX_SHARED_FRAMES;
    plan->tile_begin[tiles] = row;
    plan->tile_frame_begin[tiles] = frames;
    return 0;
}

struct sequence_length {
    int64_t sequence, length;
};

static int longest_first(const void *a, const void *b) {
    const struct sequence_length *one = a, *other = b;
    if (one->length != other->length) return one->length < other->length ? 1 : -1;
    return one->sequence > other->sequence ? 1 : -1;
}

int convrnn_plan_sequences(struct sequences_plan *plan, const struct recurrent_call *call) {
    int64_t tiles = divide_up(call->batch, TILE_SEQUENCES), members = 1;
    if (call->batch < FEW_SEQUENCES * call->threads)
        /* With few rows per thread most of the time goes into reading weights: each thread reads its share of them. */
        members = call->threads;
    else
        tiles = at_least(tiles, call->threads);
    int64_t *memory = malloc(sizeof(*memory) * (size_t)(tiles + 1 + 3 * call->batch));
    *plan = (struct sequences_plan){.call = call, .tiles = tiles, .members = members, .memory = memory};
    struct sequence_length *order = malloc(sizeof(*order) * (size_t)call->batch);
    if (!memory || !order) {
        free(order);
        return -1;
    }
    plan->tile_rows = tiles ? divide_up(call->batch, tiles) : 1;
    plan->tile_begin = take(&memory, tiles + 1);
    plan->first_frame = take(&memory, call->batch);
    plan->steps = take(&memory, call->batch);
    plan->length = take(&memory, call->batch);
    for (int64_t i = 0; i < call->batch; i++) {
        plan->length[i] = length_of(call, i);
        order[i] = (struct sequence_length){i, plan->length[i]};
    }
    qsort(order, (size_t)call->batch, sizeof(*order), longest_first);
    int64_t row = 0;
    for (int64_t tile = 0; tile < tiles; tile++) {
        plan->tile_begin[tile] = row;
        for (int64_t at = tile; at < call->batch; at += tiles, row++) {
            int64_t length = order[at].length, begin = order[at].sequence * call->frames;
            plan->first_frame[row] = begin + (call->reverse && length ? length - 1 : 0);
            plan->steps[row] = length;
        }
    }
    plan->tile_begin[tiles] = row;
    free(order);
    return 0;
}
