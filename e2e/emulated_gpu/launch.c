/* Launches: every form ends in one reservation on the device's timeline. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdio.h>

/* A kernel of batch b has b times the blocks, so it can use b times the SMs before it stops gaining:
 *   duration = fixed + work * b / min(share, min(1, plateau * b))
 * Example: work 30 us, plateau 30 %: at batch 1 100 us on 30 % or more, 300 us on 10 %; at batch 4 120 us on 100 %. */
uint64_t duration_of(const struct function *f, uint32_t batch, double share) {
    double plateau = f->plateau_percent / 100.0 * batch;
    if (plateau > 1.0) plateau = 1.0;
    if (plateau < share) share = plateau;
    return (uint64_t)((f->fixed_us + f->work_us * batch / share) * 1000.0);
}

static CUresult injected(struct device *d) {
    uint32_t rc = d->gpu.state->fail_next;
    return rc ? (CUresult)__atomic_exchange_n(&d->gpu.state->fail_next, 0u, __ATOMIC_ACQ_REL) : CUDA_SUCCESS;
}

/* A client can be QUEUE_DEPTH launches ahead of the device; then its launches wait, as on a real driver. */
static void wait_for_room(struct device *d) {
    uint64_t before = d->launched < QUEUE_DEPTH ? 0 : d->pending[d->launched % QUEUE_DEPTH];
    if (before) wait_until(&d->gpu, before, &d->stop);
}

CUresult launch_now(CUstream stream, CUfunction f, uint32_t batch) {
    struct device *d = stream->context->device;
    CUresult rc = healthy(d);
    if (rc == CUDA_SUCCESS) rc = injected(d);
    if (rc != CUDA_SUCCESS) return rc;
    wait_for_room(d);
    gpu_lock(&d->gpu);
    const struct gpu_state *s = d->gpu.state;
    unsigned int sms = s->clients[d->gpu.slot].sm_count, own = stream->context->sms;
    double share = (double)(own && own < sms ? own : sms) / s->sm_count;
    uint64_t seq = reserve(&d->gpu, f->name, ready_after(stream, now_ns()), duration_of(f, batch, share));
    d->pending[d->launched++ % QUEUE_DEPTH] = seq;
    stream->mark.seq = seq;
    gpu_unlock(&d->gpu);
    return mps_health(); /* the daemon may have died while this launch waited for room */
}

/* The double's kernels take one parameter: the batch. */
uint32_t batch_of(void **parameters) {
    uint32_t batch = parameters && parameters[0] ? *(const uint32_t *)parameters[0] : 1;
    return batch ? batch : 1;
}

static CUresult launch(CUfunction f, CUstream handle, void **parameters, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc != CUDA_SUCCESS) return rc;
    if (!f) return CUDA_ERROR_INVALID_HANDLE;
    uint32_t batch = batch_of(parameters);
    return s->capture ? capture_kernel(s, f, batch) : launch_now(s, f, batch);
}

#define GRID unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz, \
             unsigned int shared
#define USED_GRID (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared

API CUresult cuLaunchKernel(CUfunction f, GRID, CUstream stream, void **parameters, void **extra) {
    USED_GRID, (void)extra;
    return launch(f, stream, parameters, false);
}

API CUresult cuLaunchKernel_ptsz(CUfunction f, GRID, CUstream stream, void **parameters, void **extra) {
    USED_GRID, (void)extra;
    return launch(f, stream, parameters, true);
}

API CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **parameters, void **extra) {
    (void)extra;
    return config ? launch(f, config->hStream, parameters, false) : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig *config, CUfunction f, void **parameters, void **extra) {
    (void)extra;
    return config ? launch(f, config->hStream, parameters, true) : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuLaunchCooperativeKernel(CUfunction f, GRID, CUstream stream, void **parameters) {
    USED_GRID;
    return launch(f, stream, parameters, false);
}

API CUresult cuLaunchCooperativeKernel_ptsz(CUfunction f, GRID, CUstream stream, void **parameters) {
    USED_GRID;
    return launch(f, stream, parameters, true);
}

API CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *list, unsigned int n, unsigned int flags) {
    (void)flags;
    CUresult rc = CUDA_SUCCESS;
    for (unsigned int i = 0; i < n && rc == CUDA_SUCCESS; i++)
        rc = launch(list[i].func, list[i].hStream, list[i].kernelParams, false);
    return rc;
}

API CUresult cuLaunch(CUfunction f) {
    return launch(f, NULL, NULL, false);
}

API CUresult cuLaunchGrid(CUfunction f, int width, int height) {
    (void)width, (void)height;
    return launch(f, NULL, NULL, false);
}

API CUresult cuLaunchGridAsync(CUfunction f, int width, int height, CUstream stream) {
    (void)width, (void)height;
    return launch(f, stream, NULL, false);
}
