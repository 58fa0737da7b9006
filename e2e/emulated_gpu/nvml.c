/* NVML: inventory, memory, compute mode, processes, utilisation. */
#define _GNU_SOURCE
#include "nvml_api.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BUSY_WINDOW_NS 1000000000ull

/* Opened once and never closed: closing `clients` would drop the locks of a CUDA client in this very process. */
static struct gpu devices[MAX_GPUS];
static int count;
static int references;

static void find_devices(void) {
    if (count) return;
    for (uint32_t i = 0; i < MAX_GPUS; i++)
        if (gpu_open(&devices[count], gpu_root(), i) == 0) count++;
}

int nvml_devices(struct gpu **first) {
    *first = devices;
    return count;
}

bool nvml_knows(nvmlDevice_t d) {
    return references > 0 && d >= devices && d < devices + count;
}

#define CHECK(d, out) \
    do { \
        if (references <= 0) return NVML_ERROR_UNINITIALIZED; \
        if (!nvml_knows(d) || !(out)) return NVML_ERROR_INVALID_ARGUMENT; \
    } while (0)

API nvmlReturn_t nvmlInit_v2(void) {
    find_devices();
    if (!count) return NVML_ERROR_DRIVER_NOT_LOADED;
    references++;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlInit(void) {
    return nvmlInit_v2();
}

API nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    return nvmlInit_v2();
}

API nvmlReturn_t nvmlShutdown(void) {
    if (references <= 0) return NVML_ERROR_UNINITIALIZED;
    references--;
    return NVML_SUCCESS;
}

API const char *nvmlErrorString(nvmlReturn_t code) {
    static const struct { nvmlReturn_t code; const char *text; } texts[] = {
        {NVML_SUCCESS, "Success"}, {NVML_ERROR_UNINITIALIZED, "Uninitialized"},
        {NVML_ERROR_INVALID_ARGUMENT, "Invalid Argument"}, {NVML_ERROR_NOT_SUPPORTED, "Not Supported"},
        {NVML_ERROR_NO_PERMISSION, "Insufficient Permissions"}, {NVML_ERROR_NOT_FOUND, "Not Found"},
        {NVML_ERROR_INSUFFICIENT_SIZE, "Insufficient Size"}, {NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not Loaded"},
        {NVML_ERROR_TIMEOUT, "Timeout"}, {NVML_ERROR_GPU_IS_LOST, "GPU is lost"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].code == code) return texts[i].text;
    return "Unknown Error";
}

API nvmlReturn_t nvmlSystemGetDriverVersion(char *text, unsigned int bytes) {
    return snprintf(text, bytes, "550.54.14") < (int)bytes ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

API nvmlReturn_t nvmlSystemGetNVMLVersion(char *text, unsigned int bytes) {
    return snprintf(text, bytes, "12.550.54.14") < (int)bytes ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

API nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    *version = 12040;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
    return nvmlSystemGetCudaDriverVersion(version);
}

API nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *n) {
    if (references <= 0) return NVML_ERROR_UNINITIALIZED;
    *n = (unsigned int)count;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetCount(unsigned int *n) {
    return nvmlDeviceGetCount_v2(n);
}

API nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device) {
    if (references <= 0) return NVML_ERROR_UNINITIALIZED;
    if (index >= (unsigned int)count) return NVML_ERROR_INVALID_ARGUMENT;
    *device = &devices[index];
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t *device) {
    return nvmlDeviceGetHandleByIndex_v2(index, device);
}

API nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    if (references <= 0) return NVML_ERROR_UNINITIALIZED;
    for (int i = 0; i < count; i++)
        if (strcmp(devices[i].state->uuid, uuid) == 0) {
            *device = &devices[i];
            return NVML_SUCCESS;
        }
    return NVML_ERROR_NOT_FOUND;
}

API nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t d, unsigned int *index) {
    CHECK(d, index);
    *index = (unsigned int)(d - devices);
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t d, unsigned int *minor) {
    CHECK(d, minor);
    *minor = d->state->index;
    return NVML_SUCCESS;
}

static nvmlReturn_t put_text(char *to, unsigned int bytes, const char *from) {
    return snprintf(to, bytes, "%s", from) < (int)bytes ? NVML_SUCCESS : NVML_ERROR_INSUFFICIENT_SIZE;
}

API nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *uuid, unsigned int bytes) {
    CHECK(d, uuid);
    return put_text(uuid, bytes, d->state->uuid);
}

API nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *name, unsigned int bytes) {
    CHECK(d, name);
    return put_text(name, bytes, d->state->product);
}

API nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *pci) {
    CHECK(d, pci);
    memset(pci, 0, sizeof *pci);
    pci->bus = d->state->index + 1;
    pci->pciDeviceId = 0x1db110deu;
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus);
    return NVML_SUCCESS;
}

/* Dead clients are left out but never taken away here: a client in this very process would look dead from here. */
static bool counts(struct gpu *d, int slot, int *pid) {
    const struct client *c = &d->state->clients[slot];
    if (!c->in_use) return false;
    if (client_alive(d, slot, pid)) return true;
    *pid = d->state->records[c->id % MAX_RECORDS].pid;
    return *pid == getpid();
}

static uint64_t used(struct gpu *d) {
    uint64_t bytes = 0;
    int pid;
    for (int i = 0; i < MAX_CLIENTS; i++)
        if (counts(d, i, &pid)) bytes += d->state->clients[i].memory_bytes;
    return bytes;
}

API nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *memory) {
    CHECK(d, memory);
    memory->total = d->state->memory_bytes;
    memory->used = used(d);
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *memory) {
    CHECK(d, memory);
    if (memory->version != ((2u << 24) | sizeof *memory)) return NVML_ERROR_INVALID_ARGUMENT;
    memory->total = d->state->memory_bytes;
    memory->reserved = 0;
    memory->used = used(d);
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor) {
    CHECK(d, major && minor);
    *major = (int)d->state->cc_major;
    *minor = (int)d->state->cc_minor;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetNumGpuCores(nvmlDevice_t d, unsigned int *cores) {
    CHECK(d, cores);
    *cores = d->state->sm_count * d->state->cores_per_sm;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t d, void *attributes) {
    CHECK(d, attributes);
    return NVML_ERROR_NOT_SUPPORTED; /* only MIG devices have them */
}

API nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned int *now, unsigned int *pending) {
    CHECK(d, now && pending);
    return NVML_ERROR_NOT_SUPPORTED; /* as on a V100 */
}

API nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned int *n) {
    CHECK(d, n);
    *n = 0;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t d, int *mode) {
    CHECK(d, mode);
    *mode = (int)d->state->compute_mode;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceSetComputeMode(nvmlDevice_t d, int mode) {
    CHECK(d, true);
    if (geteuid() != 0) return NVML_ERROR_NO_PERMISSION;
    if (mode != MODE_DEFAULT && mode != MODE_PROHIBITED && mode != MODE_EXCLUSIVE_PROCESS)
        return mode == 1 ? NVML_ERROR_NOT_SUPPORTED : NVML_ERROR_INVALID_ARGUMENT; /* 1: EXCLUSIVE_THREAD, long gone */
    __atomic_store_n(&d->state->compute_mode, (uint32_t)mode, __ATOMIC_RELEASE);
    return NVML_SUCCESS;
}

/* MPS clients are in one list, everybody else and the MPS server in the other. PIDs are those of the caller's PID
 * namespace (0 for processes outside of it). */
static nvmlReturn_t list(struct gpu *d, bool mps, unsigned int *n, nvmlProcessInfo_t *infos) {
    unsigned int found = 0, room = infos ? *n : 0;
    int pid = 0;
    for (int i = 0; i < MAX_CLIENTS; i++) {
        const struct client *c = &d->state->clients[i];
        if (!counts(d, i, &pid) || (c->is_mps != 0) != mps) continue;
        if (found < room) infos[found] = (nvmlProcessInfo_t){(unsigned)pid, c->memory_bytes, 0xffffffffu, 0xffffffffu};
        found++;
    }
    if (!mps && mps_owner_alive(d, &pid)) {
        if (found < room) infos[found] = (nvmlProcessInfo_t){(unsigned)pid, 0, 0xffffffffu, 0xffffffffu};
        found++;
    }
    *n = found;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *infos) {
    CHECK(d, n);
    return list(d, false, n, infos);
}

API nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *infos) {
    return nvmlDeviceGetComputeRunningProcesses_v3(d, n, infos);
}

API nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_v1_t *infos) {
    nvmlProcessInfo_t found[MAX_CLIENTS + 1];
    unsigned int room = infos ? *n : 0;
    CHECK(d, n);
    *n = MAX_CLIENTS + 1;
    list(d, false, n, found);
    for (unsigned int i = 0; i < *n && i < room; i++)
        infos[i] = (nvmlProcessInfo_v1_t){found[i].pid, found[i].usedGpuMemory};
    return *n > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *infos) {
    CHECK(d, n);
    return list(d, true, n, infos);
}

API nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v2(nvmlDevice_t d, unsigned int *n, nvmlProcessInfo_t *infos) {
    return nvmlDeviceGetMPSComputeRunningProcesses_v3(d, n, infos);
}

/* Share of the last second in which at least one kernel ran. Entries overlap between lanes: it is capped. */
API nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *rates) {
    CHECK(d, rates);
    const struct gpu_state *s = d->state;
    uint64_t now = now_ns(), from = now - BUSY_WINDOW_NS, busy = 0, covered = now;
    for (uint64_t seq = s->next_seq - 1, n = 0; seq && n < s->entry_count; seq--, n++) {
        const struct kernel_entry *e = &s->log[seq % s->entry_count];
        uint64_t start = e->start_ns > from ? e->start_ns : from, end = e->end_ns < covered ? e->end_ns : covered;
        if (e->launch_ns + BUSY_WINDOW_NS < from) break;
        if (end <= start) continue;
        busy += end - start;
        covered = start;
    }
    rates->gpu = (unsigned int)(busy * 100 / BUSY_WINDOW_NS);
    rates->memory = (unsigned int)(used(d) * 100 / s->memory_bytes);
    return NVML_SUCCESS;
}

static unsigned int busy_percent(const struct gpu_state *s, uint64_t client, uint64_t from, uint64_t now) {
    uint64_t busy = 0;
    for (uint64_t seq = s->next_seq - 1, n = 0; seq && n < s->entry_count; seq--, n++) {
        const struct kernel_entry *e = &s->log[seq % s->entry_count];
        if (e->launch_ns + BUSY_WINDOW_NS < from) break;
        uint64_t start = e->start_ns > from ? e->start_ns : from, end = e->end_ns < now ? e->end_ns : now;
        if (e->client == client && end > start) busy += end - start;
    }
    return (unsigned int)(busy * 100 / (now - from));
}

/* One sample a process, of the time since then, a second at most. Of MPS clients nothing is known: all is the
 * server's. Times are microseconds of the day's clock. */
API nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t d, nvmlProcessUtilizationSample_t *samples, unsigned int *n,
                                                 unsigned long long since_us) {
    struct timespec day;
    unsigned int found = 0, room = samples ? *n : 0;
    int pid = 0;
    CHECK(d, n);
    clock_gettime(CLOCK_REALTIME, &day);
    uint64_t day_us = (uint64_t)day.tv_sec * 1000000u + (uint64_t)day.tv_nsec / 1000u, now = now_ns();
    uint64_t span = since_us < day_us ? (day_us - since_us) * 1000u : 0;
    uint64_t from = now - (span && span < BUSY_WINDOW_NS ? span : BUSY_WINDOW_NS);
    for (int i = 0; i < MAX_CLIENTS; i++) {
        const struct client *c = &d->state->clients[i];
        if (!counts(d, i, &pid) || c->is_mps) continue;
        if (found < room)
            samples[found] = (nvmlProcessUtilizationSample_t){
                .pid = (unsigned)pid, .timeStamp = day_us, .smUtil = busy_percent(d->state, c->id, from, now)};
        found++;
    }
    *n = found;
    if (!found) return NVML_ERROR_NOT_FOUND;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}
