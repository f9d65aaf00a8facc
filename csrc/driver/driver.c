/* Calls the kernel on one shape over and over, without Python, for perf, valgrind or a debugger; prints the time of a
 * call. `make perf-driver` builds it as build/perf/driver; csrc/README.md shows how to use it. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../call.h"

int convrnn_supports(int instruction_set);
int64_t convrnn_saved_vectors(int64_t cell, int64_t reset_after, int64_t kernel_size, int64_t sequence, int64_t reduce,
                              int64_t saved_steps);
int convrnn_run(const struct recurrent_call *call, int direction, int instruction_set);

static const char USAGE[] =
    "usage: driver [options]\n"
    "  -m MODE     forward (keeps nothing), training (forward and backward) or backward; default forward\n"
    "  -b -f -i -u batch, frames, input features, units; default 32, 180, 26, 100\n"
    "  -l CELL     lstm, gru (the reset gate acts on h), gru-after (on the product) or rnn; default lstm\n"
    "  -k -s       window and stride in frames; default 5, 2; -k 0: whole sequences\n"
    "  -r REDUCE   0 last, 1 mean, 2 max, 3 none; default 0\n"
    "  -o          features of an LSTM are hidden states, not cell states\n"
    "  -e STEPS    save the gates of so many of a window's last steps for the backward pass; default 1\n"
    "  -p          an input matrix for each position in the window\n"
    "  -x          without the gradient of x, as in a first layer\n"
    "  -v          the network runs over the frames in reverse\n"
    "  -a SET      instruction set: 0 portable, 1 AVX2, 2 AVX-512; default the best\n"
    "  -t THREADS  default 1\n"
    "  -n CALLS    timed calls; default as many as fit into 3 seconds\n"
    "  -c          time of the processor (of all threads), not of the clock: for a machine that others use too\n";

static int64_t number(const char *text, int64_t least) {
    char *end;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || value < least || value > 1000000) {
        fprintf(stderr, "driver: %s is not a number from %lld to 1000000\n", text, (long long)least);
        exit(2);
    }
    return value;
}

/* Numbers in [-scale, scale], the same in every run. */
static float *draw(int64_t count, float scale) {
    static uint32_t state = 1;
    float *values = malloc(sizeof(float) * (size_t)at_least(count, 1));
    if (!values) abort();
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = scale * ((float)(state >> 8) / 8388608.0f - 1.0f);
    }
    return values;
}

static void draw_arrays(struct recurrent_call *call) {
    int64_t hidden = call->hidden, features = call->features, steps = call->batch * call->frames;
    int64_t matrices = call->per_position ? call->kernel_size : 1, size = call->batch * call->windows * hidden;
    int64_t gates = call->cell == LSTM ? 4 : call->cell == GRU ? 3 : 1;
    float scale = 1.0f / sqrtf((float)hidden);
    call->x = draw(steps * features, 1.0f);
    call->weight_ih = draw(matrices * gates * hidden * features, scale);
    call->weight_hh = draw(gates * hidden * hidden, scale);
    call->bias = draw(gates * hidden, scale);
    call->initial_hidden = draw(hidden, scale);
    if (call->cell == GRU && call->reset_after) call->bias_hn = draw(hidden, scale);
    if (call->cell == LSTM) {
        call->weight_peephole = draw(3 * hidden, scale);
        call->initial_cell = draw(hidden, scale);
    }
    int64_t vectors = convrnn_saved_vectors(call->cell, call->reset_after, call->kernel_size, call->sequence,
                                            call->reduce, call->saved_steps);
    if (call->kernel_size) {
        if (call->reduce == NONE) size *= call->kernel_size;
        call->y = draw(size, 1.0f);
        call->grad_y = draw(size, 1.0f);
        call->saved = draw(call->rows * divide_up(hidden, 16) * 16 * vectors, 1.0f);
    } else {
        call->states_hidden = draw(steps * hidden, 1.0f);
        call->states_cell = draw(steps * hidden, 1.0f);
        call->grad_hidden = draw(steps * hidden, 1.0f);
        call->saved = draw(steps * vectors * hidden, 1.0f);
    }
    call->grad_x = draw(steps * features, 1.0f);
    call->grad_weight_ih = draw(matrices * gates * hidden * features, 1.0f);
    call->grad_weight_hh = draw(gates * hidden * hidden, 1.0f);
    call->grad_bias = draw(gates * hidden, 1.0f);
    call->grad_bias_hn = draw(hidden, 1.0f);
    call->grad_weight_peephole = draw(3 * hidden, 1.0f);
    call->grad_initial_hidden = draw(hidden, 1.0f);
    call->grad_initial_cell = draw(hidden, 1.0f);
}

static double seconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void run(const struct recurrent_call *call, int direction, int instruction_set) {
    if (!convrnn_run(call, direction, instruction_set)) return;
    fprintf(stderr, "driver: no memory for the kernel\n");
    exit(1);
}

static int ascending(const void *a, const void *b) {
    double one = *(const double *)a, other = *(const double *)b;
    return (one > other) - (one < other);
}

struct options {
    struct recurrent_call call;
    int forward, backward, grad_x;
    int instruction_set;
    clockid_t clock;
    int64_t calls; /* 0: as many as fit into the time */
};

static void refuse(const char *message) {
    fprintf(stderr, "driver: %s\n", message);
    exit(2);
}

static struct options parse(int argc, char **argv) {
    struct options options = {
        .forward = 1, .grad_x = 1, .instruction_set = convrnn_supports(2) ? 2 : convrnn_supports(1)};
    options.clock = CLOCK_MONOTONIC;
    struct recurrent_call call = {
        .batch = 32, .frames = 180, .features = 26, .hidden = 100, .kernel_size = 5, .stride = 2};
    call.cell = LSTM;
    call.sequence = CELL;
    call.threads = call.saved_steps = 1;
    int option;
    while ((option = getopt(argc, argv, "hm:l:b:f:i:u:k:s:r:oe:pxva:t:n:c")) != -1) {
        switch (option) {
            case 'm':
                options.forward = !strcmp(optarg, "forward") || !strcmp(optarg, "training");
                options.backward = !strcmp(optarg, "backward") || !strcmp(optarg, "training");
                break;
            case 'l':
                call.cell = !strcmp(optarg, "lstm") ? LSTM : !strncmp(optarg, "gru", 3) ? GRU : RNN;
                call.reset_after = !strcmp(optarg, "gru-after");
                break;
            case 'e': call.saved_steps = number(optarg, 1); break;
            case 'b': call.batch = number(optarg, 1); break;
            case 'f': call.frames = number(optarg, 1); break;
            case 'i': call.features = number(optarg, 1); break;
            case 'u': call.hidden = number(optarg, 1); break;
            case 'k': call.kernel_size = number(optarg, 0); break;
            case 's': call.stride = number(optarg, 1); break;
            case 'r': call.reduce = number(optarg, 0); break;
            case 'o': call.sequence = HIDDEN; break;
            case 'p': call.per_position = 1; break;
            case 'x': options.grad_x = 0; break;
            case 'v': call.reverse = 1; break;
            case 'a': options.instruction_set = (int)number(optarg, 0); break;
            case 't': call.threads = number(optarg, 1); break;
            case 'n': options.calls = number(optarg, 1); break;
            case 'c': options.clock = CLOCK_PROCESS_CPUTIME_ID; break;
            case 'h': fputs(USAGE, stdout); exit(0);
            default: exit(2); /* getopt has said why */
        }
    }
    if (optind < argc) refuse("only options are taken");
    if (!options.forward && !options.backward) refuse("the mode is forward, training or backward");
    if (call.kernel_size > call.frames) refuse("a window is longer than a sequence");
    if (call.per_position && !call.kernel_size) refuse("-p is for windows");
    if (call.reduce > NONE) refuse("reduce is 0 to 3");
    if (options.instruction_set > 2 || !convrnn_supports(options.instruction_set))
        refuse("this machine does not run that instruction set");
    if (call.saved_steps > at_least(call.kernel_size, 1)) refuse("a window does not have so many steps");
    if (call.cell != LSTM) call.sequence = HIDDEN;
    call.windows = call.kernel_size ? (call.frames - call.kernel_size) / call.stride + 1 : 0;
    call.rows = call.kernel_size ? call.batch * call.windows : call.batch;
    options.call = call;
    return options;
}

int main(int argc, char **argv) {
    enum { MAX_CALLS = 1000000 };
    struct options options = parse(argc, argv);
    struct recurrent_call forward = options.call;
    draw_arrays(&forward);
    struct recurrent_call backward = forward;
    if (!options.backward) forward.saved = NULL;
    if (!options.grad_x) backward.grad_x = NULL;
    run(&forward, FORWARD, options.instruction_set);
    double *times = malloc(sizeof(*times) * MAX_CALLS), end = seconds(options.clock) + 3.0;
    if (!times) abort();
    int64_t done = 0;
    while (done < MAX_CALLS && (options.calls ? done < options.calls : seconds(options.clock) < end)) {
        double begin = seconds(options.clock);
        if (options.forward) run(&forward, FORWARD, options.instruction_set);
        if (options.backward) run(&backward, BACKWARD, options.instruction_set);
        times[done++] = seconds(options.clock) - begin;
    }
    qsort(times, (size_t)done, sizeof(*times), ascending);
    printf("calls %lld, median %.1f us, fastest %.1f us\n", (long long)done, 1e6 * times[done / 2], 1e6 * times[0]);
    free(times);
    return 0;
}
