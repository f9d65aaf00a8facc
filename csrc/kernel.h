/* The four passes, compiled once for each instruction set. */
#ifndef CONVRNN_KERNEL_H
#define CONVRNN_KERNEL_H

#include "plan.h"

/* Each returns 0, or -1 without memory. */
struct lstm_kernel {
    int (*windows_forward)(const struct windows_plan *plan);
    int (*windows_backward)(const struct windows_plan *plan);
    int (*sequences_forward)(const struct sequences_plan *plan);
    int (*sequences_backward)(const struct sequences_plan *plan);
};

extern const struct lstm_kernel convrnn_kernel_portable, convrnn_kernel_avx2, convrnn_kernel_avx512;

#endif
