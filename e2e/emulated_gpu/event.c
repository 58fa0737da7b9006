/* Events: the device time at which a stream got to a point. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>

API CUresult cuEventCreate(CUevent *event, unsigned int flags) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc != CUDA_SUCCESS) return rc;
    *event = calloc(1, sizeof **event);
    if (!*event) return CUDA_ERROR_OUT_OF_MEMORY;
    (*event)->context = c;
    (*event)->flags = flags;
    return CUDA_SUCCESS;
}

API CUresult cuEventDestroy_v2(CUevent event) {
    free(event);
    return CUDA_SUCCESS;
}

static CUresult record(CUevent event, CUstream handle, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc == CUDA_SUCCESS) rc = healthy(s->context->device);
    if (rc != CUDA_SUCCESS) return rc;
    if (s->context != event->context) return CUDA_ERROR_INVALID_HANDLE;
    event->capture = s->capture;
    event->recorded = true;
    event->mark = s->mark;
    event->mark.until_ns = ready_after(s, 0);
    event->at_ns = now_ns();
    event->end_foreseen_ns = end_of(&s->context->device->gpu, s->mark.seq);
    return CUDA_SUCCESS;
}

API CUresult cuEventRecord(CUevent event, CUstream stream) {
    return record(event, stream, false);
}

API CUresult cuEventRecord_ptsz(CUevent event, CUstream stream) {
    return record(event, stream, true);
}

API CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int flags) {
    (void)flags;
    return record(event, stream, false);
}

API CUresult cuEventRecordWithFlags_ptsz(CUevent event, CUstream stream, unsigned int flags) {
    (void)flags;
    return record(event, stream, true);
}

API CUresult cuEventQuery(CUevent event) {
    if (event->capture) return CUDA_ERROR_CAPTURED_EVENT;
    CUresult rc = unsafe_call();
    if (rc == CUDA_SUCCESS) rc = healthy(event->context->device);
    if (rc != CUDA_SUCCESS) return rc;
    return mark_done(event->context->device, &event->mark) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API CUresult cuEventSynchronize(CUevent event) {
    if (event->capture) return CUDA_ERROR_CAPTURED_EVENT;
    CUresult rc = unsafe_call();
    return rc == CUDA_SUCCESS ? wait_mark(event->context->device, &event->mark) : rc;
}

/* The stream was idle: the moment of recording. Otherwise the end of the work before it, which a reservation that
 * moved may have changed since. */
static uint64_t time_of(CUevent event) {
    uint64_t at = event->at_ns, end = 0;
    if (event->mark.seq) end = end_of(&event->context->device->gpu, event->mark.seq);
    if (!end) end = event->end_foreseen_ns;
    if (end > at) at = end;
    return event->mark.until_ns > at ? event->mark.until_ns : at;
}

API CUresult cuEventElapsedTime(float *ms, CUevent start, CUevent end) {
    if (!start->recorded || !end->recorded) return CUDA_ERROR_INVALID_HANDLE;
    if ((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) return CUDA_ERROR_INVALID_HANDLE;
    if (start->capture || end->capture) return CUDA_ERROR_CAPTURED_EVENT;
    struct device *d = start->context->device;
    if (!mark_done(d, &start->mark) || !mark_done(d, &end->mark)) return CUDA_ERROR_NOT_READY;
    *ms = (float)(((double)time_of(end) - (double)time_of(start)) / 1e6);
    return CUDA_SUCCESS;
}
