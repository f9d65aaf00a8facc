/* The functions that the library exports: plan a call, and run it on the instruction set that was asked for. */
#include <stdlib.h>

#include "kernel.h"
#include "processor.h"

#define PUBLIC __attribute__((visibility("default")))

/* By enum instruction_set and enum cell_type. */
static const struct kernel *const kernels[][3] = {
    {&convrnn_rnn_portable, &convrnn_gru_portable, &convrnn_lstm_portable},
#ifdef CONVRNN_X86
    {&convrnn_rnn_avx2, &convrnn_gru_avx2, &convrnn_lstm_avx2},
    {&convrnn_rnn_avx512, &convrnn_gru_avx512, &convrnn_lstm_avx512},
#endif
};

PUBLIC int64_t convrnn_interface(void);
PUBLIC int convrnn_supports(int instruction_set);
PUBLIC int64_t convrnn_saved_vectors(int64_t cell, int64_t reset_after, int64_t kernel_size, int64_t sequence,
                                     int64_t reduce, int64_t saved_steps);
PUBLIC int convrnn_run(const struct recurrent_call *call, int direction, int instruction_set);

/* The CONVRNN_INTERFACE that the library was compiled with; a caller made for another must not call it. */
int64_t convrnn_interface(void) { return CONVRNN_INTERFACE; }

/* Whether this library has the instruction set, of enum instruction_set, and this machine runs it. */
int convrnn_supports(int instruction_set) {
    int compiled = (int)(sizeof kernels / sizeof *kernels);
    return instruction_set >= 0 && instruction_set < compiled && processor_has((enum instruction_set)instruction_set);
}

/* Vectors of units in call->saved: for each window or, of whole sequences, for each frame. */
int64_t convrnn_saved_vectors(int64_t cell, int64_t reset_after, int64_t kernel_size, int64_t sequence, int64_t reduce,
                              int64_t saved_steps) {
    struct recurrent_call call = {.cell = cell, .reset_after = reset_after, .kernel_size = kernel_size};
    call.sequence = sequence;
    call.reduce = reduce;
    call.saved_steps = saved_steps;
    return kernel_size > 0 ? saved_vectors_of(&call) : saved_gates(&call);
}

/* One forward or backward pass; 0, or -1 without memory. */
int convrnn_run(const struct recurrent_call *call, int direction, int instruction_set) {
    const struct kernel *kernel = kernels[instruction_set][call->cell];
    int failed;
    if (call->kernel_size > 0) {
        struct windows_plan plan;
        failed = convrnn_plan_windows(&plan, call);
        if (!failed) failed = (direction == FORWARD ? kernel->windows_forward : kernel->windows_backward)(&plan);
        free(plan.memory);
    } else {
        struct sequences_plan plan;
        failed = convrnn_plan_sequences(&plan, call);
        if (!failed) failed = (direction == FORWARD ? kernel->sequences_forward : kernel->sequences_backward)(&plan);
        free(plan.memory);
    }
    return failed;
}
