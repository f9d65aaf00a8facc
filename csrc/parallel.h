#ifndef CONVRNN_PARALLEL_H
#define CONVRNN_PARALLEL_H

#include <stdint.h>

/* Call task(context, number, worker) for every number below `tasks`, on at most `threads` threads, in no particular
 * order. Calls with the same `worker`, a number below `threads`, never run at the same time. */
void convrnn_parallel(int64_t tasks, int64_t threads, void (*task)(void *context, int64_t number, int64_t worker),
                      void *context);

#endif
