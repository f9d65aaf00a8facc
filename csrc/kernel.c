/* The LSTM with peepholes, equations 3 to 7 of the paper, forward and backward, for one instruction set.
 *
 * A tile of rows goes through all its steps at once: its states stay in the first cache, the recurrent weights in the
 * second. The units are taken a vector at a time, all four gates together, so that the gates are applied to sums that
 * have just been computed. Gates stand in the order i, f, g, o. */
#include <stdlib.h>

#include "backward_sequences.h"
#include "backward_windows.h"
#include "forward.h"
#include "pack.h"
#include "parallel.h"

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)

/* Parts of the sums over windows, so that threads need not wait for each other: enough for as many threads, and few
 * enough to be added up in no time. */
#define SPLITS 16

/* The next `count` floats of some memory, from a multiple of 64 bytes on; with none yet, only counts. */
static float *take(float *memory, int64_t *used, int64_t count) {
    float *taken = memory ? memory + *used : NULL;
    *used += whole_vectors(count) + (16 - whole_vectors(count) % 16) % 16;
    return taken;
}

static int64_t lay_out_tile(struct tile *tile, float *memory) {
    const struct job *job = tile->job;
    const struct lstm_call *call = job->plan->call;
    int64_t rows = job->plan->tile_rows, used = 0, frames = rows * (job->chunk ? job->chunk : call->kernel_size);
    int64_t kept = job->direction == BACKWARD && is_windowed(call) ? rows * call->kernel_size : 0;
    tile->gate_sums = take(memory, &used, rows * PANEL);
    tile->gates = take(memory, &used, rows * KEPT * LANES);
    tile->projected = take(memory, &used, frames * job->gates);
    tile->h = take(memory, &used, rows * job->padded);
    tile->h_next = take(memory, &used, rows * job->padded);
    tile->c = take(memory, &used, rows * job->padded);
    tile->kept = take(memory, &used, kept * KEPT * job->padded);
    tile->states = take(memory, &used, kept * job->padded);
    tile->grad_gates = take(memory, &used, kept * job->gates);
    tile->grad_projected = take(memory, &used, call->per_position ? 0 : kept * job->gates);
    tile->frames = take(memory, &used, kept * call->features);
    tile->top = take(memory, &used, rows * job->padded);
    tile->share = take(memory, &used, rows * job->padded);
    return used;
}

static int64_t lay_out(struct job *job, float *memory) {
    const struct lstm_plan *plan = job->plan;
    const struct lstm_call *call = plan->call;
    int64_t hidden = call->hidden, features = call->features, positions = positions_of(call), used = 0;
    int64_t backward = job->direction == BACKWARD, windowed = is_windowed(call);
    int64_t splits = backward * windowed * job->splits;
    int64_t width = call->grad_x ? whole_vectors(features) : 0;
    job->input = take(memory, &used, positions * features * job->gates);
    job->recurrent = take(memory, &used, hidden * job->gates);
    job->bias = take(memory, &used, job->gates);
    job->first = take(memory, &used, job->gates);
    job->peephole = take(memory, &used, 3 * job->padded);
    job->cell = take(memory, &used, job->padded);
    job->recurrent_back = take(memory, &used, backward * 4 * hidden * job->padded);
    job->input_back = take(memory, &used, positions * 4 * hidden * width);
    job->sums = take(memory, &used, (windowed ? splits : backward * call->batch) * SUMS * job->padded);
    job->sums_hh = take(memory, &used, splits * hidden * job->gates);
    job->sums_ih = take(memory, &used, splits * positions * features * job->gates);
    job->grad_frames = take(memory, &used, windowed && width ? plan->frame_begin[plan->tiles] * width : 0);
    job->grad_gates = take(memory, &used, windowed ? 0 : backward * call->batch * call->frames * job->gates);
    job->packed_x = take(memory, &used, windowed ? 0 : backward * call->batch * call->frames * features);
    job->packed_states = take(memory, &used, windowed ? 0 : backward * call->batch * call->frames * hidden);
    job->scratch = take(memory, &used, job->workers * job->scratch_size);
    job->member_gates = take(memory, &used, job->members * plan->tile_rows * (PANEL + KEPT * LANES));
    return used;
}

static struct tile new_tile(const struct job *job, int64_t number, float *memory) {
    const struct lstm_plan *plan = job->plan;
    struct tile tile = {.job = job, .number = number, .begin = plan->tile_begin[number], .members = 1};
    tile.all_rows = tile.rows = plan->tile_begin[number + 1] - tile.begin;
    tile.end_group = job->groups;
    lay_out_tile(&tile, memory);
    return tile;
}

static void compute_tile(const struct job *job, int64_t number, int64_t worker) {
    const struct lstm_plan *plan = job->plan;
    struct tile tile = new_tile(job, number, job->scratch + worker * job->scratch_size);
    if (job->direction == FORWARD)
        tile_forward(&tile);
    else if (is_windowed(plan->call))
        windows_backward(&tile);
    else
        sequences_backward(&tile);
}

/* All tiles of whole sequences, this member's units. */
static void compute_units(void *context, int64_t member, int64_t members, struct team *team) {
    const struct job *job = context;
    for (int64_t number = 0; number < job->plan->tiles; number++) {
        struct tile tile = new_tile(job, number, job->scratch);
        tile.member = member;
        tile.members = members;
        tile.first_group = member * job->groups / members;
        tile.end_group = (member + 1) * job->groups / members;
        tile.team = team;
        tile.gate_sums = job->member_gates + member * job->plan->tile_rows * (PANEL + KEPT * LANES);
        tile.gates = tile.gate_sums + job->plan->tile_rows * PANEL;
        if (job->direction == FORWARD)
            tile_forward(&tile);
        else
            sequences_backward(&tile);
    }
}

static void compute(void *context, int64_t number, int64_t worker) { compute_tile(context, number, worker); }

static void compute_all(struct job *job) {
    if (job->members > 1)
        convrnn_team(job->members, compute_units, job);
    else
        convrnn_parallel(job->plan->tiles, job->workers, compute, job);
}

/* The tiles whose sums go to one split, in their order. */
static void compute_split(void *context, int64_t split, int64_t worker) {
    const struct job *job = context;
    const struct lstm_call *call = job->plan->call;
    int64_t gates = job->gates, inputs = positions_of(call) * call->features;
    memset(job->sums + split * SUMS * job->padded, 0, sizeof(float) * (size_t)(SUMS * job->padded));
    memset(job->sums_hh + split * call->hidden * gates, 0, sizeof(float) * (size_t)(call->hidden * gates));
    memset(job->sums_ih + split * inputs * gates, 0, sizeof(float) * (size_t)(inputs * gates));
    for (int64_t tile = divide_up(split * job->plan->tiles, job->splits);
         tile * job->splits / job->plan->tiles == split; tile++)
        compute_tile(job, tile, worker);
}

/* Rows of `parts` [splits][rows][gates] summed up over the splits, and transposed into `out` [gates, width]. */
static void add_up(const struct job *job, const float *parts, int64_t rows, int64_t row, float *out, int64_t width) {
    int64_t gates = 4 * job->plan->call->hidden;
    for (int64_t k = 0; k < gates; k += LANES) {
        vec sum = {0};
        for (int64_t split = 0; split < job->splits; split++) sum += load(parts + (split * rows + row) * job->gates + k);
        for (int64_t lane = 0; lane < at_most(LANES, gates - k); lane++) out[(k + lane) * width] = sum[lane];
    }
}

static void add_up_weights(void *context, int64_t number, int64_t worker) {
    (void)worker;
    const struct job *job = context;
    const struct lstm_call *call = job->plan->call;
    int64_t hidden = call->hidden, features = call->features, inputs = positions_of(call) * features;
    if (number < hidden) {
        add_up(job, job->sums_hh, hidden, number, call->grad_weight_hh + number, hidden);
    } else {
        int64_t input = number - hidden, position = input / features;
        float *out = call->grad_weight_ih + position * 4 * hidden * features + input % features;
        add_up(job, job->sums_ih, inputs, input, out, features);
    }
}

static void add_up_vectors(const struct job *job) {
    const struct lstm_call *call = job->plan->call;
    int64_t parts = is_windowed(call) ? job->splits : call->batch;
    memset(call->grad_vectors, 0, sizeof(float) * (size_t)(SUMS * call->hidden));
    for (int64_t part = 0; part < parts; part++)
        for (int64_t v = 0; v < SUMS; v++)
            for (int64_t unit = 0; unit < call->hidden; unit++)
                call->grad_vectors[v * call->hidden + unit] += job->sums[(part * SUMS + v) * job->padded + unit];
    /* h_0 is met by the gates of the first step. */
    const float *from[] = {call->grad_vectors + SUM_FIRST * call->hidden};
    float *to[] = {job->first};
    multiply_panels(from, to, 1, 4 * call->hidden, job->recurrent_back, 4 * call->hidden, call->hidden, 0, 0, 1);
    memcpy(call->grad_vectors + SUMS * call->hidden, job->first, sizeof(float) * (size_t)call->hidden);
}

/* The gradient of a sequence's frames, each from all tiles that have it. */
static void gather_frames(void *context, int64_t sequence, int64_t worker) {
    (void)worker;
    const struct job *job = context;
    const struct lstm_plan *plan = job->plan;
    const struct lstm_call *call = plan->call;
    int64_t features = call->features, width = whole_vectors(features);
    float *grad_x = call->grad_x + sequence * call->frames * features;
    memset(grad_x, 0, sizeof(float) * (size_t)(call->frames * features));
    for (int64_t row = plan->row_begin[sequence]; row < plan->row_begin[sequence + 1]; row++) {
        int64_t tile = row / plan->tile_rows, begin = window_begin(plan, row);
        for (int64_t frame = new_frames_from(plan, row, plan->tile_begin[tile]); frame < begin + call->kernel_size;
             frame++) {
            const float *from = job->grad_frames + (plan->frame_begin[tile] + plan->place[row] + frame - begin) * width;
            float *to = call->grad_x + frame * features;
            for (int64_t k = 0; k < features; k++) to[k] += from[k];
        }
    }
}

int PASTE(convrnn_lstm, CONVRNN_ISA)(const struct lstm_plan *plan, int direction) {
    const struct lstm_call *call = plan->call;
    struct job job = {.plan = plan, .direction = direction};
    job.groups = divide_up(call->hidden, LANES);
    job.padded = job.groups * LANES;
    job.gates = whole_vectors(4 * call->hidden);
    /* Rows that lie a multiple of 256 bytes apart would crowd into few places of the caches. */
    if (job.gates % 64 == 0) job.gates += LANES;
    job.splits = is_windowed(call) ? at_most(SPLITS, plan->tiles) : 1;
    job.chunk = call->per_position ? 1 : is_windowed(call) ? 0 : 1 + 24 / plan->tile_rows;
    job.members = is_windowed(call) ? 1 : at_most(plan->members, job.groups);
    struct tile measured = {.job = &job};
    job.scratch_size = lay_out_tile(&measured, NULL);
    int64_t products = FRAMES_AT_ONCE * whole_vectors(call->features);
    if (job.scratch_size < products) job.scratch_size = products;
    int64_t sums = is_windowed(call) ? 0 : (call->hidden + call->features + call->frames) * PANEL;
    if (direction == BACKWARD && job.scratch_size < sums) job.scratch_size = sums;
    int64_t frame_tasks = is_windowed(call) ? 0 : divide_up(call->batch * call->frames, FRAMES_AT_ONCE);
    int64_t panels = is_windowed(call) ? 0 : divide_up(4 * call->hidden, PANEL);
    job.workers = at_most(call->threads, plan->tiles + frame_tasks + panels);
    float *memory = NULL;
    if (posix_memalign((void **)&memory, 64, sizeof(float) * (size_t)lay_out(&job, NULL))) return -1;
    lay_out(&job, memory);
    pack_vectors(&job, call->weight_peephole, 3, job.peephole);
    pack_vectors(&job, call->initial_cell, 1, job.cell);
    /* The way back through whole sequences begins at their gates. */
    if (direction == FORWARD || is_windowed(call)) convrnn_parallel(job.groups, call->threads, pack, &job);
    if (direction == FORWARD) {
        compute_all(&job);
    } else {
        convrnn_parallel(call->threads + (call->grad_x ? positions_of(call) : 0), call->threads, pack_back, &job);
        if (is_windowed(call)) {
            convrnn_parallel(job.splits, job.workers, compute_split, &job);
            convrnn_parallel(call->hidden + positions_of(call) * call->features, call->threads, add_up_weights, &job);
            if (call->grad_x) convrnn_parallel(call->batch, call->threads, gather_frames, &job);
        } else {
            memset(job.sums, 0, sizeof(float) * (size_t)(call->batch * SUMS * job.padded));
            compute_all(&job);
            convrnn_parallel(call->batch, call->threads, pack_sequence, &job);
            convrnn_parallel(panels, job.workers, weights_backward, &job);
            if (call->grad_x) convrnn_parallel(frame_tasks, job.workers, frames_backward, &job);
        }
        add_up_vectors(&job);
    }
    free(memory);
    return 0;
}
