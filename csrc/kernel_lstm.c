/* The LSTM with peepholes, forward and backward, compiled once for each instruction set. */
#include "lstm_gates.h"

#include "passes.h"
