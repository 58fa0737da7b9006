/* cuGetProcAddress: by name, version and flags. The table is in resolutions.c. */
#define _GNU_SOURCE
#include "driver.h"

#include <string.h>

/* Among the entries of a name: the newest that the asked version knows; `_ptsz` forms only when they are asked for,
 * and then before legacy ones of the same version. */
static const struct resolution *find(const char *name, int version, bool per_thread, bool *known) {
    const struct resolution *best = NULL;
    *known = false;
    for (size_t i = 0; i < resolution_count; i++) {
        const struct resolution *r = &resolutions[i];
        if (strcmp(r->name, name) != 0) continue;
        *known = true;
        if (r->version > version || (r->per_thread && !per_thread)) continue;
        bool newer = !best || r->version > best->version;
        if (per_thread && best && best->per_thread != r->per_thread) newer = r->per_thread;
        if (newer) best = r;
    }
    return best;
}

API CUresult cuGetProcAddress_v2(const char *name, void **function, int version, cuuint64_t flags,
                                 CUdriverProcAddressQueryResult *status) {
    bool known;
    if (!name || !function) return CUDA_ERROR_INVALID_VALUE;
    bool per_thread = flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    const struct resolution *r = find(name, version, per_thread, &known);
    *function = r ? r->function : NULL;
    if (status)
        *status = r ? CU_GET_PROC_ADDRESS_SUCCESS
                    : known ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return r ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

API CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags) {
    return cuGetProcAddress_v2(name, function, version, flags, NULL);
}
