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

EXPORT CUresult cuStreamBeginCapture(CUstream stream) { return begun(REAL(cuStreamBeginCapture)(stream)); }
EXPORT CUresult cuStreamBeginCapture_ptsz(CUstream stream) { return begun(REAL(cuStreamBeginCapture_ptsz)(stream)); }
EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, int mode) {
    return begun(REAL(cuStreamBeginCapture_v2)(stream, mode));
}
EXPORT CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, int mode) {
    return begun(REAL(cuStreamBeginCapture_v2_ptsz)(stream, mode));
}
EXPORT CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const void *nodes, const void *edges,
                                            size_t count, int mode) {
    return begun(REAL(cuStreamBeginCaptureToGraph)(stream, graph, nodes, edges, count, mode));
}
EXPORT CUresult cuStreamBeginCaptureToGraph_ptsz(CUstream stream, CUgraph graph, const void *nodes, const void *edges,
                                                 size_t count, int mode) {
    return begun(REAL(cuStreamBeginCaptureToGraph_ptsz)(stream, graph, nodes, edges, count, mode));
}
EXPORT CUresult cuStreamBeginRecaptureToGraph(CUstream stream, int mode, CUgraph graph, void *callback, void *data) {
    return begun(REAL(cuStreamBeginRecaptureToGraph)(stream, mode, graph, callback, data));
}
EXPORT CUresult cuStreamBeginRecaptureToGraph_ptsz(CUstream stream, int mode, CUgraph graph, void *callback,
                                                   void *data) {
    return begun(REAL(cuStreamBeginRecaptureToGraph_ptsz)(stream, mode, graph, callback, data));
}
EXPORT CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    return ended(REAL(cuStreamEndCapture)(stream, graph));
}
EXPORT CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph *graph) {
    return ended(REAL(cuStreamEndCapture_ptsz)(stream, graph));
}
/* Into a graphics command list. */
EXPORT CUresult cuStreamBeginCaptureToCig(CUstream stream, void *parameters) {
    return begun(REAL(cuStreamBeginCaptureToCig)(stream, parameters));
}
EXPORT CUresult cuStreamBeginCaptureToCig_ptsz(CUstream stream, void *parameters) {
    return begun(REAL(cuStreamBeginCaptureToCig_ptsz)(stream, parameters));
}
EXPORT CUresult cuStreamEndCaptureToCig(CUstream stream) { return ended(REAL(cuStreamEndCaptureToCig)(stream)); }
EXPORT CUresult cuStreamEndCaptureToCig_ptsz(CUstream stream) {
    return ended(REAL(cuStreamEndCaptureToCig_ptsz)(stream));
}
