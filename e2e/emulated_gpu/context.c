/* Contexts. The first one on a device makes the process a client of it; the last one ends that. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>

#define STACK_DEPTH 32

static _Thread_local CUcontext stack[STACK_DEPTH];
static _Thread_local int depth;

uint32_t sm_percent_of_process(void) {
    return mps.attached ? mps.sm_percent : 100;
}

CUresult current(CUcontext *context) {
    if (driver_ready() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
    if (depth == 0 || !stack[depth - 1]) return CUDA_ERROR_INVALID_CONTEXT;
    *context = stack[depth - 1];
    return (*context)->destroyed ? CUDA_ERROR_CONTEXT_IS_DESTROYED : CUDA_SUCCESS;
}

/* Errors that stick to the process: its MPS daemon is gone, or a fault hit every MPS client of the device. */
CUresult healthy(struct device *d) {
    CUresult rc = mps_health();
    if (rc != CUDA_SUCCESS) return rc;
    if (mps.attached && d->gpu.state->fault_count != d->fault_seen) return CUDA_ERROR_LAUNCH_FAILED;
    return CUDA_SUCCESS;
}

static bool somebody_else(struct device *d) {
    for (int i = 0; i < MAX_CLIENTS; i++)
        if (d->gpu.state->clients[i].in_use && client_alive(&d->gpu, i, NULL)) return true;
    return mps_owner_alive(&d->gpu, NULL);
}

static CUresult may_use(struct device *d) {
    uint32_t mode = d->gpu.state->compute_mode;
    if (mode == MODE_PROHIBITED) return CUDA_ERROR_DEVICE_UNAVAILABLE;
    if (mode == MODE_EXCLUSIVE_PROCESS && !mps.attached && somebody_else(d)) return CUDA_ERROR_DEVICE_UNAVAILABLE;
    return CUDA_SUCCESS;
}

static CUresult join(struct device *d) {
    CUresult rc = healthy(d);
    if (rc != CUDA_SUCCESS || d->contexts) return rc;
    gpu_lock(&d->gpu);
    rc = may_use(d);
    if (rc == CUDA_SUCCESS && client_join(&d->gpu, sm_percent_of_process(), mps.attached) != 0)
        rc = CUDA_ERROR_DEVICE_UNAVAILABLE;
    if (rc == CUDA_SUCCESS && !memory_take(&d->gpu, d->gpu.state->context_bytes, mps.memory_limit)) {
        client_leave(&d->gpu);
        rc = CUDA_ERROR_OUT_OF_MEMORY;
    }
    gpu_unlock(&d->gpu);
    return rc;
}

static CUresult context_new(struct device *d, unsigned int flags, bool primary, CUcontext *out) {
    CUresult rc = join(d);
    if (rc != CUDA_SUCCESS) return rc;
    CUcontext c = calloc(1, sizeof *c);
    if (!c) return CUDA_ERROR_OUT_OF_MEMORY;
    c->device = d;
    c->flags = flags;
    c->primary = primary;
    c->api_version = 3020;
    c->legacy.context = c;
    d->contexts++;
    *out = c;
    return CUDA_SUCCESS;
}

/* The memory of a context object is kept: a stale handle must be told from a live one, not crash. */
static void context_end(CUcontext c) {
    struct device *d = c->device;
    free_all(c);
    c->destroyed = true;
    if (--d->contexts) return;
    gpu_lock(&d->gpu);
    client_leave(&d->gpu);
    gpu_unlock(&d->gpu);
}

static CUresult push(CUcontext c) {
    if (depth == STACK_DEPTH) return CUDA_ERROR_INVALID_VALUE;
    stack[depth++] = c;
    return CUDA_SUCCESS;
}

CUresult context_beside(CUdevice device, CUcontext *context) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc != CUDA_SUCCESS) return rc;
    pthread_mutex_lock(&driver_mutex);
    rc = context_new(d, 0, false, context);
    pthread_mutex_unlock(&driver_mutex);
    return rc;
}

API CUresult cuCtxCreate_v2(CUcontext *context, unsigned int flags, CUdevice device) {
    CUresult rc = context_beside(device, context);
    if (rc != CUDA_SUCCESS) return rc;
    (*context)->flags = flags;
    return push(*context);
}

API CUresult cuCtxCreate_v3(CUcontext *context, void *affinity, int n, unsigned int flags, CUdevice device) {
    (void)affinity;
    return n ? CUDA_ERROR_NOT_SUPPORTED : cuCtxCreate_v2(context, flags, device);
}

API CUresult cuCtxCreate_v4(CUcontext *context, void *parameters, unsigned int flags, CUdevice device) {
    (void)parameters;
    return cuCtxCreate_v2(context, flags, device);
}

API CUresult cuCtxDestroy_v2(CUcontext context) {
    if (!context || context->destroyed || context->primary) return CUDA_ERROR_INVALID_CONTEXT;
    pthread_mutex_lock(&driver_mutex);
    context_end(context);
    pthread_mutex_unlock(&driver_mutex);
    if (depth && stack[depth - 1] == context) depth--;
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc != CUDA_SUCCESS) return rc;
    pthread_mutex_lock(&driver_mutex);
    if (!d->primary) rc = context_new(d, 0, true, &d->primary);
    if (rc == CUDA_SUCCESS) {
        d->primary_references++;
        *context = d->primary;
    }
    pthread_mutex_unlock(&driver_mutex);
    return rc;
}

static CUresult primary_drop(CUdevice device, bool all) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc != CUDA_SUCCESS) return rc;
    pthread_mutex_lock(&driver_mutex);
    if (!d->primary) rc = all ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    else if (all || --d->primary_references == 0) {
        context_end(d->primary);
        d->primary = NULL;
        d->primary_references = 0;
    }
    pthread_mutex_unlock(&driver_mutex);
    return rc;
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    return primary_drop(device, false);
}

API CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) {
    return primary_drop(device, true);
}

API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc != CUDA_SUCCESS) return rc;
    *flags = d->primary ? d->primary->flags : 0;
    *active = d->primary != NULL;
    return CUDA_SUCCESS;
}

API CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS && d->primary) d->primary->flags = flags;
    return rc;
}

API CUresult cuCtxSetCurrent(CUcontext context) {
    if (driver_ready() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
    if (context && context->destroyed) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    if (depth) depth--;
    return context ? push(context) : CUDA_SUCCESS;
}

API CUresult cuCtxGetCurrent(CUcontext *context) {
    if (driver_ready() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
    *context = depth ? stack[depth - 1] : NULL;
    return CUDA_SUCCESS;
}

API CUresult cuCtxPushCurrent_v2(CUcontext context) {
    if (driver_ready() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
    return context && !context->destroyed ? push(context) : CUDA_ERROR_INVALID_CONTEXT;
}

API CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    CUcontext top = stack[--depth];
    if (context) *context = top;
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetDevice(CUdevice *device) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc == CUDA_SUCCESS) *device = ordinal_of(c->device);
    return rc;
}

API CUresult cuCtxGetFlags(unsigned int *flags) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc == CUDA_SUCCESS) *flags = c->flags;
    return rc;
}

API CUresult cuCtxGetApiVersion(CUcontext context, unsigned int *version) {
    if (!context || context->destroyed) return CUDA_ERROR_INVALID_CONTEXT;
    *version = context->api_version;
    return CUDA_SUCCESS;
}

static CUresult wait_context(CUcontext c) {
    if (context_captures(c)) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    for (struct stream *s = c->streams; s; s = s->next) {
        CUresult rc = wait_mark(c->device, &s->mark);
        if (rc != CUDA_SUCCESS) return rc;
    }
    return wait_mark(c->device, &c->legacy.mark);
}

API CUresult cuCtxSynchronize(void) {
    CUcontext c;
    CUresult rc = current(&c);
    return rc == CUDA_SUCCESS ? wait_context(c) : rc;
}

API CUresult cuCtxSynchronize_v2(CUcontext context) {
    if (driver_ready() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
    return context && !context->destroyed ? wait_context(context) : CUDA_ERROR_INVALID_CONTEXT;
}

API CUresult cuCtxGetStreamPriorityRange(int *least, int *greatest) {
    if (least) *least = 0;
    if (greatest) *greatest = -5;
    return CUDA_SUCCESS;
}

API CUresult cuCtxGetLimit(size_t *value, int limit) {
    (void)limit;
    *value = 1024;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetLimit(int limit, size_t value) {
    (void)limit;
    (void)value;
    return CUDA_SUCCESS;
}

API CUresult cuCtxSetCacheConfig(int config) {
    (void)config;
    return CUDA_SUCCESS;
}
