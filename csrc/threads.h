/* Work on several threads. */
#ifndef CONVRNN_THREADS_H
#define CONVRNN_THREADS_H

#include <stdint.h>

/* Call task(context, number, worker) for every number below `tasks`, on at most `threads` threads, in any order.
 * `worker` is below `threads`, and no two calls with the same worker run at the same time. */
void convrnn_parallel_for(int64_t tasks, int64_t threads, void (*task)(void *context, int64_t number, int64_t worker),
                          void *context);

/* Threads that run at the same time and can wait for each other. */
struct team;

/* Call task(context, member, members, team) once on each of at most `threads` threads at the same time. */
void convrnn_run_team(int64_t threads, void (*task)(void *context, int64_t member, int64_t members, struct team *team),
                      void *context);

/* Wait until all members of the team are here; what they wrote before is then visible to all. Does nothing without a
 * team (NULL). */
void convrnn_barrier(struct team *team);

#endif
