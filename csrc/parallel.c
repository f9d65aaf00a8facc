/* Tasks on several threads.
 *
 * The threads are those of the OpenMP runtime that PyTorch has loaded, where it has one: a second pool would fight with
 * its threads, which spin between two operations, for the cores. The runtime is found at run time, so that this library
 * depends on none. Elsewhere, and in a forked process, where that runtime would wait for threads that the fork has not
 * copied, threads are made for the call. */
#define _GNU_SOURCE
#include "parallel.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef void (*omp_parallel)(void (*run)(void *), void *data, unsigned threads, unsigned flags);

struct work {
    void (*task)(void *, int64_t, int64_t);
    void *context;
    int64_t tasks;
    atomic_int_fast64_t next_task, next_worker;
};

struct team {
    void (*task)(void *, int64_t, int64_t, struct team *);
    void *context;
    atomic_int_fast64_t next_member, members, here, phase; /* members: 0 as long as nobody knows */
};

static omp_parallel runtime;
static int (*runtime_threads)(void); /* in the parallel region that calls it */
static int forked;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void note_fork(void) {
    forked = 1;
    runtime = NULL;
}

/* When the library is loaded: PyTorch may start threads, and a process fork, before the first call. */
__attribute__((constructor)) static void watch_forks(void) { pthread_atfork(NULL, NULL, note_fork); }

static void find_runtime(void) {
    const char *wanted = getenv("CONVRNN_NATIVE_THREADS");
    if (forked || (wanted && !strcmp(wanted, "pthread"))) return;
    runtime = (omp_parallel)dlsym(RTLD_DEFAULT, "GOMP_parallel");
    runtime_threads = (int (*)(void))dlsym(RTLD_DEFAULT, "omp_get_num_threads");
    if (!runtime_threads) runtime = NULL;
}

/* Every thread takes the next task until none is left: one that the system holds up delays the others little. */
static void run(void *data) {
    struct work *work = data;
    int64_t worker = atomic_fetch_add_explicit(&work->next_worker, 1, memory_order_relaxed);
    for (;;) {
        int64_t number = atomic_fetch_add_explicit(&work->next_task, 1, memory_order_relaxed);
        if (number >= work->tasks) return;
        work->task(work->context, number, worker);
    }
}

static void *run_thread(void *data) {
    run(data);
    return NULL;
}

#define MOST_OTHERS 64

/* As many threads as the system gives, up to `count`, beside the one that calls. */
static int64_t start_others(pthread_t *others, int64_t count, void *(*function)(void *), void *data) {
    int64_t started = 0;
    while (started < count && started < MOST_OTHERS && !pthread_create(&others[started], NULL, function, data)) started++;
    return started;
}

static void join_others(pthread_t *others, int64_t started) {
    while (started) pthread_join(others[--started], NULL);
}

void convrnn_parallel(int64_t tasks, int64_t threads, void (*task)(void *, int64_t, int64_t), void *context) {
    struct work work = {task, context, tasks, 0, 0};
    if (threads > tasks) threads = tasks;
    if (threads <= 1) {
        run(&work);
        return;
    }
    pthread_once(&once, find_runtime);
    if (runtime) {
        runtime(run, &work, (unsigned)threads, 0);
        return;
    }
    pthread_t others[MOST_OTHERS];
    int64_t started = start_others(others, threads - 1, run_thread, &work);
    run(&work);
    join_others(others, started);
}

/* A moment of a thread that waits: first the core is kept, then left to others, which may be those that it waits for. */
static void pass_time(int64_t moments) {
    if (moments > 2000) {
        sched_yield();
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

void convrnn_wait(struct team *team) {
    if (!team) return;
    int64_t phase = atomic_load_explicit(&team->phase, memory_order_relaxed);
    int64_t members = atomic_load_explicit(&team->members, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->here, 1, memory_order_acq_rel) + 1 == members) {
        atomic_store_explicit(&team->here, 0, memory_order_relaxed);
        atomic_store_explicit(&team->phase, phase + 1, memory_order_release);
        return;
    }
    for (int64_t moments = 0; atomic_load_explicit(&team->phase, memory_order_acquire) == phase; moments++)
        pass_time(moments);
}

static void join_team(struct team *team) {
    int64_t member = atomic_fetch_add_explicit(&team->next_member, 1, memory_order_relaxed), members;
    for (int64_t moments = 0; !(members = atomic_load_explicit(&team->members, memory_order_acquire)); moments++)
        pass_time(moments);
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

void convrnn_team(int64_t threads, void (*task)(void *, int64_t, int64_t, struct team *), void *context) {
    struct team team = {task, context, 0, 0, 0, 0};
    pthread_once(&once, find_runtime);
    if (runtime) {
        runtime(join_from_runtime, &team, (unsigned)threads, 0);
        return;
    }
    pthread_t others[MOST_OTHERS];
    int64_t started = start_others(others, threads - 1, join_from_thread, &team);
    atomic_store_explicit(&team.members, started + 1, memory_order_release);
    join_team(&team);
    join_others(others, started);
}
