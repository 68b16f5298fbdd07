/* Writes down what a program does to the files below $POWER_DIRECTORY, and what it says on standard output, so that the
 * test can make the disk as a power cut at any moment would have left it. Loaded with LD_PRELOAD.
 *
 * Each record in $POWER_JOURNAL: a letter, the length of the path (uint32), an offset (int64), the length of the data
 * (uint32); then path and data. All integers are this machine's.
 *
 *     C path            a file was created      W path offset data    bytes were written
 *     T path length     it was cut or grown     S path                file or directory was synced
 *     U path            it was removed          R path data           it was renamed to what `data` says
 *     A data            said on standard output
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 4096

static char *paths[FDS];
static int journal = -1;
static const char *directory;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
    directory = getenv("POWER_DIRECTORY");
    const char *name = getenv("POWER_JOURNAL");
    if (directory && name) journal = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ours(const char *path) {
    return journal >= 0 && path && strncmp(path, directory, strlen(directory)) == 0;
}

static const char *of(int fd) { return fd >= 0 && fd < FDS ? paths[fd] : NULL; }

static void put(char kind, const char *path, int64_t offset, const void *data, uint32_t size) {
    uint32_t length = path ? strlen(path) : 0;
    char head[17];
    head[0] = kind;
    memcpy(head + 1, &length, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &size, 4);
    struct iovec parts[3] = {{head, 17}, {(void *)path, length}, {(void *)data, size}};
    syscall(SYS_writev, journal, parts, 3);
}

/* The work and its record are one step, so that the journal has them in the order in which they happened. */
#define DO(TYPE, CALL, RECORD)                                                                                         \
    pthread_mutex_lock(&lock);                                                                                         \
    TYPE result = CALL;                                                                                                \
    int kept = errno;                                                                                                  \
    if (result >= 0) { RECORD; }                                                                                       \
    errno = kept;                                                                                                      \
    pthread_mutex_unlock(&lock);                                                                                       \
    return result;

static int opened(int at, const char *path, int flags, mode_t mode) {
    struct stat st;
    int made = (flags & O_CREAT) && ours(path) && stat(path, &st) != 0;
    int fd = syscall(SYS_openat, at, path, flags, mode);
    if (fd < 0 || fd >= FDS || !ours(path)) return fd;
    pthread_mutex_lock(&lock);
    free(paths[fd]);
    paths[fd] = strdup(path);
    if (made) put('C', path, 0, NULL, 0);
    if (!made && (flags & O_TRUNC)) put('T', path, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE                                                                                                           \
    mode_t mode = 0;                                                                                                   \
    if (flags & O_CREAT) {                                                                                             \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }

int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE return opened(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE return opened(at, path, flags, mode); }

int close(int fd) {
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FDS) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    pthread_mutex_unlock(&lock);
    return syscall(SYS_close, fd);
}

ssize_t write(int fd, const void *data, size_t size) {
    if (journal < 0 || (fd != 1 && !of(fd))) return syscall(SYS_write, fd, data, size);
    if (fd == 1) { DO(ssize_t, syscall(SYS_write, fd, data, size), put('A', NULL, 0, data, result)) }
    int64_t at = lseek(fd, 0, SEEK_CUR);
    DO(ssize_t, syscall(SYS_write, fd, data, size), put('W', of(fd), at, data, result))
}

static ssize_t written(int fd, const void *data, size_t size, int64_t at) {
    if (!of(fd)) return syscall(SYS_pwrite64, fd, data, size, at);
    DO(ssize_t, syscall(SYS_pwrite64, fd, data, size, at), put('W', of(fd), at, data, result))
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return written(fd, data, size, at); }

static int cut(int fd, int64_t size) {
    if (!of(fd)) return syscall(SYS_ftruncate, fd, size);
    DO(int, syscall(SYS_ftruncate, fd, size), put('T', of(fd), size, NULL, 0))
}

int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off64_t size) { return cut(fd, size); }

int fsync(int fd) {
    if (!of(fd)) return syscall(SYS_fsync, fd);
    DO(int, syscall(SYS_fsync, fd), put('S', of(fd), 0, NULL, 0))
}

int fdatasync(int fd) {
    if (!of(fd)) return syscall(SYS_fdatasync, fd);
    DO(int, syscall(SYS_fdatasync, fd), put('S', of(fd), 0, NULL, 0))
}

int unlink(const char *path) {
    if (!ours(path)) return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    DO(int, syscall(SYS_unlinkat, AT_FDCWD, path, 0), put('U', path, 0, NULL, 0))
}

int rename(const char *from, const char *to) {
    if (!ours(from)) return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    DO(int, syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0), put('R', from, 0, to, strlen(to)))
}
