#ifndef CONVRNN_PARALLEL_H
#define CONVRNN_PARALLEL_H

#include <stdint.h>

/* Call task(context, number, worker) for every number below `tasks`, on at most `threads` threads, in no particular
 * order. Calls with the same `worker`, a number below `threads`, never run at the same time. */
void convrnn_parallel(int64_t tasks, int64_t threads, void (*task)(void *context, int64_t number, int64_t worker),
                      void *context);

struct team;

/* Call task(context, member, members, team) once on each of at most `threads` threads, which run at the same time. */
void convrnn_team(int64_t threads, void (*task)(void *context, int64_t member, int64_t members, struct team *team),
                  void *context);

/* Until all members of the team are here; what they have written before is then seen by all. Nothing without a team. */
void convrnn_wait(struct team *team);

#endif
