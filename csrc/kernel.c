/* The LSTM with peepholes, forward and backward, compiled once for each instruction set as CONVRNN_ISA. README.md shows
 * how data flows through these files. */
#include "kernel.h"

#include "sequences_backward.h"
#include "sequences_forward.h"
#include "windows_backward.h"
#include "windows_forward.h"

#define PASTE_(a, b) a##_##b
#define PASTE(a, b) PASTE_(a, b)

const struct lstm_kernel PASTE(convrnn_kernel, CONVRNN_ISA) = {
    windows_forward,
    windows_backward,
    sequences_forward,
    sequences_backward,
};
