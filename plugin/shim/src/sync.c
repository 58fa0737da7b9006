/* Where the host waits for the GPU: what was launched ends there, which is the time to measure and charge it. */
#include "shim.h"

static bool accounting(void) { return hasgpu_pages.wanted && hasgpu_pages.process; }

/* Ends the open batches before the host waits: of one stream, or of all. Not of a capturing stream. */
static void close_before(CUstream stream, bool per_thread, bool all) {
    if (per_thread && !stream) stream = CU_STREAM_PER_THREAD;
    if (!accounting() || capture_on(stream, per_thread)) return;
    pthread_mutex_lock(&hasgpu_lock);
    int mode = capture_relax();
    if (all) account_close_all();
    else account_close(stream);
    capture_restore(mode);
    pthread_mutex_unlock(&hasgpu_lock);
}

static CUresult reap_after(CUresult result) {
    findings_note_result(result);
    if (result != CUDA_SUCCESS || !accounting()) return result;
    pthread_mutex_lock(&hasgpu_lock);
    int mode = capture_relax();
    account_reap();
    pools_after_wait();
    capture_restore(mode);
    pthread_mutex_unlock(&hasgpu_lock);
    return result;
}

#define WAITS(name, parameters, stream, per_thread, all, ...)  \
    EXPORT CUresult name parameters {                          \
        close_before(stream, per_thread, all);                 \
        return reap_after(REAL(name)(__VA_ARGS__));            \
    }
#define ASKS(name) \
    EXPORT CUresult name(CUstream stream) { return reap_after(REAL(name)(stream)); }

WAITS(cuCtxSynchronize, (void), NULL, false, true)
WAITS(cuCtxSynchronize_v2, (CUcontext context), NULL, false, true, context)
WAITS(cuStreamSynchronize, (CUstream stream), stream, false, false, stream)
WAITS(cuStreamSynchronize_ptsz, (CUstream stream), stream, true, false, stream)
WAITS(cuEventSynchronize, (CUevent event), NULL, false, true, event)
WAITS(cuMemcpyDtoH_v2, (void *to, CUdeviceptr from, size_t bytes), NULL, false, true, to, from, bytes)
WAITS(cuMemcpyDtoH_v2_ptds, (void *to, CUdeviceptr from, size_t bytes), NULL, true, true, to, from, bytes)
ASKS(cuStreamQuery)
ASKS(cuStreamQuery_ptsz)

EXPORT CUresult cuStreamDestroy_v2(CUstream stream) {
    close_before(stream, false, false);
    return REAL(cuStreamDestroy_v2)(stream);
}

static void forget(CUcontext context) {
    pthread_mutex_lock(&hasgpu_lock);
    if (accounting()) account_forget_context(context);
    memory_forget_context(context);
    pthread_mutex_unlock(&hasgpu_lock);
}

EXPORT CUresult cuCtxDestroy_v2(CUcontext context) {
    CUresult result = REAL(cuCtxDestroy_v2)(context);
    if (result == CUDA_SUCCESS) forget(context);
    return result;
}

/* The device's primary context; NULL where it has none now. */
static CUcontext primary(CUdevice device) {
    unsigned flags;
    int active = 0;
    CUcontext context = NULL;
    typedef CUresult (*state)(CUdevice, unsigned *, int *);
    if (DRIVER(state, cuDevicePrimaryCtxGetState)(device, &flags, &active) != CUDA_SUCCESS || !active) return NULL;
    if (DRIVER(CUresult(*)(CUcontext *, CUdevice), cuDevicePrimaryCtxRetain)(&context, device) != CUDA_SUCCESS) return NULL;
    DRIVER(CUresult(*)(CUdevice), cuDevicePrimaryCtxRelease_v2)(device);
    return context;
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    CUcontext before = primary(device);
    CUresult result = REAL(cuDevicePrimaryCtxRelease_v2)(device);
    if (result == CUDA_SUCCESS && before && !primary(device)) forget(before); /* that was its last holder */
    return result;
}

EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    CUcontext before = primary(device);
    CUresult result = REAL(cuDevicePrimaryCtxReset_v2)(device);
    if (result == CUDA_SUCCESS && before) forget(before);
    return result;
}
