/* Stream capture: launches become graph nodes, and much of the rest of the API is forbidden meanwhile. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>

static _Thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
static uint64_t begun;
static struct capture *global_capture; /* the latest one in global mode: one is enough to forbid */

CUresult unsafe_call(void) {
    struct capture *g = __atomic_load_n(&global_capture, __ATOMIC_ACQUIRE);
    if (!g || thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_SUCCESS;
    if (thread_mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && !pthread_equal(g->thread, pthread_self())) return CUDA_SUCCESS;
    g->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult forbidden_while_capturing(CUstream stream) {
    if (!stream->capture) return CUDA_SUCCESS;
    stream->capture->invalid = true;
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

bool context_captures(CUcontext context) {
    bool found = false;
    for (struct stream *s = context->streams; s; s = s->next)
        if (s->capture) {
            s->capture->invalid = true;
            found = true;
        }
    return found;
}

CUresult capture_kernel(CUstream stream, CUfunction f, uint32_t batch) {
    if (stream->capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    graph_add(stream->capture->graph, f, batch);
    return CUDA_SUCCESS;
}

static CUresult begin(CUstream handle, CUstreamCaptureMode mode, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc != CUDA_SUCCESS) return rc;
    if (s == &s->context->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (s->capture) return CUDA_ERROR_INVALID_VALUE;
    struct capture *c = calloc(1, sizeof *c);
    if (!c || !(c->graph = graph_new())) {
        free(c);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    c->origin = s;
    c->mode = mode;
    c->thread = pthread_self();
    c->id = __atomic_add_fetch(&begun, 1, __ATOMIC_RELAXED);
    s->capture = c;
    if (mode == CU_STREAM_CAPTURE_MODE_GLOBAL) __atomic_store_n(&global_capture, c, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
}

API CUresult cuStreamBeginCapture(CUstream stream) {
    return begin(stream, CU_STREAM_CAPTURE_MODE_GLOBAL, false);
}

API CUresult cuStreamBeginCapture_ptsz(CUstream stream) {
    return begin(stream, CU_STREAM_CAPTURE_MODE_GLOBAL, true);
}

API CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode) {
    return begin(stream, mode, false);
}

API CUresult cuStreamBeginCapture_v2_ptsz(CUstream stream, CUstreamCaptureMode mode) {
    return begin(stream, mode, true);
}

/* The capture object stays allocated: events recorded under it still point to it. */
static CUresult end(CUstream handle, CUgraph *graph, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc != CUDA_SUCCESS) return rc;
    struct capture *c = s->capture;
    *graph = NULL;
    if (!c) return CUDA_ERROR_INVALID_VALUE;
    if (c->origin != s) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    for (struct stream *t = s->context->streams; t; t = t->next)
        if (t->capture == c) t->capture = NULL;
    if (global_capture == c) __atomic_store_n(&global_capture, NULL, __ATOMIC_RELEASE);
    if (c->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    *graph = c->graph;
    return CUDA_SUCCESS;
}

API CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    return end(stream, graph, false);
}

API CUresult cuStreamEndCapture_ptsz(CUstream stream, CUgraph *graph) {
    return end(stream, graph, true);
}

static CUresult info(CUstream handle, bool ptsz, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc != CUDA_SUCCESS) return rc;
    struct capture *c = s->capture;
    *status = !c ? CU_STREAM_CAPTURE_STATUS_NONE : c->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    if (c && id) *id = c->id;
    if (c && graph) *graph = c->graph;
    return CUDA_SUCCESS;
}

API CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    return info(stream, false, status, NULL, NULL);
}

API CUresult cuStreamIsCapturing_ptsz(CUstream stream, CUstreamCaptureStatus *status) {
    return info(stream, true, status, NULL, NULL);
}

API CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                       const CUgraphNode **dependencies, size_t *n) {
    if (dependencies) *dependencies = NULL;
    if (n) *n = 0;
    return info(stream, false, status, id, graph);
}

API CUresult cuStreamGetCaptureInfo_v2_ptsz(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                            CUgraph *graph, const CUgraphNode **dependencies, size_t *n) {
    if (dependencies) *dependencies = NULL;
    if (n) *n = 0;
    return info(stream, true, status, id, graph);
}

API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    CUstreamCaptureMode before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return CUDA_SUCCESS;
}
