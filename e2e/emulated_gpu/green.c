/* Green contexts: a part of the device's SMs for streams of their own. Streams of one keep its share of the client's. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>

#define RESOURCE_SM 1

typedef struct {
    int type;
    unsigned char padding[92];
    union {
        struct {
            unsigned int smCount;
        } sm;
        unsigned char oversize[48];
    };
} CUdevResource;

typedef struct green_description {
    unsigned int sms;
} *CUdevResourceDesc;
typedef CUcontext CUgreenCtx;

API CUresult cuCtxDestroy_v2(CUcontext context);

static unsigned int at_least(unsigned int sms, unsigned int step) { return (sms + step - 1) / step * step; }

API CUresult cuDeviceGetDevResource(CUdevice device, CUdevResource *resource, int type) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc != CUDA_SUCCESS || type != RESOURCE_SM) return rc == CUDA_SUCCESS ? CUDA_ERROR_NOT_SUPPORTED : rc;
    *resource = (CUdevResource){.type = type, .sm = {sm_count_of(d->gpu.state, sm_percent_of_process())}};
    return CUDA_SUCCESS;
}

API CUresult cuDevSmResourceSplitByCount(CUdevResource *result, unsigned int *groups, const CUdevResource *input,
                                         CUdevResource *remaining, unsigned int flags, unsigned int least) {
    (void)flags;
    unsigned int each = at_least(least, 2), possible = each ? input->sm.smCount / each : 0;
    if (!each || input->type != RESOURCE_SM) return CUDA_ERROR_INVALID_VALUE;
    if (!result || *groups > possible) *groups = possible;
    for (unsigned int i = 0; result && i < *groups; i++)
        result[i] = (CUdevResource){.type = RESOURCE_SM, .sm = {each}};
    if (remaining) *remaining = (CUdevResource){.type = RESOURCE_SM, .sm = {input->sm.smCount - *groups * each}};
    return CUDA_SUCCESS;
}

API CUresult cuDevResourceGenerateDesc(CUdevResourceDesc *description, const CUdevResource *resources, unsigned int n) {
    *description = calloc(1, sizeof **description);
    if (!*description) return CUDA_ERROR_OUT_OF_MEMORY;
    for (unsigned int i = 0; i < n; i++) (*description)->sms += resources[i].sm.smCount;
    return CUDA_SUCCESS;
}

API CUresult cuGreenCtxCreate(CUgreenCtx *green, CUdevResourceDesc description, CUdevice device, unsigned int flags) {
    (void)flags;
    CUresult rc = context_beside(device, green);
    if (rc == CUDA_SUCCESS) (*green)->sms = description->sms;
    return rc;
}

API CUresult cuGreenCtxDestroy(CUgreenCtx green) {
    return cuCtxDestroy_v2(green);
}

API CUresult cuCtxFromGreenCtx(CUcontext *context, CUgreenCtx green) {
    *context = green;
    return CUDA_SUCCESS;
}

API CUresult cuGreenCtxGetDevResource(CUgreenCtx green, CUdevResource *resource, int type) {
    if (type != RESOURCE_SM) return CUDA_ERROR_NOT_SUPPORTED;
    *resource = (CUdevResource){.type = type, .sm = {green->sms}};
    return CUDA_SUCCESS;
}

API CUresult cuGreenCtxStreamCreate(CUstream *stream, CUgreenCtx green, unsigned int flags, int priority) {
    if (!(flags & CU_STREAM_NON_BLOCKING)) return CUDA_ERROR_INVALID_VALUE;
    *stream = stream_new(green, flags, priority);
    return *stream ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuStreamGetGreenCtx(CUstream stream, CUgreenCtx *green) {
    *green = stream->context->sms ? stream->context : NULL;
    return CUDA_SUCCESS;
}
