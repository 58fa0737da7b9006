/* What one launch costs the host: gate_cost LAUNCHES KERNELS [sync]. The launch function comes from cuGetProcAddress.
 *
 * First LAUNCHES in a row under one clock (the mean), then as many with a clock around each (the quantiles; the clock's
 * own time is in them, so compare with a run without the shim). KERNELS functions take turns; `sync` waits for each. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <x86intrin.h>

#define BINS 100000u

typedef int (*fn)();
typedef int (*launch_fn)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                         void **);
typedef int (*stream_fn)(void *);

static void *cuda, *stream;
static launch_fn launch;
static stream_fn wait;
static unsigned kernels;
static uint32_t bins[BINS]; /* by tick */

static fn get(const char *name) {
    fn found = (fn)dlsym(cuda, name);
    if (!found) exit(3);
    return found;
}

static double read_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void once(uint64_t i) {
    if (launch((void *)(0x1000 + i % kernels * 64), 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL)) exit(4);
    if (wait) wait(stream);
}

static double quantile(double part, uint64_t count, double ns_per_tick) {
    uint64_t wanted = (uint64_t)(part * (double)count), seen = 0;
    for (unsigned i = 0; i < BINS; i++)
        if ((seen += bins[i]) >= wanted) return i * ns_per_tick;
    return BINS * ns_per_tick;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    uint64_t count = strtoull(argv[1], NULL, 10);
    kernels = (unsigned)atoi(argv[2]);
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (!cuda) return 3;
    void *context;
    int status;
    if (get("cuInit")(0) || get("cuDevicePrimaryCtxRetain")(&context, 0) || get("cuCtxSetCurrent")(context)) return 4;
    if (get("cuStreamCreate")(&stream, 1)) return 4;
    if (get("cuGetProcAddress_v2")("cuLaunchKernel", &launch, 12000, (uint64_t)0, &status)) return 4;
    if (argc > 3 && get("cuGetProcAddress_v2")("cuStreamSynchronize", &wait, 12000, (uint64_t)0, &status)) return 4;
    for (uint64_t i = 0; i < count / 10; i++) once(i);
    double start = read_ns(CLOCK_THREAD_CPUTIME_ID); /* others may take the CPU meanwhile */
    for (uint64_t i = 0; i < count; i++) once(i);
    double mean = (read_ns(CLOCK_THREAD_CPUTIME_ID) - start) / (double)count;
    start = read_ns(CLOCK_MONOTONIC);
    uint64_t first = __rdtsc();
    for (uint64_t i = 0; i < count; i++) {
        uint64_t before = __rdtsc();
        once(i);
        uint64_t ticks = __rdtsc() - before;
        bins[ticks < BINS ? ticks : BINS - 1]++;
    }
    double ns_per_tick = (read_ns(CLOCK_MONOTONIC) - start) / (double)(__rdtsc() - first);
    start = read_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < 1000000; i++) read_ns(CLOCK_MONOTONIC);
    double clock = (read_ns(CLOCK_THREAD_CPUTIME_ID) - start) / 1e6;
    printf("{\"mean_ns\": %.1f, \"p50_ns\": %.1f, \"p99_ns\": %.1f, \"p999_ns\": %.1f, \"clock_read_ns\": %.1f}\n", mean,
           quantile(0.5, count, ns_per_tick), quantile(0.99, count, ns_per_tick), quantile(0.999, count, ns_per_tick), clock);
    return 0;
}
