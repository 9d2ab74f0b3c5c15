/* A disk that fails on demand, for one process: loaded with LD_PRELOAD (disk_faults.py).

   It stands between the process and the C library, for files below $DISK_FAULTS_ROOT, and does
   what the shared page $DISK_FAULTS_CONTROL says, which the test changes while the process runs:

   kill_at     the process is killed (SIGKILL) in its kill_at-th call that changes the disk; a
               write is then half done
   full        writes fail with ENOSPC, the first of them after writing half of its bytes
   sync_fails  fsync and fdatasync fail with EIO, after the data has gone out

   $DISK_FAULTS_TRACE, where set, gets a line for each call that decides what a power cut leaves:

   C ino path      a file was created          S ino size     so much of it was synced
   M path          a folder was made           D path         a folder was synced
   R from to       a rename                    U path         a file or folder was removed

   What is removed or replaced is kept as a link beside the trace, "kept-<ino>", since a power
   cut may bring it back.

   Limits: files are appended to or written once, as all of ours are; memory-mapped writes are
   not seen. stdio's own flushes do not pass here, so fwrite is counted as the write. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct control { /* the layout is known to disk_faults.py */
    volatile long calls, kill_at, full, sync_fails, refused;
};

#define MOST_FILES 65536
static char tracked[MOST_FILES]; /* by descriptor: opened for writing, below the root */
static struct control none, *control = &none;
static char root[PATH_MAX], kept[PATH_MAX];
static int trace = -1;

#define REAL(result, name, ...) \
    static result (*real_##name)(__VA_ARGS__); \
    if (!real_##name) real_##name = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("DISK_FAULTS_ROOT"), *page = getenv("DISK_FAULTS_CONTROL");
    const char *file = getenv("DISK_FAULTS_TRACE");
    if (!folder || !page || !realpath(folder, root)) return;
    int descriptor = syscall(SYS_openat, AT_FDCWD, page, O_RDWR | O_CLOEXEC, 0);
    void *mapped = mmap(0, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (mapped != MAP_FAILED) control = mapped;
    syscall(SYS_close, descriptor);
    if (file) {
        trace = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        snprintf(kept, sizeof kept, "%s.kept", file);
        syscall(SYS_mkdirat, AT_FDCWD, kept, 0700);
    }
}

/* The absolute form of a path, or NULL where it does not lie below the root. */
static const char *below(int at, const char *path, char *buffer) {
    if (!*root || !path) return NULL;
    if (*path == '/') snprintf(buffer, PATH_MAX, "%s", path);
    else {
        char link[64], folder[PATH_MAX];
        if (at == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        long length = readlink(link, folder, sizeof folder - 1);
        if (length < 0) return NULL;
        folder[length] = 0;
        if (snprintf(buffer, PATH_MAX, "%s/%s", folder, path) >= PATH_MAX) return NULL;
    }
    size_t length = strlen(root);
    return strncmp(buffer, root, length) == 0 && (buffer[length] == '/' || !buffer[length])
        ? buffer : NULL;
}

static void note(const char *format, ...) {
    if (trace < 0) return;
    char line[3 * PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    syscall(SYS_write, trace, line, length);
}

/* Count a call; true where it is the one in which the process dies. */
static int dies(void) {
    long count = __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
    return control->kill_at && count >= control->kill_at;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Keep what a path names, before it is removed or replaced. */
static void keep(const char *path) {
    struct stat found;
    char name[PATH_MAX];
    if (trace < 0 || lstat(path, &found) || !S_ISREG(found.st_mode)) return;
    if (snprintf(name, sizeof name, "%s/kept-%lu", kept, (unsigned long)found.st_ino) < PATH_MAX)
        syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, name, 0);
}

static void opened(int descriptor, const char *path, int made) {
    struct stat found;
    if (descriptor < 0 || descriptor >= MOST_FILES) return;
    tracked[descriptor] = 1;
    if (made && !fstat(descriptor, &found))
        note("C %lu %s\n", (unsigned long)found.st_ino, path);
}

static int opens(int at, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *mine = flags & (O_WRONLY | O_RDWR | O_CREAT) ? below(at, path, buffer) : NULL;
    int made = mine && flags & O_CREAT && syscall(SYS_faccessat, at, path, F_OK) != 0;
    if (made && dies()) die();
    int descriptor = syscall(SYS_openat, at, path, flags, mode);
    if (mine) opened(descriptor, mine, made && descriptor >= 0);
    return descriptor;
}

#define OPEN_MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
        va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { OPEN_MODE return opens(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { OPEN_MODE return opens(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { OPEN_MODE return opens(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { OPEN_MODE return opens(at, path, flags, mode); }

static FILE *opens_stream(FILE *(*real)(const char *, const char *), const char *path, const char *how) {
    char buffer[PATH_MAX];
    const char *mine = strpbrk(how, "wa+") ? below(AT_FDCWD, path, buffer) : NULL;
    int made = mine && access(path, F_OK) != 0;
    if (made && dies()) die();
    FILE *stream = real(path, how);
    if (mine && stream) opened(fileno(stream), mine, made);
    return stream;
}

FILE *fopen(const char *path, const char *how) {
    REAL(FILE *, fopen, const char *, const char *);
    return opens_stream(real_fopen, path, how);
}

FILE *fopen64(const char *path, const char *how) {
    REAL(FILE *, fopen64, const char *, const char *);
    return opens_stream(real_fopen64, path, how);
}

int close(int descriptor) {
    if (descriptor >= 0 && descriptor < MOST_FILES) tracked[descriptor] = 0;
    return syscall(SYS_close, descriptor);
}

static int is_tracked(int descriptor) {
    return descriptor >= 0 && descriptor < MOST_FILES && tracked[descriptor];
}

/* How many of `count` bytes may be written; -1 where none, with errno set. */
static ssize_t room(size_t count) {
    if (!control->full) return count;
    if (__atomic_fetch_add(&control->refused, 1, __ATOMIC_SEQ_CST) == 0 && count > 1) return count / 2;
    errno = ENOSPC;
    return -1;
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    if (!is_tracked(descriptor)) return syscall(SYS_write, descriptor, bytes, count);
    int last = dies();
    ssize_t allowed = room(count);
    if (last) {
        syscall(SYS_write, descriptor, bytes, count / 2);
        die();
    }
    return allowed < 0 ? -1 : syscall(SYS_write, descriptor, bytes, allowed);
}

static ssize_t writes_at(int descriptor, const void *bytes, size_t count, off_t offset) {
    if (is_tracked(descriptor)) {
        if (dies()) die();
        ssize_t allowed = room(count);
        if (allowed < 0) return -1;
        count = allowed;
    }
    return syscall(SYS_pwrite64, descriptor, bytes, count, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    return writes_at(descriptor, bytes, count, offset);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off_t offset) {
    return writes_at(descriptor, bytes, count, offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    if (is_tracked(descriptor)) {
        if (dies()) die();
        if (control->full) { errno = ENOSPC; return -1; }
    }
    return syscall(SYS_writev, descriptor, parts, count);
}

/* The path of an open descriptor, or NULL where it does not lie below the root. */
static const char *path_of(int descriptor, char *buffer) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    long length = readlink(link, path, sizeof path - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    return below(AT_FDCWD, path, buffer);
}

size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream) {
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    char buffer[PATH_MAX];
    /* numpy writes to a duplicate, which was never opened */
    if (is_tracked(fileno(stream)) || path_of(fileno(stream), buffer)) {
        if (dies()) {
            real_fwrite(bytes, size, count / 2, stream);
            fflush(stream);
            die();
        }
        if (control->full) { errno = ENOSPC; return 0; }
    }
    return real_fwrite(bytes, size, count, stream);
}

static int syncs(int descriptor, long call) {
    struct stat found;
    char buffer[PATH_MAX];
    if (!*root || fstat(descriptor, &found) || !path_of(descriptor, buffer))
        return syscall(call, descriptor);
    if (dies()) die();
    int result = syscall(call, descriptor);
    if (control->sync_fails) { errno = EIO; return -1; }
    if (S_ISDIR(found.st_mode)) note("D %s\n", buffer);
    else note("S %lu %ld\n", (unsigned long)found.st_ino, (long)found.st_size);
    return result;
}

int fsync(int descriptor) { return syncs(descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return syncs(descriptor, SYS_fdatasync); }

static int renames(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *source = below(from_at, from, first), *target = below(to_at, to, second);
    if (source && target) {
        if (dies()) die();
        keep(target);
    }
    int result = syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (!result && source && target) note("R %s\t%s\n", source, target);
    return result;
}

int rename(const char *from, const char *to) { return renames(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renames(a, from, b, to, 0); }

static int removes(int at, const char *path, int flags) {
    char buffer[PATH_MAX];
    const char *mine = below(at, path, buffer);
    if (mine) {
        if (dies()) die();
        keep(mine);
    }
    int result = syscall(SYS_unlinkat, at, path, flags);
    if (!result && mine) note("U %s\n", mine);
    return result;
}

int unlink(const char *path) { return removes(AT_FDCWD, path, 0); }
int unlinkat(int at, const char *path, int flags) { return removes(at, path, flags); }
int rmdir(const char *path) { return removes(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    struct stat found;
    int folder = !lstat(path, &found) && S_ISDIR(found.st_mode);
    return removes(AT_FDCWD, path, folder ? AT_REMOVEDIR : 0);
}

static int makes(int at, const char *path, mode_t mode) {
    char buffer[PATH_MAX];
    const char *mine = below(at, path, buffer);
    if (mine && dies()) die();
    int result = syscall(SYS_mkdirat, at, path, mode);
    if (!result && mine) note("M %s\n", mine);
    return result;
}

int mkdir(const char *path, mode_t mode) { return makes(AT_FDCWD, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return makes(at, path, mode); }
