/* The simple recurrent network, forward and backward, compiled once for each instruction set. */
#include "rnn_gates.h"

#include "passes.h"
