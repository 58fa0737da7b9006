/* A CUDA program of many threads: threads THREADS SECONDS. Each has a stream of its own and launches, allocates, frees
 * and waits in turn, so that whatever the threads share behind the driver's interface is shared here. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef int (*fn)();

static void *cuda, *context, *function;
static double until;

static fn get(const char *name) {
    fn found = (fn)dlsym(cuda, name);
    if (!found) exit(3);
    return found;
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void check(int result) {
    if (!result) return;
    printf("{\"error\": %d}\n", result);
    exit(1);
}

static void *work(void *unused) {
    (void)unused;
    void *stream;
    check(get("cuCtxSetCurrent")(context));
    check(get("cuStreamCreate")(&stream, 1));
    fn launch = get("cuLaunchKernel"), wait = get("cuStreamSynchronize");
    fn allocate = get("cuMemAlloc_v2"), release = get("cuMemFree_v2"), info = get("cuMemGetInfo_v2");
    fn allocate_async = get("cuMemAllocAsync"), release_async = get("cuMemFreeAsync");
    uintptr_t count = 0;
    for (; now_s() < until; count++) {
        uint64_t memory;
        size_t free_bytes, total;
        check(launch(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL));
        if (count % 8 == 0) check(wait(stream));
        if (count % 16 == 0) {
            check(allocate(&memory, (size_t)1 << 20));
            check(info(&free_bytes, &total));
            check(release(memory));
            check(allocate_async(&memory, (size_t)1 << 20, stream));
            check(release_async(memory, stream));
        }
    }
    check(wait(stream));
    return (void *)count;
}

int main(int argc, char **argv) {
    pthread_t threads[64];
    if (argc != 3) return 2;
    int wanted = atoi(argv[1]);
    void *module, *counted;
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (!cuda || wanted > 64) return 3;
    check(get("cuInit")(0));
    check(get("cuDevicePrimaryCtxRetain")(&context, 0));
    check(get("cuCtxSetCurrent")(context));
    check(get("cuModuleLoadData")(&module, "kernel,fixed_us,work_us,plateau_percent\nk,100,0,100\n"));
    check(get("cuModuleGetFunction")(&function, module, "k"));
    until = now_s() + atof(argv[2]);
    uintptr_t total = 0;
    for (int i = 0; i < wanted; i++)
        if (pthread_create(&threads[i], NULL, work, NULL)) return 4;
    for (int i = 0; i < wanted; i++) {
        pthread_join(threads[i], &counted);
        total += (uintptr_t)counted;
    }
    printf("{\"launches\": %lu}\n", (unsigned long)total);
    return 0;
}
