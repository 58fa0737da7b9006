/* Streams: where work stands in order. What runs on the device is in timeline.c. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>

#define THREAD_CONTEXTS 8

static _Thread_local struct stream *per_thread[THREAD_CONTEXTS];

struct stream *stream_new(CUcontext context, unsigned int flags, int priority) {
    struct stream *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->context = context;
    s->flags = flags;
    s->priority = priority;
    pthread_mutex_lock(&driver_mutex);
    s->next = context->streams;
    context->streams = s;
    pthread_mutex_unlock(&driver_mutex);
    return s;
}

static CUresult thread_stream(CUcontext context, CUstream *stream) {
    for (int i = 0; i < THREAD_CONTEXTS; i++) {
        if (!per_thread[i]) per_thread[i] = stream_new(context, 0, 0);
        if (!per_thread[i]) return CUDA_ERROR_OUT_OF_MEMORY;
        if (per_thread[i]->context != context) continue;
        *stream = per_thread[i];
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* NULL means the legacy stream, or this thread's own one for the `_ptsz` names. */
CUresult stream_of(CUstream handle, bool ptsz, CUstream *stream) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc != CUDA_SUCCESS) return rc;
    if (handle == CU_STREAM_PER_THREAD || (!handle && ptsz)) return thread_stream(c, stream);
    *stream = !handle || handle == CU_STREAM_LEGACY ? &c->legacy : handle;
    return (*stream)->context->destroyed ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_SUCCESS;
}

static void later(uint64_t *at, uint64_t other) {
    if (other > *at) *at = other;
}

/* The legacy stream waits for every blocking stream and they for it. Kernels need no waiting for one another here:
 * those of one client are in one lane, in the order of their launches. */
uint64_t ready_after(CUstream stream, uint64_t now) {
    CUcontext c = stream->context;
    uint64_t at = now;
    later(&at, stream->mark.until_ns);
    if (stream->flags & CU_STREAM_NON_BLOCKING) return at;
    later(&at, c->legacy.mark.until_ns);
    if (stream == &c->legacy)
        for (struct stream *s = c->streams; s; s = s->next)
            if (!(s->flags & CU_STREAM_NON_BLOCKING)) later(&at, s->mark.until_ns);
    return at;
}

bool mark_done(const struct device *d, const struct mark *mark) {
    uint64_t now = now_ns();
    return mark->until_ns <= now && (!mark->seq || end_of(&d->gpu, mark->seq) <= now);
}

CUresult wait_mark(struct device *d, const struct mark *mark) {
    struct mark m = *mark;
    if (m.seq) wait_until(&d->gpu, m.seq, &d->stop);
    wait_time(m.until_ns, &d->stop);
    pools_release(d);
    return healthy(d);
}

CUresult sync_stream(CUstream stream) {
    CUresult rc = forbidden_while_capturing(stream);
    return rc == CUDA_SUCCESS ? wait_mark(stream->context->device, &stream->mark) : rc;
}

API CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc != CUDA_SUCCESS) return rc;
    if (flags & ~CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    *stream = stream_new(c, flags, priority);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
    return cuStreamCreateWithPriority(stream, flags, 0);
}

API CUresult cuStreamDestroy_v2(CUstream stream) {
    CUcontext c = stream->context;
    pthread_mutex_lock(&driver_mutex);
    for (struct stream **s = &c->streams; *s; s = &(*s)->next)
        if (*s == stream) {
            *s = stream->next;
            break;
        }
    pthread_mutex_unlock(&driver_mutex);
    later(&c->legacy.mark.until_ns, stream->mark.until_ns); /* its work goes on; a context sync still waits for it */
    later(&c->legacy.mark.seq, stream->mark.seq);
    free(stream);
    return CUDA_SUCCESS;
}

static CUresult synchronize(CUstream handle, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    return rc == CUDA_SUCCESS ? sync_stream(s) : rc;
}

API CUresult cuStreamSynchronize(CUstream stream) {
    return synchronize(stream, false);
}

API CUresult cuStreamSynchronize_ptsz(CUstream stream) {
    return synchronize(stream, true);
}

static CUresult query(CUstream handle, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc == CUDA_SUCCESS) rc = forbidden_while_capturing(s);
    if (rc == CUDA_SUCCESS) rc = unsafe_call();
    if (rc == CUDA_SUCCESS) rc = healthy(s->context->device);
    if (rc != CUDA_SUCCESS) return rc;
    return mark_done(s->context->device, &s->mark) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API CUresult cuStreamQuery(CUstream stream) {
    return query(stream, false);
}

API CUresult cuStreamQuery_ptsz(CUstream stream) {
    return query(stream, true);
}

API CUresult cuStreamGetFlags(CUstream handle, unsigned int *flags) {
    CUstream s;
    CUresult rc = stream_of(handle, false, &s);
    if (rc == CUDA_SUCCESS) *flags = s->flags;
    return rc;
}

API CUresult cuStreamGetPriority(CUstream handle, int *priority) {
    CUstream s;
    CUresult rc = stream_of(handle, false, &s);
    if (rc == CUDA_SUCCESS) *priority = s->priority;
    return rc;
}

API CUresult cuStreamGetCtx(CUstream handle, CUcontext *context) {
    CUstream s;
    CUresult rc = stream_of(handle, false, &s);
    if (rc == CUDA_SUCCESS) *context = s->context;
    return rc;
}

static CUresult wait_event(CUstream handle, CUevent event, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc != CUDA_SUCCESS) return rc;
    if (event->capture) { /* the stream joins the capture that the event is part of */
        s->capture = event->capture;
        return CUDA_SUCCESS;
    }
    later(&s->mark.until_ns, event->mark.until_ns);
    later(&s->mark.seq, event->mark.seq);
    return CUDA_SUCCESS;
}

API CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags) {
    (void)flags;
    return wait_event(stream, event, false);
}

API CUresult cuStreamWaitEvent_ptsz(CUstream stream, CUevent event, unsigned int flags) {
    (void)flags;
    return wait_event(stream, event, true);
}
