/* A preloaded library that stands between a process and its disk and clock, for benchmarks/chaos.
 *
 * Every call that changes the disk is a step, counted from 1. What happens at a step is told by
 * the environment:
 *
 *   CHAOS_KILL_AT=N    SIGKILL before step N; half of what it writes is written first where it is
 *                      a write and CHAOS_TORN is set
 *   CHAOS_FAIL_AT=N    from step N on, what needs room on the disk fails with CHAOS_ERRNO
 *   CHAOS_PAUSE_US=N   every step takes so many microseconds longer
 *   CHAOS_CLOCK=SEED   the wall clock jumps every 50 ms, by up to a year to and fro
 *   CHAOS_COUNT=FILE   append the number of steps, at the end of the process
 *
 * Writes to pipes, sockets and terminals are no steps.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Linux's, from linux/fs.h, which clashes with others. */
#define CLONE_FILE _IOW(0x94, 9, int)

static atomic_long steps;
static long kill_at, fail_at, pause_us, clock_seed;
static int fail_with = ENOSPC, torn;
static const char *count_file;

static long number(const char *name) {
  const char *text = getenv(name);
  return text ? atol(text) : 0;
}

__attribute__((constructor)) static void begin(void) {
  kill_at = number("CHAOS_KILL_AT");
  fail_at = number("CHAOS_FAIL_AT");
  pause_us = number("CHAOS_PAUSE_US");
  clock_seed = number("CHAOS_CLOCK");
  torn = number("CHAOS_TORN") != 0;
  if (number("CHAOS_ERRNO")) fail_with = (int)number("CHAOS_ERRNO");
  count_file = getenv("CHAOS_COUNT");
}

__attribute__((destructor)) static void end(void) {
  if (!count_file) return;
  char text[32];
  int length = snprintf(text, sizeof text, "%ld\n", atomic_load(&steps));
  int fd = (int)syscall(SYS_openat, AT_FDCWD, count_file, O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (fd >= 0) {
    syscall(SYS_write, fd, text, length);
    syscall(SYS_close, fd);
  }
}

static void die(void) {
  syscall(SYS_kill, getpid(), SIGKILL);
  for (;;) pause();
}

/* Counts a step. Returns 0 to go on, 1 where the call fails, 2 where it is the last one. */
static int step(int grows, int writes) {
  long now = atomic_fetch_add(&steps, 1) + 1;
  if (pause_us) {
    struct timespec rest = {pause_us / 1000000, pause_us % 1000000 * 1000};
    nanosleep(&rest, NULL);
  }
  if (kill_at && now == kill_at) {
    if (writes && torn) return 2;
    die();
  }
  if (grows && fail_at && now >= fail_at) {
    errno = fail_with;
    return 1;
  }
  return 0;
}

static int on_disk(int fd) {
  struct stat status;
  int before = errno;
  int regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  errno = before;
  return regular;
}

#define REAL(name) \
  static __typeof__(&name) real; \
  if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Calls that write bytes to an open file: half of them are written before the end. */
#define WRITES(type, name, parameters, fd, whole, half) \
  type name parameters { \
    REAL(name); \
    if (on_disk(fd)) { \
      int what = step(1, 1); \
      if (what == 1) return -1; \
      if (what == 2) { \
        (void)!(half); \
        die(); \
      } \
    } \
    return whole; \
  }

WRITES(ssize_t, write, (int fd, const void *data, size_t n), fd, real(fd, data, n),
       real(fd, data, n / 2))
WRITES(ssize_t, pwrite, (int fd, const void *data, size_t n, off_t at), fd,
       real(fd, data, n, at), real(fd, data, n / 2, at))
WRITES(ssize_t, pwrite64, (int fd, const void *data, size_t n, off64_t at), fd,
       real(fd, data, n, at), real(fd, data, n / 2, at))
WRITES(ssize_t, writev, (int fd, const struct iovec *v, int n), fd, real(fd, v, n),
       real(fd, v, n / 2))
WRITES(ssize_t, pwritev, (int fd, const struct iovec *v, int n, off_t at), fd,
       real(fd, v, n, at), real(fd, v, n / 2, at))
WRITES(ssize_t, pwritev64, (int fd, const struct iovec *v, int n, off64_t at), fd,
       real(fd, v, n, at), real(fd, v, n / 2, at))
WRITES(ssize_t, pwritev2, (int fd, const struct iovec *v, int n, off_t at, int f), fd,
       real(fd, v, n, at, f), real(fd, v, n / 2, at, f))
WRITES(ssize_t, copy_file_range,
       (int from, off64_t *f, int fd, off64_t *t, size_t n, unsigned flags), fd,
       real(from, f, fd, t, n, flags), real(from, f, fd, t, n / 2, flags))
WRITES(ssize_t, sendfile, (int fd, int from, off_t *at, size_t n), fd, real(fd, from, at, n),
       real(fd, from, at, n / 2))
WRITES(ssize_t, sendfile64, (int fd, int from, off64_t *at, size_t n), fd,
       real(fd, from, at, n), real(fd, from, at, n / 2))

/* Other calls: `grows` where a full disk refuses them. */
#define CHANGES(name, parameters, grows, failed, whole) \
  int name parameters { \
    REAL(name); \
    if (step(grows, 0)) return failed; \
    return whole; \
  }

CHANGES(fsync, (int fd), 1, -1, real(fd))
CHANGES(fdatasync, (int fd), 1, -1, real(fd))
CHANGES(sync_file_range, (int fd, off64_t at, off64_t n, unsigned f), 0, -1, real(fd, at, n, f))
CHANGES(ftruncate, (int fd, off_t n), 0, -1, real(fd, n))
CHANGES(ftruncate64, (int fd, off64_t n), 0, -1, real(fd, n))
CHANGES(fallocate, (int fd, int m, off_t at, off_t n), 1, -1, real(fd, m, at, n))
CHANGES(fallocate64, (int fd, int m, off64_t at, off64_t n), 1, -1, real(fd, m, at, n))
CHANGES(posix_fallocate, (int fd, off_t at, off_t n), 1, fail_with, real(fd, at, n))
CHANGES(posix_fallocate64, (int fd, off64_t at, off64_t n), 1, fail_with, real(fd, at, n))
CHANGES(rename, (const char *a, const char *b), 0, -1, real(a, b))
CHANGES(renameat, (int c, const char *a, int d, const char *b), 0, -1, real(c, a, d, b))
CHANGES(renameat2, (int c, const char *a, int d, const char *b, unsigned f), 0, -1,
        real(c, a, d, b, f))
CHANGES(link, (const char *a, const char *b), 1, -1, real(a, b))
CHANGES(linkat, (int c, const char *a, int d, const char *b, int f), 1, -1, real(c, a, d, b, f))
CHANGES(symlink, (const char *a, const char *b), 1, -1, real(a, b))
CHANGES(symlinkat, (const char *a, int d, const char *b), 1, -1, real(a, d, b))
CHANGES(unlink, (const char *a), 0, -1, real(a))
CHANGES(unlinkat, (int d, const char *a, int f), 0, -1, real(d, a, f))
CHANGES(rmdir, (const char *a), 0, -1, real(a))
CHANGES(mkdir, (const char *a, mode_t m), 1, -1, real(a, m))
CHANGES(mkdirat, (int d, const char *a, mode_t m), 1, -1, real(d, a, m))
CHANGES(chmod, (const char *a, mode_t m), 0, -1, real(a, m))
CHANGES(fchmod, (int fd, mode_t m), 0, -1, real(fd, m))
CHANGES(fchmodat, (int d, const char *a, mode_t m, int f), 0, -1, real(d, a, m, f))

/* Opening is a step where it makes or empties a file. */
#define OPENS(name, parameters, last, whole) \
  int name parameters { \
    REAL(name); \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { \
      va_list more; \
      va_start(more, last); \
      mode = va_arg(more, mode_t); \
      va_end(more); \
    } \
    int makes = flags & (O_CREAT | O_TRUNC) || (flags & O_TMPFILE) == O_TMPFILE; \
    if (makes && step((flags & O_CREAT) != 0, 0)) return -1; \
    return whole; \
  }

OPENS(open, (const char *path, int flags, ...), flags, real(path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), flags, real(path, flags, mode))
OPENS(openat, (int folder, const char *path, int flags, ...), flags,
      real(folder, path, flags, mode))
OPENS(openat64, (int folder, const char *path, int flags, ...), flags,
      real(folder, path, flags, mode))

int ioctl(int fd, unsigned long request, ...) {
  REAL(ioctl);
  va_list more;
  va_start(more, request);
  void *argument = va_arg(more, void *);
  va_end(more);
  if (request == CLONE_FILE && step(1, 0)) return -1;
  return real(fd, request, argument);
}

static long long jump(void) {
  static const long long by[] = {0, 31536000, -31536000, 3600, -3600, 10, -10, 86400};
  struct timespec now;
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  unsigned long long slot = (unsigned long long)now.tv_sec * 20 + now.tv_nsec / 50000000;
  unsigned long long mixed = (slot + (unsigned long long)clock_seed) * 6364136223846793005ULL;
  return by[mixed >> 61];
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  REAL(clock_gettime);
  int result = real(clock, now);
  int wall = clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
  if (result == 0 && wall && clock_seed) now->tv_sec += jump();
  return result;
}

int gettimeofday(struct timeval *now, void *zone) {
  REAL(gettimeofday);
  int result = real(now, zone);
  if (result == 0 && clock_seed) now->tv_sec += jump();
  return result;
}

time_t time(time_t *where) {
  REAL(time);
  time_t now = real(NULL) + (clock_seed ? jump() : 0);
  if (where) *where = now;
  return now;
}
