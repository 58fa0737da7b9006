/* Memory pools of stream-ordered allocations: they take memory of the device in chunks and keep it back until a
 * synchronisation, as far as it is above their release threshold. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>

#define CHUNK (32ull << 20)
#define LEAST_CHUNK (2ull << 20)

struct pool {
    struct pool *next;
    CUcontext context; /* what it has reserved is this one's; NULL: nothing yet */
    uint64_t used, reserved, threshold;
    uint64_t used_high, reserved_high;
};

enum { THRESHOLD = 4, RESERVED, RESERVED_HIGH, USED, USED_HIGH };

static struct pool default_pools[MAX_GPUS];
static struct pool *chosen[MAX_GPUS]; /* by cuDeviceSetMemPool */
static struct pool *created;

static uint64_t up(uint64_t bytes, uint64_t to) { return (bytes + to - 1) / to * to; }

/* With driver_mutex held. */
static CUresult take(struct pool *p, CUcontext c, uint64_t bytes) {
    uint64_t more = p->used + bytes > p->reserved ? p->used + bytes - p->reserved : 0;
    CUresult rc = CUDA_SUCCESS;
    if (more) {
        uint64_t grown = up(more, CHUNK);
        rc = memory_charge(c, grown);
        if (rc == CUDA_ERROR_OUT_OF_MEMORY) rc = memory_charge(c, grown = up(more, LEAST_CHUNK));
        if (rc != CUDA_SUCCESS) return rc;
        p->reserved += grown;
        p->context = c;
    }
    p->used += bytes;
    if (p->used > p->used_high) p->used_high = p->used;
    if (p->reserved > p->reserved_high) p->reserved_high = p->reserved;
    return rc;
}

void pool_give(CUmemoryPool p, uint64_t bytes) { p->used -= bytes; }

static void trim(struct pool *p, uint64_t keep) {
    uint64_t least = up(p->used > keep ? p->used : keep, LEAST_CHUNK);
    if (!p->context || p->reserved <= least) return;
    memory_refund(p->context, p->reserved - least);
    p->reserved = least;
}

void pools_release(struct device *device) {
    CUdevice ordinal = ordinal_of(device);
    pthread_mutex_lock(&driver_mutex);
    trim(&default_pools[ordinal], default_pools[ordinal].threshold);
    for (struct pool *p = created; p; p = p->next)
        if (p->context && p->context->device == device) trim(p, p->threshold);
    pthread_mutex_unlock(&driver_mutex);
}

static uint64_t end(struct pool *p, const struct context *context) {
    uint64_t bytes = p->context == context ? p->reserved : 0;
    if (p->context == context) {
        p->used = p->reserved = 0;
        p->context = NULL;
    }
    return bytes;
}

/* The context ends; returns what its pools and graphs had of the device. */
uint64_t pools_end(CUcontext context) {
    struct device *d = context->device;
    uint64_t bytes = d->graph_reserved + end(&default_pools[ordinal_of(d)], context);
    d->graph_used = d->graph_reserved = 0;
    for (struct pool *p = created; p; p = p->next) bytes += end(p, context);
    return bytes;
}

static CUresult allocate(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream handle, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc != CUDA_SUCCESS) return rc;
    CUcontext c = s->context;
    if (!address || !bytes) return CUDA_ERROR_INVALID_VALUE;
    if (s->capture) return graph_add_alloc(s->capture->graph, c, bytes, address);
    CUdevice device = ordinal_of(c->device);
    if (!pool) pool = chosen[device] ? chosen[device] : &default_pools[device];
    pthread_mutex_lock(&driver_mutex);
    rc = take(pool, c, bytes);
    pthread_mutex_unlock(&driver_mutex);
    return rc == CUDA_SUCCESS ? address_new(c, bytes, (struct allocation){.pool = pool}, address) : rc;
}

static CUresult release(CUdeviceptr address, CUstream handle, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc != CUDA_SUCCESS) return rc;
    return s->capture ? graph_add_free(s->capture->graph, address) : address_free(address);
}

API CUresult cuMemAllocAsync(CUdeviceptr *address, size_t bytes, CUstream stream) {
    return allocate(address, bytes, NULL, stream, false);
}

API CUresult cuMemAllocAsync_ptsz(CUdeviceptr *address, size_t bytes, CUstream stream) {
    return allocate(address, bytes, NULL, stream, true);
}

API CUresult cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return pool ? allocate(address, bytes, pool, stream, false) : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *address, size_t bytes, CUmemoryPool pool, CUstream stream) {
    return pool ? allocate(address, bytes, pool, stream, true) : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    return release(address, stream, false);
}

API CUresult cuMemFreeAsync_ptsz(CUdeviceptr address, CUstream stream) {
    return release(address, stream, true);
}

API CUresult cuMemPoolCreate(CUmemoryPool *pool, const void *properties) {
    (void)properties;
    *pool = calloc(1, sizeof **pool);
    if (!*pool) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&driver_mutex);
    (*pool)->next = created;
    created = *pool;
    pthread_mutex_unlock(&driver_mutex);
    return CUDA_SUCCESS;
}

/* A pool with allocations goes with the last of them; here its object stays, and what it held goes with the context. */
API CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    if (pool >= default_pools && pool < default_pools + MAX_GPUS) return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&driver_mutex);
    pool->threshold = 0;
    trim(pool, 0);
    pthread_mutex_unlock(&driver_mutex);
    return CUDA_SUCCESS;
}

API CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
    pthread_mutex_lock(&driver_mutex);
    trim(pool, keep);
    pthread_mutex_unlock(&driver_mutex);
    return CUDA_SUCCESS;
}

API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *value) {
    const uint64_t words[] = {[THRESHOLD] = pool->threshold, [RESERVED] = pool->reserved,
                              [RESERVED_HIGH] = pool->reserved_high, [USED] = pool->used, [USED_HIGH] = pool->used_high};
    if (attribute < 1 || attribute > USED_HIGH) return CUDA_ERROR_INVALID_VALUE;
    if (attribute < THRESHOLD) *(int *)value = 1; /* reuse policies */
    else *(cuuint64_t *)value = words[attribute];
    return CUDA_SUCCESS;
}

API CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void *value) {
    if (attribute == THRESHOLD) pool->threshold = *(cuuint64_t *)value;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS) *pool = &default_pools[device];
    return rc;
}

API CUresult cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice device) {
    CUresult rc = cuDeviceGetDefaultMemPool(pool, device);
    if (rc == CUDA_SUCCESS && chosen[device]) *pool = chosen[device];
    return rc;
}

API CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS) chosen[device] = pool;
    return rc;
}
