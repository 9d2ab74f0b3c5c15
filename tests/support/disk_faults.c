/* A disk that fails on demand, for one process: loaded with LD_PRELOAD (disk_faults.py).

   It stands between the process and the C library, for files below $DISK_FAULTS_ROOT, and does
   what the shared page $DISK_FAULTS_CONTROL says, which the test changes while the process runs:

   kill_at     the process is killed (SIGKILL) in its kill_at-th call that changes the disk; a
               write is then half done; other processes are killed in their next call
   hangs       the process does not die in that call, but waits for ever
   where       only calls are counted for kill_at that this is part of: "sync .../leveldb/00"
   full        writes fail with ENOSPC, the first of them after writing half of its bytes
   full_at     the same, from the full_at-th call on
   no_names    while the disk is full, no file or folder can be made or renamed either
   sync_fails  fsync and fdatasync fail with EIO, after the data has gone out
   fault       what the first process was killed in, or the first call that found no room

   $DISK_FAULTS_TRACE, where set, gets a line for each call that decides what a power cut leaves:

   C ino path      a file was created, or emptied      S ino size   so much of it was synced
   M path          a folder was made                   B n, D n     sync n of a folder began, ended
   R from to       a rename                            U path       something was removed
   K call path     a call that changes the disk is made: what `calls` counts

   What is removed or replaced is kept as a link next to the trace, "kept-<ino>", since a power
   cut may bring it back.

   Limits: a file that was there before is replaced or written anew; a power cut takes no bytes
   back that were overwritten in place, and takes every hard link. Not seen: writes through
   memory maps, fputs and fprintf, and that a write() was buffered and failed only when synced. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct control { /* the layout is known to disk_faults.py */
    volatile long calls, kill_at, full, full_at, no_names, sync_fails, refused, matched, hangs;
    char fault[1024], where[256];
};

#define MAX_FILES 65536
#define STREAM_BUFFER 4096
static char tracked[MAX_FILES]; /* by descriptor: opened for writing, below the root */
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

static const char *path_of(int descriptor, char *buffer);

/* Count a call; true where it is the one in which the process dies. path: or its descriptor. */
static int dies(const char *call, const char *path, int descriptor) {
    long count = __atomic_add_fetch(&control->calls, 1, __ATOMIC_SEQ_CST);
    char buffer[PATH_MAX], text[PATH_MAX + 16];
    if (!path && (trace >= 0 || *control->where)) path = path_of(descriptor, buffer);
    note("K %s %s\n", call, path ? path : "");
    if (!control->kill_at) return 0;
    if (*control->where && control->matched < control->kill_at) {
        snprintf(text, sizeof text, "%s %s", call, path ? path : "");
        if (!strstr(text, control->where)) return 0;
        count = __atomic_add_fetch(&control->matched, 1, __ATOMIC_SEQ_CST);
        return count >= control->kill_at;
    }
    return *control->where || count >= control->kill_at;
}

static void die(const char *call, const char *path) {
    if (!*control->fault) snprintf(control->fault, sizeof control->fault, "%s %s", call, path ? path : "");
    if (!control->hangs) kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int is_full(void) {
    return control->full || (control->full_at && control->calls >= control->full_at);
}

/* Say that there is no room; true the first time. */
static int refuse(const char *call, const char *path) {
    int first = __atomic_fetch_add(&control->refused, 1, __ATOMIC_SEQ_CST) == 0;
    if (first) snprintf(control->fault, sizeof control->fault, "%s %s", call, path ? path : "");
    errno = ENOSPC;
    return first;
}

/* Count a call that makes or changes a name; true where it is refused. */
static int refuses_name(const char *call, const char *path) {
    if (dies(call, path, -1)) die(call, path);
    if (!is_full() || !control->no_names) return 0;
    refuse(call, path);
    return 1;
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
    if (descriptor < 0 || descriptor >= MAX_FILES) return;
    tracked[descriptor] = 1;
    if (made && !fstat(descriptor, &found))
        note("C %lu %s\n", (unsigned long)found.st_ino, path);
}

static int opens(int at, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *mine = flags & (O_WRONLY | O_RDWR | O_CREAT) ? below(at, path, buffer) : NULL;
    int made = mine && flags & O_CREAT && syscall(SYS_faccessat, at, path, F_OK) != 0;
    if (made && refuses_name("create", mine)) return -1;
    int descriptor = syscall(SYS_openat, at, path, flags, mode);
    if (mine) opened(descriptor, mine, made || flags & O_TRUNC);
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
    if (made && refuses_name("create", mine)) return NULL;
    FILE *stream = real(path, how);
    if (mine && stream) opened(fileno(stream), mine, made || *how == 'w');
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
    if (descriptor >= 0 && descriptor < MAX_FILES) tracked[descriptor] = 0;
    return syscall(SYS_close, descriptor);
}

static int is_tracked(int descriptor) {
    return descriptor >= 0 && descriptor < MAX_FILES && tracked[descriptor];
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

/* How many of `count` bytes may be written; -1 where none, with errno set. */
static ssize_t room(const char *call, int descriptor, size_t count) {
    char buffer[PATH_MAX];
    if (!is_full()) return count;
    int first = refuse(call, path_of(descriptor, buffer));
    return first && count > 1 ? (ssize_t)(count / 2) : -1;
}

/* Before a write: count it, and say how many bytes of it may be written. */
static ssize_t writes(const char *call, int descriptor, size_t count, int *last) {
    if (!is_tracked(descriptor)) return count;
    *last = dies(call, NULL, descriptor);
    return *last ? (ssize_t)(count / 2) : room(call, descriptor, count);
}

static ssize_t written(const char *call, int descriptor, int last, ssize_t result) {
    char buffer[PATH_MAX];
    if (last) die(call, path_of(descriptor, buffer));
    return result;
}

#define WRITES(call, descriptor, count, how) \
    int last = 0; \
    ssize_t allowed = writes(call, descriptor, count, &last); \
    return allowed < 0 ? -1 : written(call, descriptor, last, how);

ssize_t write(int descriptor, const void *bytes, size_t count) {
    WRITES("write", descriptor, count, syscall(SYS_write, descriptor, bytes, allowed))
}
ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
    WRITES("write", descriptor, count, syscall(SYS_pwrite64, descriptor, bytes, allowed, offset))
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off_t offset) {
    WRITES("write", descriptor, count, syscall(SYS_pwrite64, descriptor, bytes, allowed, offset))
}
ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
    WRITES("copy", to, count, syscall(SYS_sendfile, to, from, offset, allowed))
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t count) {
    WRITES("copy", to, count, syscall(SYS_sendfile, to, from, offset, allowed))
}
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    WRITES("write", descriptor, count, syscall(SYS_writev, descriptor, parts, allowed))
}

int ftruncate(int descriptor, off_t size) {
    char buffer[PATH_MAX];
    if (is_tracked(descriptor) && dies("truncate", NULL, descriptor))
        die("truncate", path_of(descriptor, buffer));
    return syscall(SYS_ftruncate, descriptor, size);
}
int ftruncate64(int descriptor, off64_t size) { return ftruncate(descriptor, size); }

static int is_streamed(FILE *stream) {
    char buffer[PATH_MAX];
    /* numpy writes to a duplicate, which was never opened */
    return is_tracked(fileno(stream)) || path_of(fileno(stream), buffer);
}

/* stdio keeps bytes until its buffer is full, so a full disk may show only when it is flushed. */
size_t fwrite(const void *bytes, size_t size, size_t count, FILE *stream) {
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *);
    char buffer[PATH_MAX];
    if (is_streamed(stream)) {
        if (dies("write", NULL, fileno(stream))) {
            real_fwrite(bytes, size, count / 2, stream);
            REAL(int, fflush, FILE *);
            real_fflush(stream);
            die("write", path_of(fileno(stream), buffer));
        }
        if (is_full() && __fpending(stream) + size * count >= STREAM_BUFFER) {
            refuse("write", path_of(fileno(stream), buffer));
            return 0;
        }
    }
    return real_fwrite(bytes, size, count, stream);
}

/* Count a flush; true where there is no room for what waits in the buffer. */
static int refuses_flush(FILE *stream) {
    char buffer[PATH_MAX];
    if (!__fpending(stream) || !is_streamed(stream)) return 0;
    if (dies("flush", NULL, fileno(stream))) die("flush", path_of(fileno(stream), buffer));
    if (!is_full()) return 0;
    refuse("flush", path_of(fileno(stream), buffer));
    return 1;
}

int fflush(FILE *stream) {
    REAL(int, fflush, FILE *);
    return stream && refuses_flush(stream) ? EOF : real_fflush(stream);
}

int fclose(FILE *stream) {
    REAL(int, fclose, FILE *);
    int refused = refuses_flush(stream), descriptor = fileno(stream);
    if (refused) __fpurge(stream);
    if (descriptor >= 0 && descriptor < MAX_FILES) tracked[descriptor] = 0;
    int result = real_fclose(stream);
    if (!refused) return result;
    errno = ENOSPC;
    return EOF;
}

static int syncs(int descriptor, long call) {
    static long folders;
    struct stat found;
    char buffer[PATH_MAX];
    if (!*root || fstat(descriptor, &found) || !path_of(descriptor, buffer))
        return syscall(call, descriptor);
    if (dies("sync", buffer, -1)) die("sync", buffer);
    int folder = S_ISDIR(found.st_mode);
    long number = __atomic_add_fetch(&folders, folder, __ATOMIC_SEQ_CST);
    number |= (long)getpid() << 32; /* child processes write to the same trace */
    if (folder) note("B %ld\n", number);
    int result = syscall(call, descriptor);
    if (control->sync_fails) { errno = EIO; return -1; }
    if (folder) note("D %ld\n", number);
    else note("S %lu %ld\n", (unsigned long)found.st_ino, (long)found.st_size);
    return result;
}

int fsync(int descriptor) { return syncs(descriptor, SYS_fsync); }
int fdatasync(int descriptor) { return syncs(descriptor, SYS_fdatasync); }

static int renames(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *source = below(from_at, from, first), *target = below(to_at, to, second);
    if (source && target) {
        if (refuses_name("rename", target)) return -1;
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
        if (dies("remove", mine, -1)) die("remove", mine);
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
    if (mine && refuses_name("make", mine)) return -1;
    int result = syscall(SYS_mkdirat, at, path, mode);
    if (!result && mine) note("M %s\n", mine);
    return result;
}

int mkdir(const char *path, mode_t mode) { return makes(AT_FDCWD, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return makes(at, path, mode); }

static int links(int from_at, const char *from, int to_at, const char *to, int flags) {
    char buffer[PATH_MAX];
    const char *mine = below(to_at, to, buffer);
    if (mine && refuses_name("link", mine)) return -1;
    return syscall(SYS_linkat, from_at, from, to_at, to, flags);
}

int link(const char *from, const char *to) { return links(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return links(a, from, b, to, flags);
}
