/* Threads come from the OpenMP runtime of PyTorch, if it is loaded: a second pool would compete for the cores with its
 * threads, which spin between two operations. The runtime is looked up at run time, so that the library links
 * against none. Without one, and in a forked process (where the runtime would wait for threads that fork did not copy),
 * each call makes its own threads. */
#define _GNU_SOURCE
#include "threads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef void (*omp_parallel)(void (*run)(void *), void *data, unsigned threads, unsigned flags);

struct loop {
    void (*task)(void *, int64_t, int64_t);
    void *context;
    int64_t tasks;
    atomic_int_fast64_t next_task, next_worker;
};

struct team {
    void (*task)(void *, int64_t, int64_t, struct team *);
    void *context;
    atomic_int_fast64_t next_member, members; /* members: 0 until it is known how many there are */
    atomic_int_fast64_t arrived, phase;       /* of the barrier */
};

static omp_parallel runtime;
static int (*runtime_threads)(void); /* threads of the parallel region that calls it */
static int forked;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void note_fork(void) {
    forked = 1;
    runtime = NULL;
}

/* Runs when the library is loaded: PyTorch may start threads, and the process fork, before the first call. */
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, note_fork); }

static void find_runtime(void) {
    const char *wanted = getenv("CONVRNN_NATIVE_THREADS");
    if (forked || (wanted && !strcmp(wanted, "pthread"))) return;
    runtime = (omp_parallel)dlsym(RTLD_DEFAULT, "GOMP_parallel");
    runtime_threads = (int (*)(void))dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    if (!runtime_threads) runtime = NULL;
}

/* Threads made for one call. */

#define MAX_STARTED 64

/* Starts up to `count` threads beside the calling one; returns how many the system gave. */
static int64_t start_threads(pthread_t *threads, int64_t count, void *(*function)(void *), void *data) {
    int64_t started = 0;
    while (started < count && started < MAX_STARTED && !pthread_create(&threads[started], NULL, function, data))
        started++;
    return started;
}

static void join_threads(pthread_t *threads, int64_t started) {
    while (started) pthread_join(threads[--started], NULL);
}

/* Parallel for: every thread takes the next task until none is left, so that a thread that the system suspends delays
 * the others little. */

static void run_loop(void *data) {
    struct loop *loop = data;
    int64_t worker = atomic_fetch_add_explicit(&loop->next_worker, 1, memory_order_relaxed);
    for (;;) {
        int64_t number = atomic_fetch_add_explicit(&loop->next_task, 1, memory_order_relaxed);
        if (number >= loop->tasks) return;
        loop->task(loop->context, number, worker);
    }
}

static void *run_loop_thread(void *data) {
    run_loop(data);
    return NULL;
}

void convrnn_parallel_for(int64_t tasks, int64_t threads, void (*task)(void *, int64_t, int64_t), void *context) {
    struct loop loop = {task, context, tasks, 0, 0};
    if (threads > tasks) threads = tasks;
    if (threads <= 1) {
        run_loop(&loop);
        return;
    }
    pthread_once(&once, find_runtime);
    if (runtime) {
        runtime(run_loop, &loop, (unsigned)threads, 0);
        return;
    }
    pthread_t started[MAX_STARTED];
    int64_t count = start_threads(started, threads - 1, run_loop_thread, &loop);
    run_loop(&loop);
    join_threads(started, count);
}

/* Teams. */

/* One turn of a waiting loop: at first it keeps the core, later it yields it, perhaps to the thread it waits for. */
static void spin(int64_t turns) {
    if (turns > 2000) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void convrnn_barrier(struct team *team) {
    if (!team) return;
    int64_t phase = atomic_load_explicit(&team->phase, memory_order_relaxed);
    int64_t members = atomic_load_explicit(&team->members, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) + 1 == members) {
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&team->phase, phase + 1, memory_order_release);
        return;
    }
    for (int64_t turns = 0; atomic_load_explicit(&team->phase, memory_order_acquire) == phase; turns++) spin(turns);
}

static void join_team(struct team *team) {
    int64_t member = atomic_fetch_add_explicit(&team->next_member, 1, memory_order_relaxed), members;
    for (int64_t turns = 0; !(members = atomic_load_explicit(&team->members, memory_order_acquire)); turns++)
        spin(turns);
    team->task(team->context, member, members, team);
}

static void join_from_runtime(void *data) {
    struct team *team = data;
    /* The runtime may have given fewer threads than were asked for. */
    atomic_store_explicit(&team->members, runtime_threads(), memory_order_release);
    join_team(team);
}

static void *join_from_thread(void *data) {
    join_team(data);
    return NULL;
}

void convrnn_run_team(int64_t threads, void (*task)(void *, int64_t, int64_t, struct team *), void *context) {
    struct team team = {task, context, 0, 0, 0, 0};
    pthread_once(&once, find_runtime);
    if (runtime) {
        runtime(join_from_runtime, &team, (unsigned)threads, 0);
        return;
    }
    pthread_t started[MAX_STARTED];
    int64_t count = start_threads(started, threads - 1, join_from_thread, &team);
    atomic_store_explicit(&team.members, count + 1, memory_order_release);
    join_team(&team);
    join_threads(started, count);
}
