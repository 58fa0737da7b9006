/* Copies and fills: done at once on the host's pages, and taking the time a PCIe 3.0 link or the memory would. */
#define _GNU_SOURCE
#include "driver.h"

#include <string.h>

#define LINK_BYTES_PER_NS 12u
#define MEMORY_BYTES_PER_NS 350u
#define SETUP_NS 5000u

struct side { /* of a copy */
    CUdeviceptr address;
    bool on_device;
};

static struct side device(CUdeviceptr address) {
    return (struct side){address, true};
}

static struct side anywhere(const void *p) {
    return (struct side){(CUdeviceptr)(uintptr_t)p, false};
}

static bool valid(CUcontext c, struct side s, size_t bytes) {
    return !s.on_device || is_device_memory(c, s.address, bytes);
}

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

static CUresult copy(struct side to, struct side from, size_t bytes, CUstream stream, bool ptsz, unsigned int speed, bool wait) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc == CUDA_SUCCESS && (!valid(c, to, bytes) || !valid(c, from, bytes))) rc = CUDA_ERROR_INVALID_VALUE;
    if (rc == CUDA_SUCCESS) rc = spend(stream, ptsz, bytes, speed, wait);
    if (rc == CUDA_SUCCESS) memmove(host(to.address), host(from.address), bytes);
    return rc;
}

static CUresult fill(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream, bool ptsz) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc == CUDA_SUCCESS && !is_device_memory(c, to, bytes)) rc = CUDA_ERROR_INVALID_VALUE;
    if (rc == CUDA_SUCCESS) rc = spend(stream, ptsz, bytes, MEMORY_BYTES_PER_NS, false);
    if (rc == CUDA_SUCCESS) memset(host(to), value, bytes);
    return rc;
}

#define COPY(NAME, PTSZ)                                                                                               \
    API CUresult cuMemcpyHtoD_v2##NAME(CUdeviceptr to, const void *from, size_t n) {                                   \
        return copy(device(to), anywhere(from), n, NULL, PTSZ, LINK_BYTES_PER_NS, true);                               \
    }                                                                                                                  \
    API CUresult cuMemcpyDtoH_v2##NAME(void *to, CUdeviceptr from, size_t n) {                                         \
        return copy(anywhere(to), device(from), n, NULL, PTSZ, LINK_BYTES_PER_NS, true);                               \
    }                                                                                                                  \
    API CUresult cuMemcpyDtoD_v2##NAME(CUdeviceptr to, CUdeviceptr from, size_t n) {                                   \
        return copy(device(to), device(from), n, NULL, PTSZ, MEMORY_BYTES_PER_NS, false);                              \
    }                                                                                                                  \
    API CUresult cuMemcpy##NAME(CUdeviceptr to, CUdeviceptr from, size_t n) {                                          \
        return copy(anywhere(host(to)), anywhere(host(from)), n, NULL, PTSZ, LINK_BYTES_PER_NS, true);                 \
    }                                                                                                                  \
    API CUresult cuMemsetD8_v2##NAME(CUdeviceptr to, unsigned char value, size_t n) {                                  \
        return fill(to, value, n, NULL, PTSZ);                                                                         \
    }

#define COPY_ASYNC(NAME, PTSZ)                                                                                         \
    API CUresult cuMemcpyHtoDAsync_v2##NAME(CUdeviceptr to, const void *from, size_t n, CUstream s) {                  \
        return copy(device(to), anywhere(from), n, s, PTSZ, LINK_BYTES_PER_NS, false);                                 \
    }                                                                                                                  \
    API CUresult cuMemcpyDtoHAsync_v2##NAME(void *to, CUdeviceptr from, size_t n, CUstream s) {                        \
        return copy(anywhere(to), device(from), n, s, PTSZ, LINK_BYTES_PER_NS, false);                                 \
    }                                                                                                                  \
    API CUresult cuMemcpyDtoDAsync_v2##NAME(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {                  \
        return copy(device(to), device(from), n, s, PTSZ, MEMORY_BYTES_PER_NS, false);                                 \
    }                                                                                                                  \
    API CUresult cuMemcpyAsync##NAME(CUdeviceptr to, CUdeviceptr from, size_t n, CUstream s) {                         \
        return copy(anywhere(host(to)), anywhere(host(from)), n, s, PTSZ, LINK_BYTES_PER_NS, false);                   \
    }                                                                                                                  \
    API CUresult cuMemsetD8Async##NAME(CUdeviceptr to, unsigned char value, size_t n, CUstream s) {                    \
        return fill(to, value, n, s, PTSZ);                                                                            \
    }

COPY(, false)
COPY(_ptds, true)
COPY_ASYNC(, false)
COPY_ASYNC(_ptsz, true)
