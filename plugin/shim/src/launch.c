/* Every way to start work on the GPU: gated by the schedule, charged by measured time. */
#include "shim.h"

struct launch {
    uint64_t key, estimate_ns;
    CUstream stream;
    bool graph, counted, close;
};

/* Same function and grid: same time, as a rule. */
static uint64_t key_of(const void *function, uint64_t grid, uint64_t block) {
    return ((uint64_t)(uintptr_t)function ^ grid * UINT64_C(0xD6E8FEB86659FD93) ^ block * UINT64_C(0xA0761D6478BD642F)) | 1;
}

static uint64_t volume(unsigned x, unsigned y, unsigned z) { return (uint64_t)x * y * z; }

/* Holds the launch until it may go, and counts it. An error is for the caller's caller. */
static CUresult before(struct launch *launch, uint64_t key, CUstream stream, bool per_thread, bool graph) {
    if (per_thread && !stream) stream = CU_STREAM_PER_THREAD;
    *launch = (struct launch){.key = key, .stream = stream, .graph = graph};
    bool capturing = capture_on(stream, per_thread);
    CUresult result = CUDA_SUCCESS;
    pthread_mutex_lock(&hasgpu_lock);
    if (!hasgpu_pages.process) pages_attach();
    struct hasgpu_process *process = hasgpu_pages.process;
    if (capturing) {
        process->captured_launches++;
    } else if (hasgpu_pages.wanted) {
        int mode = capture_relax();
        uint64_t now = now_ns();
        launch->estimate_ns = cost_estimate_ns(key);
        if (graph && !pools_graph_may_launch(*cost_memory_bytes(key))) result = CUDA_ERROR_OUT_OF_MEMORY;
        else if (!gate_pass(&now, launch->estimate_ns)) result = CUDA_ERROR_SYSTEM_NOT_READY;
        launch->counted = result == CUDA_SUCCESS;
        if (launch->counted) launch->close = account_open(stream, key, launch->estimate_ns, now);
        process = hasgpu_pages.process;
        capture_restore(mode);
    }
    if (result == CUDA_SUCCESS && !capturing) {
        process->launches++;
        process->graph_launches += graph;
    }
    pthread_mutex_unlock(&hasgpu_lock);
    return result;
}

static CUresult after(const struct launch *launch, CUresult result) {
    findings_note_result(result);
    if (!launch->counted || (result == CUDA_SUCCESS && !launch->close)) return result;
    pthread_mutex_lock(&hasgpu_lock);
    int mode = capture_relax();
    if (result != CUDA_SUCCESS) account_failed(launch->stream, launch->estimate_ns);
    if (launch->close) account_close(launch->stream);
    if (launch->close && launch->graph) pools_after_graph(cost_memory_bytes(launch->key));
    capture_restore(mode);
    pthread_mutex_unlock(&hasgpu_lock);
    return result;
}

#define GATED(key, stream, per_thread, graph, call)                       \
    struct launch launch;                                                  \
    CUresult gate = before(&launch, key, stream, per_thread, graph);       \
    return gate != CUDA_SUCCESS ? gate : after(&launch, call)

#define KERNEL(name, per_thread)                                                                                       \
    EXPORT CUresult name(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,   \
                         unsigned shared, CUstream stream, void **parameters, void **extra) {                          \
        GATED(key_of(f, volume(gx, gy, gz), volume(bx, by, bz)), stream, per_thread, false,                            \
              REAL(name)(f, gx, gy, gz, bx, by, bz, shared, stream, parameters, extra));                               \
    }
KERNEL(cuLaunchKernel, false)
KERNEL(cuLaunchKernel_ptsz, true)

#define KERNEL_EX(name, per_thread)                                                                                    \
    EXPORT CUresult name(const CUlaunchConfig *c, CUfunction f, void **parameters, void **extra) {                     \
        if (!c) return REAL(name)(c, f, parameters, extra);                                                            \
        GATED(key_of(f, volume(c->grid_x, c->grid_y, c->grid_z), volume(c->block_x, c->block_y, c->block_z)),          \
              c->stream, per_thread, false, REAL(name)(c, f, parameters, extra));                                      \
    }
KERNEL_EX(cuLaunchKernelEx, false)
KERNEL_EX(cuLaunchKernelEx_ptsz, true)

#define COOPERATIVE(name, per_thread)                                                                                  \
    EXPORT CUresult name(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,   \
                         unsigned shared, CUstream stream, void **parameters) {                                        \
        GATED(key_of(f, volume(gx, gy, gz), volume(bx, by, bz)), stream, per_thread, false,                            \
              REAL(name)(f, gx, gy, gz, bx, by, bz, shared, stream, parameters));                                      \
    }
COOPERATIVE(cuLaunchCooperativeKernel, false)
COOPERATIVE(cuLaunchCooperativeKernel_ptsz, true)

EXPORT CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *list, unsigned count, unsigned flags) {
    if (!list || !count) return REAL(cuLaunchCooperativeKernelMultiDevice)(list, count, flags);
    GATED(key_of(list->function, volume(list->grid_x, list->grid_y, list->grid_z),
                 volume(list->block_x, list->block_y, list->block_z)),
          list->stream, false, false, REAL(cuLaunchCooperativeKernelMultiDevice)(list, count, flags));
}

EXPORT CUresult cuLaunch(CUfunction f) { GATED(key_of(f, 1, 0), NULL, false, false, REAL(cuLaunch)(f)); }

EXPORT CUresult cuLaunchGrid(CUfunction f, int width, int height) {
    GATED(key_of(f, volume(width, height, 1), 0), NULL, false, false, REAL(cuLaunchGrid)(f, width, height));
}

EXPORT CUresult cuLaunchGridAsync(CUfunction f, int width, int height, CUstream stream) {
    GATED(key_of(f, volume(width, height, 1), 0), stream, false, false,
          REAL(cuLaunchGridAsync)(f, width, height, stream));
}

EXPORT CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
    GATED(key_of(exec, 0, 0), stream, false, true, REAL(cuGraphLaunch)(exec, stream));
}

EXPORT CUresult cuGraphLaunch_ptsz(CUgraphExec exec, CUstream stream) {
    GATED(key_of(exec, 0, 0), stream, true, true, REAL(cuGraphLaunch_ptsz)(exec, stream));
}

/* The handle may be given to another graph. */
EXPORT CUresult cuGraphExecDestroy(CUgraphExec exec) {
    pthread_mutex_lock(&hasgpu_lock);
    cost_forget(key_of(exec, 0, 0));
    pthread_mutex_unlock(&hasgpu_lock);
    return REAL(cuGraphExecDestroy)(exec);
}
