/* What this process finds out about its driver, for the sidecar and the node agent to tell: in the pod's page. */
#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

#define LOOK_EVERY_NS (1000 * MS)

/* Files that are a driver, not counting ours and the one behind it. */
static uint32_t drivers_beside(void) {
    Dl_info ours;
    size_t folder = dladdr((void *)findings_look, &ours) ? (size_t)(strrchr(ours.dli_fname, '/') + 1 - ours.dli_fname) : 0;
    char line[4352], last[4096] = "";
    uint32_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/');
        if (!path || !strstr(path, "/libcuda.so") || !strncmp(path, last, sizeof last - 1)) continue;
        snprintf(last, sizeof last, "%.*s", (int)sizeof last - 1, path);
        count += strncmp(path, ours.dli_fname, folder) != 0 || !folder;
    }
    if (maps) fclose(maps);
    return count > 1 ? count - 1 : 0;
}

static int loads(struct dl_phdr_info *info, size_t size, void *seen) {
    (void)size;
    *(unsigned long long *)seen = info->dlpi_adds;
    return 1;
}

/* A second driver in this process runs past every gate: looked for where something was loaded since the last look. */
void findings_look(uint64_t now) {
    static uint64_t due_ns;
    static unsigned long long loaded;
    unsigned long long seen = 0;
    if (now < due_ns) return;
    due_ns = now + LOOK_EVERY_NS;
    dl_iterate_phdr(loads, &seen);
    if (seen == loaded) return;
    loaded = seen;
    hasgpu_pages.page->bypass_suspected = drivers_beside();
}

/* At the first launch there is a context: say what this process got, for the sidecar to compare with the slice. */
void findings_note_context(void) {
    CUdevice device = 0;
    int sm_count = 0;
    DRIVER(CUresult(*)(CUdevice *), cuCtxGetDevice)(&device);
    DRIVER(CUresult(*)(int *, int, CUdevice), cuDeviceGetAttribute)
    (&sm_count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
    const char *pipe = getenv("CUDA_MPS_PIPE_DIRECTORY");
    char control[4096];
    snprintf(control, sizeof control, "%s/control", pipe && *pipe ? pipe : "/tmp/nvidia-mps");
    hasgpu_pages.page->mps_attached = !access(control, F_OK);
    hasgpu_pages.page->last_error = 0;
    __atomic_store_n(&hasgpu_pages.page->sm_count, sm_count > 0 ? (uint32_t)sm_count : 0, __ATOMIC_RELEASE);
}

/* After these the context is lost: ECC, illegal accesses and their like, and a lost MPS server. */
static bool breaks_context(CUresult result) {
    return result == 214 || result == 700 || result == 702 || result == 710 || (result >= 714 && result <= 719) ||
           (result >= 805 && result <= 807) || result == 810;
}

/* Launches and waits are where a program learns that its context is broken; so does the sidecar, from here. */
void findings_note_result(CUresult result) {
    if (result == CUDA_SUCCESS || !breaks_context(result) || !hasgpu_pages.page) return;
    __atomic_store_n(&hasgpu_pages.page->last_error, (uint32_t)result, __ATOMIC_RELAXED);
}
