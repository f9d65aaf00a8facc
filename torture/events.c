/* Counts the system calls with which a process and its children change files below one folder, and injects a failure at
 * one of these events: it kills, tears a write in two, or fails like a full disk. torture/events.py preloads this
 * library into commands and shares the struct with them through a file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { COUNT, KILL_GROUP, KILL_SELF, TEAR, REFUSE_ONCE, REFUSE_FROM };

struct control {
    unsigned action;
    unsigned at;       /* Number of the chosen event, from 1. */
    int error;         /* errno of an event that fails. */
    unsigned count;    /* Events so far, of all processes. */
    unsigned happened;
    int spared;        /* The process that runs the trials, whose own events do not count. */
    char root[PATH_MAX];
    char what[PATH_MAX + 32]; /* The chosen event, once it has happened. */
};

static struct control *control;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, off_t, off_t);
static int (*real_rename)(const char *, const char *);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlink)(const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_rmdir)(const char *);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_mkdirat)(int, const char *, mode_t);
static int (*real_chmod)(const char *, mode_t);
static int (*real_fchmod)(int, mode_t);

__attribute__((constructor)) static void load(void) {
#define LOAD(name) real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name)
    LOAD(open), LOAD(openat), LOAD(write), LOAD(pwrite), LOAD(writev), LOAD(fsync), LOAD(fdatasync), LOAD(ftruncate);
    real_fallocate = (__typeof__(real_fallocate))dlsym(RTLD_NEXT, "posix_fallocate");
    LOAD(rename), LOAD(renameat), LOAD(unlink), LOAD(unlinkat), LOAD(rmdir), LOAD(mkdir), LOAD(mkdirat), LOAD(chmod), LOAD(fchmod);
    const char *path = getenv("TORTURE_CONTROL");
    int file = path ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (shared != MAP_FAILED) control = shared;
}

static int below_root(const char *path) {
    size_t length = strlen(control->root);
    return length && !strncmp(path, control->root, length) && (path[length] == '/' || !path[length]);
}

static const char *path_at(int folder, const char *path, char *whole) {
    char link[64];
    ssize_t length;
    if (path[0] == '/') return path;
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, whole, PATH_MAX - 1);
    if (length < 0) return path;
    snprintf(whole + length, PATH_MAX - (size_t)length, "/%s", path);
    return whole;
}

static const char *path_of(int file, char *whole) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, whole, PATH_MAX - 1);
    if (length < 0) return "";
    whole[length] = 0;
    return whole;
}

/* Returns what has to be done at this event: COUNT lets it happen. Does not return if the process is killed. */
static enum action action_at(const char *name, const char *path, int takes_room) {
    if (!control || control->spared == getpid() || !below_root(path)) return COUNT;
    unsigned number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    enum action action = control->action;
    int now = number == control->at || (action == REFUSE_FROM && number >= control->at && takes_room);
    if (!now || action == COUNT) return COUNT;
    if (!__atomic_exchange_n(&control->happened, 1, __ATOMIC_SEQ_CST))
        snprintf(control->what, sizeof control->what, "%s %s", name, path);
    if (action == KILL_GROUP) kill(0, SIGKILL);
    if (action == KILL_SELF) kill(getpid(), SIGKILL);
    while (action <= KILL_SELF) pause();
    if (action != TEAR) errno = control->error;
    return action;
}

static void tear(void) {
    kill(0, SIGKILL);
    for (;;) pause();
}

#define REFUSED(action) ((action) == REFUSE_ONCE || (action) == REFUSE_FROM)
/* Other events than write cannot be torn: they happen before the kill. */
#define AROUND(name, path, room, call)                                                                                 \
    do {                                                                                                               \
        enum action action_ = action_at(name, path, room);                                                             \
        if (REFUSED(action_)) return -1;                                                                               \
        __typeof__(call) result_ = (call);                                                                             \
        if (action_ == TEAR) tear();                                                                                   \
        return result_;                                                                                                \
    } while (0)

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    /* Other libraries open files before this one is loaded. */
    if (!real_openat) real_openat = (__typeof__(real_openat))dlsym(RTLD_NEXT, "openat");
    if (!control || !writes(flags)) return real_openat(folder, path, flags, mode);
    AROUND("open", path_at(folder, path, whole), (flags & O_CREAT) != 0, real_openat(folder, path, flags, mode));
}

#define MODE(flags)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, mode_t);                                                                                   \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opened(folder, path, flags, mode); }

ssize_t write(int file, const void *data, size_t size) {
    char whole[PATH_MAX];
    if (!real_write) real_write = (__typeof__(real_write))dlsym(RTLD_NEXT, "write");
    if (!control) return real_write(file, data, size);
    enum action action = action_at("write", path_of(file, whole), 1);
    if (REFUSED(action)) return -1;
    if (action == TEAR) {
        real_write(file, data, size / 2);
        tear();
    }
    return real_write(file, data, size);
}

static ssize_t placed(int file, const void *data, size_t size, off_t at) {
    char whole[PATH_MAX];
    if (!control) return real_pwrite(file, data, size, at);
    AROUND("write", path_of(file, whole), 1, real_pwrite(file, data, size, at));
}
ssize_t pwrite(int file, const void *data, size_t size, off_t at) { return placed(file, data, size, at); }
ssize_t pwrite64(int file, const void *data, size_t size, off_t at) { return placed(file, data, size, at); }

ssize_t writev(int file, const struct iovec *parts, int count) {
    char whole[PATH_MAX];
    if (!control) return real_writev(file, parts, count);
    AROUND("write", path_of(file, whole), 1, real_writev(file, parts, count));
}

#define ON_FILE(name, room, arguments, call)                                                                           \
    int name arguments {                                                                                               \
        char whole[PATH_MAX];                                                                                          \
        if (!control) return call;                                                                                     \
        AROUND(#name, path_of(file, whole), room, call);                                                               \
    }
ON_FILE(fsync, 0, (int file), real_fsync(file))
ON_FILE(fdatasync, 0, (int file), real_fdatasync(file))
ON_FILE(ftruncate, 1, (int file, off_t size), real_ftruncate(file, size))
ON_FILE(ftruncate64, 1, (int file, off_t size), real_ftruncate(file, size))
ON_FILE(fchmod, 0, (int file, mode_t mode), real_fchmod(file, mode))

/* Returns its error, not -1. */
int posix_fallocate(int file, off_t at, off_t size) {
    char whole[PATH_MAX];
    if (!control) return real_fallocate(file, at, size);
    enum action action = action_at("fallocate", path_of(file, whole), 1);
    if (REFUSED(action)) return control->error;
    int result = real_fallocate(file, at, size);
    if (action == TEAR) tear();
    return result;
}
int posix_fallocate64(int file, off_t at, off_t size) { return posix_fallocate(file, at, size); }

#define ON_PATH(name, folder, room, arguments, call)                                                                   \
    int name arguments {                                                                                               \
        char whole[PATH_MAX];                                                                                          \
        if (!control) return call;                                                                                     \
        AROUND(#name, path_at(folder, path, whole), room, call);                                                       \
    }
ON_PATH(unlink, AT_FDCWD, 0, (const char *path), real_unlink(path))
ON_PATH(unlinkat, folder, 0, (int folder, const char *path, int flags), real_unlinkat(folder, path, flags))
ON_PATH(rmdir, AT_FDCWD, 0, (const char *path), real_rmdir(path))
ON_PATH(mkdir, AT_FDCWD, 1, (const char *path, mode_t mode), real_mkdir(path, mode))
ON_PATH(mkdirat, folder, 1, (int folder, const char *path, mode_t mode), real_mkdirat(folder, path, mode))
ON_PATH(chmod, AT_FDCWD, 0, (const char *path, mode_t mode), real_chmod(path, mode))
ON_PATH(rename, AT_FDCWD, 0, (const char *path, const char *to), real_rename(path, to))
ON_PATH(renameat, folder, 0, (int folder, const char *path, int other, const char *to), real_renameat(folder, path, other, to))
