/* Copies and fills: done at once on the host's pages, and taking the time a PCIe 3.0 link or the memory would. */
#define _GNU_SOURCE
#include "driver.h"

#include <string.h>

#define LINK_BYTES_PER_NS 12u
#define MEMORY_BYTES_PER_NS 350u
#define SETUP_NS 5000u

static void *host(CUdeviceptr address) {
    return (void *)(uintptr_t)address;
}

/* Copies have engines of their own: they are in stream order but take no SM and are in nobody's lane. */
static CUresult spend(CUstream handle, bool ptsz, size_t bytes, unsigned int bytes_per_ns, bool wait) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc == CUDA_SUCCESS) rc = healthy(s->context->device);
    if (rc != CUDA_SUCCESS || s->capture) return rc; /* a captured copy costs nothing in the graph */
    struct device *d = s->context->device;
    gpu_lock(&d->gpu);
    uint64_t begin = ready_after(s, now_ns()), kernel_end = s->mark.seq ? end_of(&d->gpu, s->mark.seq) : 0;
    if (kernel_end > begin) begin = kernel_end;
    s->mark.until_ns = begin + SETUP_NS + bytes / bytes_per_ns;
    gpu_unlock(&d->gpu);
    return wait ? wait_mark(d, &s->mark) : CUDA_SUCCESS;
}

static CUresult copy(void *to, const void *from, size_t bytes, CUstream stream, bool ptsz, unsigned int speed, bool wait) {
    CUresult rc = spend(stream, ptsz, bytes, speed, wait);
    if (rc == CUDA_SUCCESS) memmove(to, from, bytes);
    return rc;
}

#define COPY(NAME, PTSZ)                                                                                               \
    API CUresult cuMemcpyHtoD_v2##NAME(CUdeviceptr to, const void *from, size_t n) {                                   \
        return copy(host(to), from, n, NULL, PTSZ, LINK_BYTES_PER_NS, true);                                           \
    }                                                                                                                  \
    API CUresult cuMemcpyDtoH_v2##NAME(void *to, CUdeviceptr from, size_t n) {                                         \
        return copy(to, host(from), n, NULL, PTSZ, LINK_BYTES_PER_NS, true);                                           \
    }                                                                                                                  \
    API CUresult cuMemcpyDtoD_v2##NAME(CUdeviceptr to, CUdeviceptr from, size_t n) {                                   \
        return copy(host(to), host(from), n, NULL, PTSZ, MEMORY_BYTES_PER_NS, false);                                  \
    }                                                                                                                  \
    API CUresult cuMemcpy##NAME(CUdeviceptr to, CUdeviceptr from, size_t n) {                                          \
        return copy(host(to), host(from), n, NULL, PTSZ, LINK_BYTES_PER_NS, true);                                     \
    }                                                                                                                  \
    API CUresult cuMemsetD8_v2##NAME(CUdeviceptr to, unsigned char value, size_t n) {                                  \
        CUresult rc = spend(NULL, PTSZ, n, MEMORY_BYTES_PER_NS, false);                                                \
        if (rc == CUDA_SUCCESS) memset(host(to), value, n);                                                            \
        return rc;                                                                                                     \
    }

#define COPY_ASYNC(NAME, PTSZ)                                                                                         \
    API CUresult cuMemcpyHtoDAsync_v2##NAME(CUdeviceptr to, const void *from, size_t n, CUstream s) {                  \
        return copy(host(to), from, n, s, PTSZ, LINK_BYTES_PER_NS, false);                                             \
    }                                                                                                                  \
    API CUresult cuMemcpyDtoHAsync_v2##NAME(void *to, CUdeviceptr from, size_t n, CUstream s) {                        \
        return copy(to, host(from), n, s, PTSZ, LINK_BYTES_PER_NS, false);                                             \
    }                                                                                                                  \
    API CUresult cuMemcpyDtoDAsync_v2##NAME(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {                  \
        return copy(host(to), host(from), n, s, PTSZ, MEMORY_BYTES_PER_NS, false);                                     \
    }                                                                                                                  \
    API CUresult cuMemcpyAsync##NAME(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {                         \
        return copy(host(to), host(from), n, s, PTSZ, LINK_BYTES_PER_NS, false);                                       \
    }                                                                                                                  \
    API CUresult cuMemsetD8Async##NAME(CUdeviceptr to, unsigned char value, size_t n, CUstream s) {                    \
        CUresult rc = spend(s, PTSZ, n, MEMORY_BYTES_PER_NS, false);                                                   \
        if (rc == CUDA_SUCCESS) memset(host(to), value, n);                                                            \
        return rc;                                                                                                     \
    }

COPY(, false)
COPY(_ptds, true)
COPY_ASYNC(, false)
COPY_ASYNC(_ptsz, true)
