/* A CUDA program of the tests, against the driver API alone: client MODE KERNEL_US SECONDS [STREAMS [BLOCKS]].
 *
 * MODE: sync (wait after each kernel), burst (wait after 20), async (never wait), graph (10 kernels a graph, async),
 * pulse (never wait for 150 ms, then wait and rest as long).
 * Prints one JSON line: kernels launched, and the longest time from one launch to the next. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int (*fn)();
static void *cuda;

static fn get(const char *name) {
    fn found = (fn)dlsym(cuda, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(3);
    }
    return found;
}

static void check(int result, const char *what) {
    if (result == 0) return;
    printf("{\"error\": %d, \"at\": \"%s\"}\n", result, what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    const char *mode = argv[1];
    double seconds = atof(argv[3]);
    int streams = argc > 4 ? atoi(argv[4]) : 1;
    unsigned blocks = argc > 5 ? (unsigned)atoi(argv[5]) : 1;
    cuda = dlopen("libcuda.so.1", RTLD_NOW);
    if (!cuda) return 3;
    void *context, *module, *function, *stream[8] = {0}, *graph, *exec = NULL;
    char image[128];
    snprintf(image, sizeof image, "kernel,fixed_us,work_us,plateau_percent\nk,%s,0,100\n", argv[2]);
    check(get("cuInit")(0), "cuInit");
    check(get("cuDevicePrimaryCtxRetain")(&context, 0), "retain");
    check(get("cuCtxSetCurrent")(context), "set current");
    check(get("cuModuleLoadData")(&module, image), "load");
    check(get("cuModuleGetFunction")(&function, module, "k"), "function");
    for (int i = 0; i < streams; i++) check(get("cuStreamCreate")(&stream[i], 1), "stream");
    fn launch = get("cuLaunchKernel"), wait = get("cuStreamSynchronize"), graph_launch = get("cuGraphLaunch");
    if (!strcmp(mode, "graph")) {
        check(get("cuStreamBeginCapture_v2")(stream[0], 0), "capture");
        for (int i = 0; i < 10; i++) check(launch(function, blocks, 1, 1, 256, 1, 1, 0, stream[0], NULL, NULL), "captured");
        check(get("cuStreamEndCapture")(stream[0], &graph), "end capture");
        check(get("cuGraphInstantiateWithFlags")(&exec, graph, (uint64_t)0), "instantiate");
    }
    puts("{\"ready\": true}");
    fflush(stdout);
    uint64_t start = now_ns(), last = start, pulse = start, longest = 0, count = 0;
    while (last < start + (uint64_t)(seconds * 1e9)) {
        void *on = stream[count % (uint64_t)streams];
        if (exec) check(graph_launch(exec, on), "graph launch");
        else check(launch(function, blocks, 1, 1, 256, 1, 1, 0, on, NULL, NULL), "launch");
        count++;
        if (!strcmp(mode, "sync") || (!strcmp(mode, "burst") && count % 20 == 0)) check(wait(on), "wait");
        uint64_t now = now_ns();
        if (!strcmp(mode, "pulse") && now - pulse > 150000000u) {
            check(wait(on), "wait");
            usleep(150000);
            pulse = now = now_ns();
        }
        if (now - last > longest) longest = now - last;
        last = now;
    }
    printf("{\"launches\": %lu, \"longest_ms\": %.3f}\n", (unsigned long)count, (double)longest / 1e6);
    fflush(stdout);
    _exit(0);
}
