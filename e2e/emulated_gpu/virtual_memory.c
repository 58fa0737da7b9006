/* Virtual memory management: address ranges and physical memory apart, as growing allocators use it. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <sys/mman.h>

#define GRANULARITY (2ull << 20)

struct physical {
    CUcontext context;
    uint64_t bytes;
};

static void *host(CUdeviceptr address) {
    return (void *)(uintptr_t)address;
}

API CUresult cuMemGetAllocationGranularity(size_t *bytes, const void *properties, int option) {
    (void)properties, (void)option;
    *bytes = GRANULARITY;
    return CUDA_SUCCESS;
}

API CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const void *properties, unsigned long long flags) {
    CUcontext c;
    CUresult rc = current(&c);
    (void)properties, (void)flags;
    if (rc == CUDA_SUCCESS && (!bytes || bytes % GRANULARITY)) rc = CUDA_ERROR_INVALID_VALUE;
    if (rc == CUDA_SUCCESS) rc = memory_charge(c, bytes);
    if (rc != CUDA_SUCCESS) return rc;
    struct physical *p = malloc(sizeof *p);
    if (!p) {
        memory_refund(c, bytes);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *p = (struct physical){c, bytes};
    *handle = (CUmemGenericAllocationHandle)(uintptr_t)p;
    return CUDA_SUCCESS;
}

API CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
    struct physical *p = (struct physical *)(uintptr_t)handle;
    if (!p) return CUDA_ERROR_INVALID_VALUE;
    if (!p->context->destroyed) memory_refund(p->context, p->bytes);
    free(p);
    return CUDA_SUCCESS;
}

API CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment, CUdeviceptr hint, unsigned long long flags) {
    (void)alignment, (void)hint, (void)flags;
    if (!bytes || bytes % GRANULARITY) return CUDA_ERROR_INVALID_VALUE;
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    *address = (CUdeviceptr)(uintptr_t)p;
    return p == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

API CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
    return munmap(host(address), bytes) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle, unsigned long long flags) {
    struct physical *p = (struct physical *)(uintptr_t)handle;
    (void)flags;
    if (!p || offset || bytes > p->bytes) return CUDA_ERROR_INVALID_VALUE;
    struct allocation *a = malloc(sizeof *a);
    if (!a) return CUDA_ERROR_OUT_OF_MEMORY;
    pthread_mutex_lock(&driver_mutex);
    *a = (struct allocation){.next = p->context->allocations, .address = address, .bytes = bytes, .is_view = true};
    p->context->allocations = a;
    pthread_mutex_unlock(&driver_mutex);
    return CUDA_SUCCESS;
}

API CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const void *access, size_t count) {
    (void)access, (void)count;
    return mprotect(host(address), bytes, PROT_READ | PROT_WRITE) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc != CUDA_SUCCESS) return rc;
    pthread_mutex_lock(&driver_mutex);
    for (struct allocation **at = &c->allocations; *at;) {
        struct allocation *a = *at;
        bool inside = a->is_view && a->address >= address && a->address + a->bytes <= address + bytes;
        if (inside) {
            *at = a->next;
            free(a);
        } else at = &a->next;
    }
    pthread_mutex_unlock(&driver_mutex);
    void *p = mmap(host(address), bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return p == MAP_FAILED ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
