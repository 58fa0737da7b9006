/* Memory that pools have of the device for stream-ordered allocations, and the driver for graphs' own allocations: it
 * is counted as reserved, which is what nobody else can have, and not as used. All with the lock held. */
#include "shim.h"

#define POOLS 16u
enum { RESERVED_OF_POOL = 5, USED_OF_POOL = 7, RESERVED_OF_GRAPHS = 2 };

struct pool {
    CUmemoryPool handle; /* NULL where `graphs` */
    bool graphs;
    CUdevice device;
    CUcontext context;
    uint64_t counted;
};
static struct pool pools[POOLS];
static unsigned count;
static bool freed; /* since the last look: memory may come back at the next wait */

void pools_note_free(void) { freed = count != 0; }

static uint64_t ask(const struct pool *pool, int what) {
    uint64_t bytes = pool->counted;
    if (pool->graphs) DRIVER(CUresult(*)(CUdevice, int, void *), cuDeviceGetGraphMemAttribute)(pool->device, what, &bytes);
    else DRIVER(CUresult(*)(CUmemoryPool, int, void *), cuMemPoolGetAttribute)(pool->handle, what, &bytes);
    return bytes;
}

static void look(struct pool *pool) {
    uint64_t now = ask(pool, pool->graphs ? RESERVED_OF_GRAPHS : RESERVED_OF_POOL);
    memory_add(now - pool->counted);
    pool->counted = now;
}

static struct pool *find(CUmemoryPool handle, bool graphs, CUdevice device) {
    for (unsigned i = 0; i < count; i++)
        if (pools[i].handle == handle && pools[i].graphs == graphs && (!graphs || pools[i].device == device)) return &pools[i];
    return NULL;
}

static struct pool *pool_of(CUmemoryPool handle, bool graphs) {
    CUdevice device = 0;
    DRIVER(CUresult(*)(CUdevice *), cuCtxGetDevice)(&device);
    if (!graphs && !handle) DRIVER(CUresult(*)(CUmemoryPool *, CUdevice), cuDeviceGetMemPool)(&handle, device);
    struct pool *pool = find(handle, graphs, device);
    if (pool || count == POOLS) return pool;
    pool = &pools[count++];
    *pool = (struct pool){.handle = handle, .graphs = graphs, .device = device};
    DRIVER(CUresult(*)(CUcontext *), cuCtxGetCurrent)(&pool->context);
    return pool;
}

/* Gives back to the device what no allocation needs; true where there may be some. */
bool pools_trim(void) {
    for (unsigned i = 0; i < count; i++) {
        if (pools[i].graphs) DRIVER(CUresult(*)(CUdevice), cuDeviceGraphMemTrim)(pools[i].device);
        else DRIVER(CUresult(*)(CUmemoryPool, size_t), cuMemPoolTrimTo)(pools[i].handle, 0);
        look(&pools[i]);
    }
    return count != 0;
}

void pools_after_wait(void) {
    if (!freed) return;
    freed = false;
    for (unsigned i = 0; i < count; i++) look(&pools[i]);
}

/* They go with their context, or all with the parent process. */
void pools_forget(CUcontext context) {
    unsigned kept = 0;
    for (unsigned i = 0; i < count; i++) {
        if (context && pools[i].context != context) pools[kept++] = pools[i];
        else if (context) memory_add(-pools[i].counted);
    }
    count = kept;
}

/* A graph that allocates takes its memory when it is launched, how much the driver alone knows: one that took more than
 * there is room for is refused the next time. */
bool pools_graph_may_launch(uint64_t bytes) {
    struct pool *pool = bytes ? pool_of(NULL, true) : NULL;
    if (!pool) return true;
    for (bool trimmed = false;; trimmed = pools_trim()) {
        uint64_t more = bytes > pool->counted ? bytes - pool->counted : 0;
        memory_add(more);
        bool fits = memory_fits();
        memory_add(-more);
        if (fits) return true;
        if (trimmed) break;
    }
    hasgpu_pages.process->refused_allocations++;
    return false;
}

void pools_after_graph(uint64_t *bytes) {
    struct pool *pool = pool_of(NULL, true);
    if (!pool) return;
    uint64_t before = pool->counted;
    look(pool);
    if (pool->counted > before) *bytes = pool->counted;
}

/* What the pool will have to take for it. A process of more pools than there are places is held to the first ones. */
static bool reserve(struct pool *pool, size_t bytes, uint64_t *reserved) {
    uint64_t idle = pool ? ask(pool, RESERVED_OF_POOL) - ask(pool, USED_OF_POOL) : 0;
    *reserved = bytes > idle ? bytes - idle : 0;
    return !*reserved || memory_reserve(*reserved);
}

struct request {
    CUmemoryPool pool; /* by handle: it may go while the driver works */
    uint64_t reserved;
    bool captured;
};

static bool before(struct request *request, CUmemoryPool handle, size_t bytes, CUstream stream, bool per_thread) {
    *request = (struct request){.captured = capture_on(stream, per_thread)};
    if (request->captured) return true;
    pthread_mutex_lock(&hasgpu_lock);
    int mode = capture_relax();
    pages_attach();
    struct pool *pool = pool_of(handle, false);
    request->pool = pool ? pool->handle : NULL;
    bool fits = reserve(pool, bytes, &request->reserved);
    capture_restore(mode);
    pthread_mutex_unlock(&hasgpu_lock);
    return fits;
}

/* What was reserved is the pool's from here on, in whole chunks of its own choice: those beyond the slice go back. */
static CUresult after(const struct request *request, CUresult result) {
    if (request->captured) return result;
    pthread_mutex_lock(&hasgpu_lock);
    int mode = capture_relax();
    struct pool *pool = find(request->pool, false, 0);
    memory_add(-request->reserved);
    if (pool) look(pool);
    if (pool && !memory_fits()) pools_trim();
    capture_restore(mode);
    pthread_mutex_unlock(&hasgpu_lock);
    return result;
}

#define STREAM_ORDERED(name, per_thread, pool, parameters, ...)                                                  \
    EXPORT CUresult name parameters {                                                                            \
        struct request request;                                                                                  \
        if (!before(&request, pool, bytes, stream, per_thread)) return CUDA_ERROR_OUT_OF_MEMORY;                 \
        return after(&request, REAL(name)(__VA_ARGS__));                                                         \
    }
STREAM_ORDERED(cuMemAllocAsync, false, NULL, (CUdeviceptr *at, size_t bytes, CUstream stream), at, bytes, stream)
STREAM_ORDERED(cuMemAllocAsync_ptsz, true, NULL, (CUdeviceptr *at, size_t bytes, CUstream stream), at, bytes, stream)
STREAM_ORDERED(cuMemAllocFromPoolAsync, false, pool,
               (CUdeviceptr *at, size_t bytes, CUmemoryPool pool, CUstream stream), at, bytes, pool, stream)
STREAM_ORDERED(cuMemAllocFromPoolAsync_ptsz, true, pool,
               (CUdeviceptr *at, size_t bytes, CUmemoryPool pool, CUstream stream), at, bytes, pool, stream)

EXPORT CUresult cuMemPoolDestroy(CUmemoryPool pool) {
    CUresult result = REAL(cuMemPoolDestroy)(pool);
    pthread_mutex_lock(&hasgpu_lock);
    struct pool *gone = result == CUDA_SUCCESS ? find(pool, false, 0) : NULL;
    if (gone) {
        memory_add(-gone->counted);
        *gone = pools[--count];
    }
    pthread_mutex_unlock(&hasgpu_lock);
    return result;
}
