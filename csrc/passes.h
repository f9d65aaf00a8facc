/* The four passes of a cell, whose gates have to be included before, as a table: convrnn_<cell>_<instruction set>. The
 * compiler's command defines the instruction set as CONVRNN_ISA. */
#ifndef CONVRNN_PASSES_H
#define CONVRNN_PASSES_H

#include "kernel.h"
#include "sequences_backward.h"
#include "sequences_forward.h"
#include "windows_backward.h"
#include "windows_forward.h"

#define PASTE_(a, b) convrnn_##a##_##b
#define PASTE(a, b) PASTE_(a, b)

const struct kernel PASTE(CELL_NAME, CONVRNN_ISA) = {
    windows_forward,
    windows_backward,
    sequences_forward,
    sequences_backward,
};

#endif
