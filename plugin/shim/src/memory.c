/* Who holds device memory: reserve, let the driver allocate, commit or give back. Beyond the slice's bytes the driver
 * is not asked and the program hears CUDA_ERROR_OUT_OF_MEMORY, as it would on a smaller GPU. What comes from pools is
 * counted as the pools have it of the device: see pools.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

/* Open addressing, grown at half full; key 0 is free, 1 was freed. */
struct holding {
    uint64_t key, bytes;
    CUcontext context; /* goes with it; NULL: outlives it */
};
static struct holding *table;
static size_t capacity, used;

void memory_forget(void) {
    if (table) memset(table, 0, capacity * sizeof *table);
    used = 0;
}

static struct holding *find(struct holding *in, size_t size, uint64_t key) {
    size_t at = key * UINT64_C(0x9E3779B97F4A7C15) >> 20;
    for (;; at++) {
        struct holding *holding = &in[at & (size - 1)];
        if (holding->key == key || holding->key == 0) return holding;
    }
}

static bool grow(void) {
    size_t size = capacity ? 2 * capacity : 1024;
    struct holding *larger = calloc(size, sizeof *larger);
    if (!larger) return false;
    used = 0;
    for (size_t i = 0; i < capacity; i++) {
        if (table[i].key <= 1) continue;
        *find(larger, size, table[i].key) = table[i];
        used++;
    }
    free(table);
    table = larger;
    capacity = size;
    return true;
}

/* 0: unlimited. The page is live; the environment is a hint until it is there. */
static uint64_t limit_of(const struct hasgpu_schedule *page, const uint8_t uid[16]) {
    struct slice before, current;
    if (page && schedule_copy(page, uid, &before, &current) && current.known) return current.entry.memory_bytes;
    const char *told = getenv("HASGPU_GPU_MEMORY_BYTES");
    return told ? strtoull(told, NULL, 10) : 0;
}

static uint64_t limit_bytes(void) {
    return hasgpu_pages.wanted ? limit_of(hasgpu_pages.schedule, hasgpu_pages.pod_uid) : 0;
}

/* The second back end, where the node wants it: MPS holds the process to its slice and some more, whatever it
 * allocates by. The driver reads the limit once, at its start; one that the program brings along is kept. */
void memory_pin(void) {
    uint8_t uid[16];
    char text[32];
    const struct hasgpu_schedule *page = files_pod_uid(uid) ? files_schedule() : NULL;
    uint64_t limit = page ? limit_of(page, uid) : 0;
    if (!limit || !page->pinned_spare_mib) return;
    snprintf(text, sizeof text, "0=%lluM", (unsigned long long)(limit >> 20) + page->pinned_spare_mib);
    setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", text, 0);
}

void memory_add(uint64_t bytes) { __atomic_fetch_add(&hasgpu_pages.process->memory_bytes, bytes, __ATOMIC_SEQ_CST); }

bool memory_fits(void) {
    uint64_t limit = limit_bytes(), total = pages_memory_bytes();
    if (limit && total > limit) return false;
    if (total > hasgpu_pages.page->memory_peak_bytes) hasgpu_pages.page->memory_peak_bytes = total;
    return true;
}

/* Nobody is refused while pools of this process keep memory that they do not use. */
bool memory_reserve(uint64_t bytes) {
    pages_attach();
    uint64_t limit = limit_bytes();
    if (!limit || bytes <= limit) {
        memory_add(bytes);
        if (memory_fits() || (pools_trim() && memory_fits())) return true;
        memory_add(-bytes);
    }
    hasgpu_pages.process->refused_allocations++;
    return false;
}

static bool reserve(size_t bytes) {
    pthread_mutex_lock(&hasgpu_lock);
    bool reserved = memory_reserve(bytes);
    pthread_mutex_unlock(&hasgpu_lock);
    return reserved;
}

/* The driver has answered: keep the reservation under the handle it gave, or give it back. */
static CUresult commit(CUresult result, uint64_t key, size_t bytes, bool of_context) {
    CUcontext context = NULL;
    if (of_context) DRIVER(CUresult(*)(CUcontext *), cuCtxGetCurrent)(&context);
    pthread_mutex_lock(&hasgpu_lock);
    if (result != CUDA_SUCCESS || key <= 1 || (used * 2 >= capacity && !grow())) {
        memory_add(-(uint64_t)bytes);
    } else {
        struct holding *holding = find(table, capacity, key);
        used += holding->key == 0;
        *holding = (struct holding){key, bytes, context};
    }
    pthread_mutex_unlock(&hasgpu_lock);
    return result;
}

static void drop(struct holding *holding) {
    memory_add(-holding->bytes);
    *holding = (struct holding){.key = 1};
}

static CUresult freed(CUresult result, uint64_t key) {
    if (result != CUDA_SUCCESS) return result;
    pthread_mutex_lock(&hasgpu_lock);
    struct holding *holding = capacity && key > 1 ? find(table, capacity, key) : NULL;
    if (holding && holding->key == key) drop(holding);
    else pools_note_free();
    pthread_mutex_unlock(&hasgpu_lock);
    return result;
}

void memory_forget_context(CUcontext context) {
    for (size_t i = 0; i < capacity; i++)
        if (table[i].key > 1 && table[i].context == context) drop(&table[i]);
    pools_forget(context);
}

#define ALLOCATE(bytes, call, handle, of_context)                                              \
    if (!reserve(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;                                      \
    CUresult result = call;                                                                    \
    return commit(result, result == CUDA_SUCCESS ? (uint64_t)(handle) : 0, bytes, of_context)

EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *at, size_t bytes) {
    ALLOCATE(bytes, REAL(cuMemAlloc_v2)(at, bytes), *at, true);
}

EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr *at, size_t *pitch, size_t width, size_t height, unsigned element) {
    /* The pitch is the driver's to choose; 512 bytes is its alignment on every GPU so far. */
    size_t bytes = (width + 511) / 512 * 512 * height;
    ALLOCATE(bytes, REAL(cuMemAllocPitch_v2)(at, pitch, width, height, element), *at, true);
}

EXPORT CUresult cuMemAllocManaged(CUdeviceptr *at, size_t bytes, unsigned flags) {
    ALLOCATE(bytes, REAL(cuMemAllocManaged)(at, bytes, flags), *at, true);
}

EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes, const void *properties, uint64_t flags) {
    ALLOCATE(bytes, REAL(cuMemCreate)(handle, bytes, properties, flags), *handle, false);
}

/* Formats: 8 bits 0x01, 0x08; 16 bits 0x02, 0x09, 0x10 (half); all others count as 32. */
static size_t array_bytes(size_t width, size_t height, size_t depth, int format, unsigned channels) {
    size_t bytes = format == 0x01 || format == 0x08 ? 1 : format == 0x02 || format == 0x09 || format == 0x10 ? 2 : 4;
    return width * (height ? height : 1) * (depth ? depth : 1) * channels * bytes;
}

EXPORT CUresult cuArrayCreate_v2(CUarray *array, const CUDA_ARRAY_DESCRIPTOR *d) {
    size_t bytes = d ? array_bytes(d->width, d->height, 1, d->format, d->channels) : 0;
    ALLOCATE(bytes, REAL(cuArrayCreate_v2)(array, d), *array, true);
}

EXPORT CUresult cuArray3DCreate_v2(CUarray *array, const CUDA_ARRAY3D_DESCRIPTOR *d) {
    size_t bytes = d ? array_bytes(d->width, d->height, d->depth, d->format, d->channels) : 0;
    ALLOCATE(bytes, REAL(cuArray3DCreate_v2)(array, d), *array, true);
}

EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *d, unsigned levels) {
    /* All levels below the first together are at most a third of it in 2D, as much again in 1D. */
    size_t bytes = d ? array_bytes(d->width, d->height, d->depth, d->format, d->channels) : 0;
    if (levels > 1) bytes += d && d->height ? bytes / 3 : bytes;
    ALLOCATE(bytes, REAL(cuMipmappedArrayCreate)(array, d, levels), *array, true);
}

EXPORT CUresult cuMemFree_v2(CUdeviceptr at) { return freed(REAL(cuMemFree_v2)(at), at); }
EXPORT CUresult cuMemFreeAsync(CUdeviceptr at, CUstream stream) { return freed(REAL(cuMemFreeAsync)(at, stream), at); }
EXPORT CUresult cuMemFreeAsync_ptsz(CUdeviceptr at, CUstream stream) {
    return freed(REAL(cuMemFreeAsync_ptsz)(at, stream), at);
}
EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle) { return freed(REAL(cuMemRelease)(handle), handle); }
EXPORT CUresult cuArrayDestroy(CUarray array) { return freed(REAL(cuArrayDestroy)(array), (uint64_t)(uintptr_t)array); }
EXPORT CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
    return freed(REAL(cuMipmappedArrayDestroy)(array), (uint64_t)(uintptr_t)array);
}

static uint64_t seen_limit(uint64_t *held) {
    pthread_mutex_lock(&hasgpu_lock);
    pages_attach();
    uint64_t limit = limit_bytes();
    *held = pages_memory_bytes();
    pthread_mutex_unlock(&hasgpu_lock);
    return limit;
}

EXPORT CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    CUresult result = REAL(cuMemGetInfo_v2)(free_bytes, total);
    uint64_t held, limit = seen_limit(&held);
    if (result != CUDA_SUCCESS || !limit || !free_bytes || !total) return result;
    uint64_t left = limit > held ? limit - held : 0;
    if (*total > limit) *total = limit;
    if (*free_bytes > left) *free_bytes = left;
    return result;
}

EXPORT CUresult cuDeviceTotalMem_v2(size_t *total, CUdevice device) {
    CUresult result = REAL(cuDeviceTotalMem_v2)(total, device);
    uint64_t held, limit = seen_limit(&held);
    if (result == CUDA_SUCCESS && limit && total && *total > limit) *total = limit;
    return result;
}
