/* NVML events: Xids, as `emulated-gpu xid` and `fault` put them into the device. */
#define _GNU_SOURCE
#include "nvml_api.h"

#include <stdlib.h>
#include <time.h>

#define POLL_NS 10000000l

struct event_set {
    unsigned long long types[MAX_GPUS];
    uint64_t seen[MAX_GPUS];
};

API nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t d, unsigned long long *types) {
    if (!nvml_knows(d) || !types) return NVML_ERROR_INVALID_ARGUMENT;
    *types = NVML_EVENT_XID_CRITICAL_ERROR;
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
    *set = calloc(1, sizeof **set);
    return *set ? NVML_SUCCESS : NVML_ERROR_UNKNOWN;
}

API nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
    free(set);
    return NVML_SUCCESS;
}

API nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set) {
    struct gpu *first;
    if (!nvml_knows(d) || !set) return NVML_ERROR_INVALID_ARGUMENT;
    if (types & ~NVML_EVENT_XID_CRITICAL_ERROR) return NVML_ERROR_NOT_SUPPORTED;
    nvml_devices(&first);
    set->types[d - first] |= types;
    set->seen[d - first] = d->state->xid_count;
    return NVML_SUCCESS;
}

static bool next_event(nvmlEventSet_t set, nvmlEventData_t *data) {
    struct gpu *first;
    int n = nvml_devices(&first);
    for (int i = 0; i < n; i++) {
        const struct gpu_state *s = first[i].state;
        if (!set->types[i] || __atomic_load_n(&s->xid_count, __ATOMIC_ACQUIRE) == set->seen[i]) continue;
        const struct xid_event *x = &s->xids[set->seen[i]++ % MAX_XIDS];
        *data = (nvmlEventData_t){&first[i], NVML_EVENT_XID_CRITICAL_ERROR, x->code, 0xffffffffu, 0xffffffffu};
        return true;
    }
    return false;
}

API nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms) {
    uint64_t until = now_ns() + timeout_ms * 1000000ull;
    if (!set || !data) return NVML_ERROR_INVALID_ARGUMENT;
    do {
        if (next_event(set, data)) return NVML_SUCCESS;
        struct timespec t = {.tv_nsec = POLL_NS};
        if (timeout_ms) nanosleep(&t, NULL);
    } while (now_ns() < until);
    return NVML_ERROR_TIMEOUT;
}

API nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms) {
    return nvmlEventSetWait_v2(set, data, timeout_ms);
}
