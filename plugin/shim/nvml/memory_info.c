/* NVML as a slice's container should see it: the memory is the slice's, as cuMemGetInfo says too. All else passes.
 *
 * It reads the same pages as the shim in the same process. Closing any descriptor of the pod's page would drop the
 * shim's locks on it, so the one opened here stays open. */
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include "shim.h"

struct memory {
    unsigned long long total, free, used;
};
struct memory_v2 {
    unsigned version;
    unsigned long long total, reserved, free, used;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint8_t pod_uid[16];
static const struct hasgpu_schedule *schedule;
static const struct hasgpu_page *page;
static int page_fd = -1;

static void find_pages(void) {
    if (!files_pod_uid(pod_uid)) return;
    schedule = files_schedule();
    page = files_page(O_RDONLY, &page_fd);
}

/* A process does not see its own locks. */
static bool is_live(unsigned index) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HASGPU_LOCK_OFFSET + index, .l_len = 1};
    return page->processes[index].pid == (uint32_t)getpid() || (!fcntl(page_fd, F_GETLK, &lock) && lock.l_type != F_UNLCK);
}

/* False where there is no slice to be seen. */
static bool of_slice(unsigned long long *total, unsigned long long *used) {
    struct slice before, current;
    pthread_once(&once, find_pages);
    if (!schedule || !page || !schedule_copy(schedule, pod_uid, &before, &current) || !current.known) return false;
    *total = current.entry.memory_bytes;
    *used = 0;
    for (unsigned i = 0; i < HASGPU_PROCESSES; i++)
        if (page->processes[i].memory_bytes && is_live(i)) *used += page->processes[i].memory_bytes;
    return *total != 0;
}

#define AS_SLICE(memory)                                                                    \
    unsigned long long total, used;                                                         \
    if (result || !memory || !of_slice(&total, &used) || memory->total <= total) return result; \
    unsigned long long left = used < total ? total - used : 0;                              \
    memory->total = total;                                                                  \
    memory->free = memory->free < left ? memory->free : left;                               \
    memory->used = total - memory->free;                                                    \
    return result

EXPORT int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory) {
    int result = REAL(nvmlDeviceGetMemoryInfo)(device, memory);
    AS_SLICE(memory);
}

EXPORT int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory) {
    int result = REAL(nvmlDeviceGetMemoryInfo_v2)(device, memory);
    if (!result && memory) memory->reserved = 0;
    AS_SLICE(memory);
}
