/* A driver whose calls cost nothing, so that what the shim adds to a launch can be seen beside one clock read.
 *
 * Its GPU has a clock of its own that moves by NULL_KERNEL_NS (5000) a launch; whatever was launched has ended. It
 * answers only what the bench's client and the shim ask; names, versions and flags are not looked at. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))

static uint64_t launched, kernel_ns = 5000;
static int context;

API int cuInit(unsigned flags) {
    const char *told = getenv("NULL_KERNEL_NS");
    if (told) kernel_ns = strtoull(told, NULL, 10);
    return (int)flags;
}

API int cuDriverGetVersion(int *version) { return *version = 12040, 0; }
API int cuDevicePrimaryCtxRetain(void **made, int device) { return *made = &context, device; }
API int cuDevicePrimaryCtxRelease_v2(int device) { return device; }
API int cuCtxSetCurrent(void *unused) { return (void)unused, 0; }
API int cuCtxGetCurrent(void **current) { return *current = &context, 0; }
API int cuCtxGetDevice(int *device) { return *device = 0; }
API int cuCtxSynchronize(void) { return 0; }
API int cuDeviceGetAttribute(int *value, int attribute, int device) { return (void)attribute, *value = 80, device; }
API int cuStreamCreate(void **stream, unsigned flags) { return (void)flags, *stream = malloc(1), 0; }
API int cuStreamSynchronize(void *stream) { return (void)stream, 0; }
API int cuStreamIsCapturing(void *stream, int *status) { return (void)stream, *status = 0; }
API int cuEventCreate(void **event, unsigned flags) { return (void)flags, *event = malloc(8), 0; }
API int cuEventDestroy_v2(void *event) { return free(event), 0; }
API int cuEventQuery(void *event) { return (void)event, 0; }
API int cuEventSynchronize(void *event) { return (void)event, 0; }
API int cuEventRecord(uint64_t *event, void *stream) { return (void)stream, *event = launched, 0; }

API int cuEventElapsedTime(float *ms, const uint64_t *from, const uint64_t *to) {
    return *ms = (float)((double)(*to - *from) * (double)kernel_ns / 1e6), 0;
}

API int cuLaunchKernel(void *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                       unsigned shared, void *stream, void **parameters, void **extra) {
    (void)f, (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz, (void)shared;
    (void)stream, (void)parameters, (void)extra;
    launched++;
    return 0;
}

API int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    (void)version, (void)flags;
    *function = !strcmp(symbol, "cuLaunchKernel") ? (void *)cuLaunchKernel
              : !strcmp(symbol, "cuStreamSynchronize") ? (void *)cuStreamSynchronize : NULL;
    if (status) *status = *function ? 0 : 1;
    return *function ? 0 : 500;
}
