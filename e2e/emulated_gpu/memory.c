/* Device memory: counted against the device's capacity, backed by untouched host pages at the same address, so that
 * copies really carry data and an allocation nobody writes costs nothing. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096ull

CUresult memory_charge(CUcontext c, uint64_t bytes) {
    CUresult rc = healthy(c->device);
    if (rc != CUDA_SUCCESS) return rc;
    gpu_lock(&c->device->gpu);
    bool taken = memory_take(&c->device->gpu, bytes, mps.memory_limit);
    gpu_unlock(&c->device->gpu);
    return taken ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

void memory_refund(CUcontext c, uint64_t bytes) {
    gpu_lock(&c->device->gpu);
    memory_give(&c->device->gpu, bytes);
    gpu_unlock(&c->device->gpu);
}

/* Addresses that are charged for already: by the caller, or from a pool. */
CUresult address_new(CUcontext c, size_t bytes, struct allocation like, CUdeviceptr *address) {
    size_t mapped = (bytes + PAGE - 1) / PAGE * PAGE;
    void *p = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct allocation *a = p == MAP_FAILED ? NULL : malloc(sizeof *a);
    if (!a) {
        if (p != MAP_FAILED) munmap(p, mapped);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    pthread_mutex_lock(&driver_mutex);
    *a = like;
    a->next = c->allocations;
    a->address = (CUdeviceptr)(uintptr_t)p;
    a->bytes = bytes;
    c->allocations = a;
    pthread_mutex_unlock(&driver_mutex);
    *address = a->address;
    return CUDA_SUCCESS;
}

static CUresult allocate(CUdeviceptr *address, size_t bytes) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc == CUDA_SUCCESS) rc = unsafe_call();
    if (rc != CUDA_SUCCESS) return rc;
    if (!address || !bytes) return CUDA_ERROR_INVALID_VALUE;
    rc = memory_charge(c, bytes);
    if (rc != CUDA_SUCCESS) return rc;
    rc = address_new(c, bytes, (struct allocation){0}, address);
    if (rc != CUDA_SUCCESS) memory_refund(c, bytes);
    return rc;
}

static void unmap(const struct allocation *a) {
    munmap((void *)(uintptr_t)a->address, (a->bytes + PAGE - 1) / PAGE * PAGE);
}

CUresult address_free(CUdeviceptr address) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc != CUDA_SUCCESS || !address) return rc;
    pthread_mutex_lock(&driver_mutex);
    struct allocation **at = &c->allocations, *a;
    while (*at && ((*at)->is_view || (*at)->address != address)) at = &(*at)->next;
    if ((a = *at) && a->of_graph) c->device->graph_used -= a->bytes; /* the address stays the graph's */
    else if (a) *at = a->next;
    if (a && a->pool) pool_give(a->pool, a->bytes);
    pthread_mutex_unlock(&driver_mutex);
    if (!a) return CUDA_ERROR_INVALID_VALUE;
    if (a->of_graph) return CUDA_SUCCESS;
    unmap(a);
    if (!a->pool) memory_refund(c, a->bytes);
    free(a);
    return CUDA_SUCCESS;
}

void free_all(CUcontext c) {
    uint64_t bytes = 0;
    while (c->allocations) {
        struct allocation *a = c->allocations;
        c->allocations = a->next;
        if (!a->is_view) {
            bytes += a->pool || a->of_graph ? 0 : a->bytes;
            unmap(a);
        }
        free(a);
    }
    memory_refund(c, bytes + pools_end(c));
}

/* Whether bytes from an address on are one allocation's: anything else would be a fault of the whole process here. */
bool is_device_memory(CUcontext c, CUdeviceptr address, size_t bytes) {
    bool found = false;
    pthread_mutex_lock(&driver_mutex);
    for (struct allocation *a = c->allocations; a && !found; a = a->next)
        found = address >= a->address && address + bytes <= a->address + a->bytes;
    pthread_mutex_unlock(&driver_mutex);
    return found;
}

API CUresult cuMemAlloc_v2(CUdeviceptr *address, size_t bytes) {
    return allocate(address, bytes);
}

API CUresult cuMemAllocManaged(CUdeviceptr *address, size_t bytes, unsigned int flags) {
    (void)flags;
    return allocate(address, bytes);
}

API CUresult cuMemAllocPitch_v2(CUdeviceptr *address, size_t *pitch, size_t width, size_t height, unsigned int element) {
    (void)element;
    if (!pitch) return CUDA_ERROR_INVALID_VALUE;
    size_t row = (width + 511) / 512 * 512;
    CUresult rc = allocate(address, row * height);
    if (rc == CUDA_SUCCESS) *pitch = row;
    return rc;
}

API CUresult cuMemFree_v2(CUdeviceptr address) {
    return address_free(address);
}

API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc != CUDA_SUCCESS) return rc;
    struct gpu *g = &c->device->gpu;
    gpu_lock(g);
    client_reap(g);
    *total = g->state->memory_bytes;
    *free_bytes = g->state->memory_bytes - memory_used(g);
    gpu_unlock(g);
    return CUDA_SUCCESS;
}

API CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *bytes, CUdeviceptr address) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc != CUDA_SUCCESS) return rc;
    rc = CUDA_ERROR_NOT_FOUND;
    pthread_mutex_lock(&driver_mutex);
    for (struct allocation *a = c->allocations; a && rc != CUDA_SUCCESS; a = a->next) {
        if (address < a->address || address >= a->address + a->bytes) continue;
        if (base) *base = a->address;
        if (bytes) *bytes = a->bytes;
        rc = CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&driver_mutex);
    return rc;
}

API CUresult cuMemHostAlloc(void **p, size_t bytes, unsigned int flags) {
    (void)flags;
    *p = aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE);
    return *p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuMemAllocHost_v2(void **p, size_t bytes) {
    return cuMemHostAlloc(p, bytes, 0);
}

API CUresult cuMemFreeHost(void *p) {
    free(p);
    return CUDA_SUCCESS;
}

/* Arrays: their memory is counted; nothing can be read from them. */
static const unsigned int format_bytes[] = {[0x01] = 1, [0x02] = 2, [0x03] = 4, [0x08] = 1,
                                            [0x09] = 2, [0x0a] = 4, [0x10] = 2, [0x20] = 4};

API CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d) {
    CUdeviceptr address;
    unsigned int bytes = d->Format < sizeof format_bytes / sizeof *format_bytes ? format_bytes[d->Format] : 0;
    if (!bytes || !d->Width) return CUDA_ERROR_INVALID_VALUE;
    CUresult rc = allocate(&address, d->Width * (d->Height ? d->Height : 1) * (d->Depth ? d->Depth : 1) * d->NumChannels * bytes);
    if (rc == CUDA_SUCCESS) *array = (CUarray)(uintptr_t)address;
    return rc;
}

API CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *d) {
    CUDA_ARRAY3D_DESCRIPTOR deep = {.Width = d->Width, .Height = d->Height, .Format = d->Format, .NumChannels = d->NumChannels};
    return cuArray3DCreate_v2(array, &deep);
}

API CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned int levels) {
    CUarray all = NULL; /* the levels below the first add a third at most: left out */
    (void)levels;
    CUresult rc = cuArray3DCreate_v2(&all, d);
    *array = (CUmipmappedArray)all;
    return rc;
}

API CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
    return address_free((CUdeviceptr)(uintptr_t)array);
}

API CUresult cuArrayDestroy(CUarray array) {
    return address_free((CUdeviceptr)(uintptr_t)array);
}
