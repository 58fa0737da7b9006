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
    pages_note_result(result);
    if (result != CUDA_SUCCESS || !accounting()) return result;
    pthread_mutex_lock(&hasgpu_lock);
    int mode = capture_relax();
    account_reap();
    capture_restore(mode);
    pthread_mutex_unlock(&hasgpu_lock);
    return result;
}

static void forget(CUcontext context) {
    if (!accounting()) return;
    pthread_mutex_lock(&hasgpu_lock);
    account_forget_context(context);
    pthread_mutex_unlock(&hasgpu_lock);
}

EXPORT CUresult cuCtxSynchronize(void) {
    close_before(NULL, false, true);
    return reap_after(REAL(cuCtxSynchronize)());
}

EXPORT CUresult cuCtxSynchronize_v2(CUcontext context) {
    close_before(NULL, false, true);
    return reap_after(REAL(cuCtxSynchronize_v2)(context));
}

EXPORT CUresult cuStreamSynchronize(CUstream stream) {
    close_before(stream, false, false);
    return reap_after(REAL(cuStreamSynchronize)(stream));
}

EXPORT CUresult cuStreamSynchronize_ptsz(CUstream stream) {
    close_before(stream, true, false);
    return reap_after(REAL(cuStreamSynchronize_ptsz)(stream));
}

EXPORT CUresult cuStreamQuery(CUstream stream) { return reap_after(REAL(cuStreamQuery)(stream)); }
EXPORT CUresult cuStreamQuery_ptsz(CUstream stream) { return reap_after(REAL(cuStreamQuery_ptsz)(stream)); }

EXPORT CUresult cuEventSynchronize(CUevent event) {
    close_before(NULL, false, true);
    return reap_after(REAL(cuEventSynchronize)(event));
}

EXPORT CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t bytes) {
    close_before(NULL, false, true);
    return reap_after(REAL(cuMemcpyDtoH_v2)(to, from, bytes));
}

EXPORT CUresult cuMemcpyDtoH_v2_ptds(void *to, CUdeviceptr from, size_t bytes) {
    close_before(NULL, true, true);
    return reap_after(REAL(cuMemcpyDtoH_v2_ptds)(to, from, bytes));
}

EXPORT CUresult cuStreamDestroy_v2(CUstream stream) {
    close_before(stream, false, false);
    return REAL(cuStreamDestroy_v2)(stream);
}

EXPORT CUresult cuCtxDestroy_v2(CUcontext context) {
    forget(context);
    return REAL(cuCtxDestroy_v2)(context);
}

EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    forget(NULL);
    return REAL(cuDevicePrimaryCtxRelease_v2)(device);
}

EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    forget(NULL);
    return REAL(cuDevicePrimaryCtxReset_v2)(device);
}
