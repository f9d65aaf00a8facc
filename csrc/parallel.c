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

static omp_parallel runtime;
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
    pthread_t others[64];
    int64_t started = 0;
    for (; started < threads - 1 && started < 64; started++)
        if (pthread_create(&others[started], NULL, run_thread, &work)) break;
    run(&work);
    while (started) pthread_join(others[--started], NULL);
}
