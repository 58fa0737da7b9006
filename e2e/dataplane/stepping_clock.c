/* Preloaded, it sets the day's clock of one process an hour forward and back every 50 ms, as nobody should: whatever
 * depends on that clock shows it. CLOCK_MONOTONIC, which no clock setting moves, is left alone. */
#include <dlfcn.h>
#include <stddef.h>
#include <sys/time.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))

static int real(clockid_t clock, struct timespec *at) {
    static int (*of_libc)(clockid_t, struct timespec *);
    if (!of_libc) of_libc = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return of_libc(clock, at);
}

static time_t step(void) {
    struct timespec now;
    real(CLOCK_MONOTONIC, &now);
    return now.tv_nsec / 50000000 % 2 ? 3600 : -3600;
}

EXPORT int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = real(clock, at);
    if (!result && clock == CLOCK_REALTIME) at->tv_sec += step();
    return result;
}

EXPORT int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *at = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}

EXPORT time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
