/* Stream capture: a launch into a capturing stream runs nothing, so it is neither gated nor charged. */
#include "shim.h"

enum { CAPTURE_MODE_RELAXED = 2 };

static uint32_t captures; /* begun and not ended: while it is 0 no driver call is needed */

static CUresult begun(CUresult result) {
    if (result == CUDA_SUCCESS) __atomic_fetch_add(&captures, 1, __ATOMIC_RELAXED);
    return result;
}

static CUresult ended(CUresult result) {
    uint32_t old = __atomic_load_n(&captures, __ATOMIC_RELAXED);
    while (old && !__atomic_compare_exchange_n(&captures, &old, old - 1, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return result;
}

/* A stream whose state cannot be told (the legacy stream beside a capture) is left alone too. */
bool capture_on(CUstream stream, bool per_thread) {
    if (!__atomic_load_n(&captures, __ATOMIC_RELAXED)) return false;
    int status = 0;
    typedef CUresult (*is_capturing)(CUstream, int *);
    CUresult result = per_thread ? DRIVER(is_capturing, cuStreamIsCapturing_ptsz)(stream, &status)
                                 : DRIVER(is_capturing, cuStreamIsCapturing)(stream, &status);
    return result != CUDA_SUCCESS || status != 0;
}

int capture_relax(void) {
    int mode = CAPTURE_MODE_RELAXED;
    if (!__atomic_load_n(&captures, __ATOMIC_RELAXED)) return -1;
    return DRIVER(CUresult(*)(int *), cuThreadExchangeStreamCaptureMode)(&mode) == CUDA_SUCCESS ? mode : -1;
}

void capture_restore(int mode) {
    if (mode >= 0) DRIVER(CUresult(*)(int *), cuThreadExchangeStreamCaptureMode)(&mode);
}

#define COUNTED(counted, name, parameters, ...)                                         \
    EXPORT CUresult name parameters { return counted(REAL(name)(__VA_ARGS__)); }        \
    EXPORT CUresult name##_ptsz parameters { return counted(REAL(name##_ptsz)(__VA_ARGS__)); }

COUNTED(begun, cuStreamBeginCapture, (CUstream stream), stream)
COUNTED(begun, cuStreamBeginCapture_v2, (CUstream stream, int mode), stream, mode)
COUNTED(begun, cuStreamBeginCaptureToGraph,
        (CUstream stream, CUgraph graph, const void *nodes, const void *edges, size_t count, int mode), stream, graph,
        nodes, edges, count, mode)
COUNTED(begun, cuStreamBeginRecaptureToGraph,
        (CUstream stream, int mode, CUgraph graph, void *callback, void *data), stream, mode, graph, callback, data)
COUNTED(begun, cuStreamBeginCaptureToCig, (CUstream stream, void *parameters), stream, parameters)
COUNTED(ended, cuStreamEndCapture, (CUstream stream, CUgraph *graph), stream, graph)
COUNTED(ended, cuStreamEndCaptureToCig, (CUstream stream), stream)
