/* Makes the volumes like a dataset of TrueNAS with an access control list: what is made in them has the modes that the
 * inherited list gives (770), whatever was asked for; and changing modes does what /etc/dataset says:
 *
 *   works       aclmode=passthrough, TrueNAS's own for such datasets
 *   ignored     aclmode=discard of some, and network file systems that know no modes
 *   refused     aclmode=restricted
 *
 * Preloaded into each of a container's programs; what the C library does within itself (mkstemp, fopen) is not changed. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const mode_t INHERITED = 0770;

static const char *volumes[] = {"/etc/maas", "/var/lib/maas", "/var/log/maas", "/tmp/maas"};

static int in_volume(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    for (unsigned i = 0; i < sizeof volumes / sizeof *volumes; i++) {
        size_t top = strlen(volumes[i]);
        if (!strncmp(path, volumes[i], top) && path[top] == '/')
            return 1;
    }
    return 0;
}

static int in_volume_at(int directory, const char *path, int flags) {
    int before = errno, file = syscall(SYS_openat, directory, path, O_PATH | O_CLOEXEC | flags, 0);
    int found = file >= 0 && in_volume(file);
    if (file >= 0)
        close(file);
    errno = before;
    return found;
}

/* Of changing modes: -1 where the kernel is to be asked, else the answer. */
static int answer(void) {
    char said[16] = "";
    int file = syscall(SYS_openat, AT_FDCWD, "/etc/dataset", O_RDONLY | O_CLOEXEC, 0);
    if (file < 0 || read(file, said, sizeof said - 1) < 0)
        return -1;
    close(file);
    return !strncmp(said, "ignored", 7) ? 0 : !strncmp(said, "refused", 7) ? EPERM : -1;
}

static int refuse(int number) {
    errno = number;
    return number ? -1 : 0;
}

int fchmodat(int directory, const char *path, mode_t mode, int flags) {
    int said = in_volume_at(directory, path, flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0) ? answer() : -1;
    return said < 0 ? (int) syscall(SYS_fchmodat, directory, path, mode) : refuse(said);
}

int chmod(const char *path, mode_t mode) {
    return fchmodat(AT_FDCWD, path, mode, 0);
}

int fchmod(int file, mode_t mode) {
    int said = in_volume(file) ? answer() : -1;
    return said < 0 ? (int) syscall(SYS_fchmod, file, mode) : refuse(said);
}

int mkdirat(int directory, const char *path, mode_t mode) {
    int failed = syscall(SYS_mkdirat, directory, path, mode);
    if (!failed && in_volume_at(directory, path, 0))
        syscall(SYS_fchmodat, directory, path, INHERITED);
    return failed;
}

int mkdir(const char *path, mode_t mode) {
    return mkdirat(AT_FDCWD, path, mode);
}

static int open_at(int directory, const char *path, int flags, mode_t mode) {
    int made = flags & O_CREAT && syscall(SYS_faccessat, directory, path, F_OK) && errno == ENOENT;
    int file = syscall(SYS_openat, directory, path, flags, mode);
    if (file >= 0 && made && in_volume(file))
        syscall(SYS_fchmod, file, INHERITED);
    return file;
}

#define OPENS(name, ...) \
    int name { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return open_at(__VA_ARGS__, path, flags, mode); \
    }

OPENS(open(const char *path, int flags, ...), AT_FDCWD)
OPENS(open64(const char *path, int flags, ...), AT_FDCWD)
OPENS(openat(int directory, const char *path, int flags, ...), directory)
OPENS(openat64(int directory, const char *path, int flags, ...), directory)
