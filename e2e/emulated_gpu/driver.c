/* cuInit, devices and their attributes. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pthread_mutex_t driver_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct device devices[MAX_GPUS];
static int count;
static bool initialized, forked;

static void after_fork_in_child(void) {
    forked = true; /* CUDA does not survive a fork without exec */
    for (int i = 0; i < count; i++) gpu_abandon(&devices[i].gpu);
    mps_forked();
}

/* CUDA_VISIBLE_DEVICES: ordinals or UUIDs (a prefix will do), in the order wanted, up to the first wrong one. */
static int choose(struct gpu *found, int n, const char *wanted, struct gpu **chosen) {
    char list[1024], *save = NULL;
    int k = 0;
    snprintf(list, sizeof list, "%s", wanted);
    for (char *w = strtok_r(list, ", ", &save); w && k < MAX_GPUS; w = strtok_r(NULL, ", ", &save)) {
        char *end;
        long ordinal = strtol(w, &end, 10);
        int hit = -1;
        for (int i = 0; i < n; i++)
            if (*end ? strncmp(found[i].state->uuid, w, strlen(w)) == 0 : ordinal == i) hit = i;
        if (hit < 0) break;
        chosen[k++] = &found[hit];
    }
    return k;
}

static void find_devices(void) {
    struct gpu found[MAX_GPUS], *chosen[MAX_GPUS];
    int n = 0, k = 0;
    for (uint32_t i = 0; i < MAX_GPUS; i++) {
        if (gpu_open(&found[n], gpu_root(), i) != 0) continue;
        if (mps_serves(found[n].state->uuid)) n++; /* an MPS client sees its daemon's devices */
    }
    const char *wanted = getenv("CUDA_VISIBLE_DEVICES");
    if (wanted) k = choose(found, n, wanted, chosen);
    else
        for (; k < n; k++) chosen[k] = &found[k];
    for (count = 0; count < k; count++) {
        memset(&devices[count], 0, sizeof devices[count]);
        devices[count].gpu = *chosen[count];
        pthread_mutex_init(&devices[count].gpu.mutex, NULL);
        devices[count].fault_seen = devices[count].gpu.state->fault_count;
    }
}

API CUresult cuInit(unsigned int flags) {
    static bool fork_watched;
    if (flags) return CUDA_ERROR_INVALID_VALUE;
    if (forked) return CUDA_ERROR_NOT_INITIALIZED;
    pthread_mutex_lock(&driver_mutex);
    CUresult rc = CUDA_SUCCESS;
    if (!initialized) {
        rc = mps_attach();
        if (rc == CUDA_SUCCESS) find_devices();
        if (rc == CUDA_SUCCESS && count == 0) rc = CUDA_ERROR_NO_DEVICE;
        if (rc == CUDA_SUCCESS && !fork_watched) fork_watched = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
        initialized = rc == CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&driver_mutex);
    return rc;
}

CUresult driver_ready(void) {
    return initialized && !forked ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult device_of(CUdevice ordinal, struct device **device) {
    if (driver_ready() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= count) return CUDA_ERROR_INVALID_DEVICE;
    *device = &devices[ordinal];
    return CUDA_SUCCESS;
}

int device_count(void) {
    return count;
}

CUdevice ordinal_of(const struct device *device) {
    return (CUdevice)(device - devices);
}

API CUresult cuDriverGetVersion(int *version) {
    if (!version) return CUDA_ERROR_INVALID_VALUE;
    *version = DRIVER_VERSION;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetCount(int *n) {
    if (driver_ready() != CUDA_SUCCESS) return CUDA_ERROR_NOT_INITIALIZED;
    *n = count;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    struct device *d;
    CUresult rc = device_of(ordinal, &d);
    if (rc == CUDA_SUCCESS) *device = ordinal;
    return rc;
}

API CUresult cuDeviceGetName(char *name, int bytes, CUdevice device) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS) snprintf(name, (size_t)bytes, "%s", d->gpu.state->product);
    return rc;
}

API CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc != CUDA_SUCCESS) return rc;
    const char *text = d->gpu.state->uuid + 4; /* after "GPU-" */
    for (int i = 0; i < 16; i++) {
        unsigned int byte = 0;
        if (*text == '-') text++;
        sscanf(text, "%2x", &byte);
        uuid->bytes[i] = (char)byte;
        text += 2;
    }
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device) {
    return cuDeviceGetUuid(uuid, device);
}

API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS) *bytes = d->gpu.state->memory_bytes;
    return rc;
}

API CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc != CUDA_SUCCESS) return rc;
    *major = (int)d->gpu.state->cc_major;
    *minor = (int)d->gpu.state->cc_minor;
    return CUDA_SUCCESS;
}

/* Attribute numbers are CUdevice_attribute's. What isn't listed is 0, as many attributes are on many devices. */
static int attribute(const struct gpu_state *s, int number) {
    switch (number) {
    case 1: case 2: case 3: case 8: return 1024; /* threads per block, block X and Y; shared memory below */
    case 4: return 64;
    case 5: return 2147483647;
    case 6: case 7: return 65535;
    case 10: return 32; /* warp size */
    case 13: return 1380000;
    case 15: case 31: case 35: case 40: case 41: case 83: case 115: return 1; /* overlap, concurrent kernels, UVA,
                                                                      managed, pools */
    case 16: return (int)sm_count_of(s, sm_percent_of_process()); /* under MPS: the partition's */
    case 20: return (int)s->compute_mode;
    case 33: return (int)s->index + 1; /* PCI bus */
    case 39: return 2048;
    case 75: return (int)s->cc_major;
    case 76: return (int)s->cc_minor;
    case 90: return 0; /* compute preemption */
    case 95: return 1; /* cooperative launch */
    default: return 0;
    }
}

API CUresult cuDeviceGetAttribute(int *value, int number, CUdevice device) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS) *value = attribute(d->gpu.state, number);
    return rc;
}

API CUresult cuDeviceGetPCIBusId(char *text, int bytes, CUdevice device) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS) snprintf(text, (size_t)bytes, "0000:%02x:00.0", d->gpu.state->index + 1);
    return rc;
}

API CUresult cuGetExportTable(const void **table, const CUuuid *id) {
    (void)id; /* NVIDIA's private tables are not imitated */
    if (table) *table = NULL;
    return CUDA_ERROR_NOT_SUPPORTED;
}
