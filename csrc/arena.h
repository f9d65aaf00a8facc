/* An arena: one block of memory, handed out from front to back and freed at once.
 *
 * A function that lays out arrays runs twice: with an arena that has no memory yet it only measures. */
#ifndef CONVRNN_ARENA_H
#define CONVRNN_ARENA_H

#include <stdint.h>
#include <stdlib.h>

#define ARENA_ALIGNMENT 32 /* floats: two cache lines, which processors tend to fetch together */

struct arena {
    float *memory; /* NULL: measure */
    int64_t used;  /* floats */
};

/* The next `count` floats, aligned to ARENA_ALIGNMENT; NULL while the arena measures. */
static float *take(struct arena *arena, int64_t count) {
    float *taken = arena->memory ? arena->memory + arena->used : NULL;
    arena->used += (count + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    return taken;
}

/* Give a measured arena its memory and start it again; 0, or -1 without memory. */
static int allocate(struct arena *arena) {
    void *memory;
    if (posix_memalign(&memory, sizeof(float) * ARENA_ALIGNMENT, sizeof(float) * (size_t)arena->used)) return -1;
    *arena = (struct arena){.memory = memory};
    return 0;
}

#endif
