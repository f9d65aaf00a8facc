/* The four passes of each cell, compiled once for each instruction set. */
#ifndef CONVRNN_KERNEL_H
#define CONVRNN_KERNEL_H

#include "plan.h"

/* Each returns 0, or -1 without memory. */
struct kernel {
    int (*windows_forward)(const struct windows_plan *plan);
    int (*windows_backward)(const struct windows_plan *plan);
    int (*sequences_forward)(const struct sequences_plan *plan);
    int (*sequences_backward)(const struct sequences_plan *plan);
};

#define DECLARE_KERNELS(ISA) extern const struct kernel convrnn_rnn_##ISA, convrnn_gru_##ISA, convrnn_lstm_##ISA;
DECLARE_KERNELS(portable)
DECLARE_KERNELS(avx2)
DECLARE_KERNELS(avx512)

#endif
