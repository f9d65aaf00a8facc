/* The gated recurrent unit, forward and backward, compiled once for each instruction set. */
#include "gru_gates.h"

#include "passes.h"
