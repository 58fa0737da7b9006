/* cuGetProcAddress: ask the driver, then answer with the hook that belongs to the symbol, version and stream kind.
 *
 * The driver decides whether a symbol exists; we only put ourselves before the function it names, and remember that
 * function as the one behind the hook, so that each variant keeps its own. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "shim.h"

enum stream_kind { LEGACY, PER_THREAD };

struct hook {
    const char *symbol;
    const char *export;
    int since;
    enum stream_kind kind;
    unsigned index;
    const void *function;
};

#define HOOK(export, symbol, since, kind) extern const char address_of_##export[] __asm__(#export);
#include "hooks.def"
#undef HOOK
#define HOOK(export, symbol, since, kind) {symbol, #export, since, kind, HASGPU_I_##export, address_of_##export},
static const struct hook hooks[] = {
#include "hooks.def"
};
#undef HOOK

/* The newest row that is not newer than what was asked; a per-thread row first where such streams are asked for.
 * A caller may also ask by an exported name such as cuLaunchKernel_ptsz. */
static const struct hook *hook_for(const char *symbol, int version, uint64_t flags) {
    const struct hook *best = NULL;
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
        const struct hook *row = &hooks[i];
        if (!strcmp(row->export, symbol) && strcmp(row->symbol, symbol)) return row;
        if (strcmp(row->symbol, symbol) || row->since > version) continue;
        if (row->kind == PER_THREAD && !(flags & CU_GET_PROC_ADDRESS_PER_THREAD)) continue;
        if (!best || row->kind > best->kind || (row->kind == best->kind && row->since > best->since)) best = row;
    }
    return best;
}

/* True where the driver names a variant that we list and do not hook: an ABI of its own that must pass untouched. */
static bool is_another_variant(const struct hook *hook, const void *function) {
    char name[128];
    static const char *const endings[] = {"", "_v2", "_v3", "_v4", "_ptsz", "_ptds", "_v2_ptsz", "_v2_ptds"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        snprintf(name, sizeof name, "%s%s", hook->symbol, endings[i]);
        if (strcmp(name, hook->export) && hasgpu_driver_symbol(name) == function)
            return hasgpu_driver_symbol(hook->export) != function;
    }
    return false;
}

static bool is_listed(const char *symbol) {
    for (unsigned i = 0; i < HASGPU_INDICES; i++)
        if (!strcmp(hasgpu_name(i), symbol)) return true;
    return false;
}

static void put_ourselves_before(const char *symbol, void **function, int version, uint64_t flags) {
    if (!symbol || !function || !*function) return;
    const struct hook *hook = hook_for(symbol, version, flags);
    if (!hook) {
        if (*symbol && !is_listed(symbol) && hasgpu_pages.page)
            __atomic_fetch_add(&hasgpu_pages.page->unknown_entry_points, 1, __ATOMIC_RELAXED);
        return;
    }
    if (*function == hook->function || is_another_variant(hook, *function)) return;
    __atomic_store_n(&hasgpu_real[hook->index], *function, __ATOMIC_RELEASE);
    *function = (void *)hook->function;
}

EXPORT CUresult cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
    CUresult result = REAL(cuGetProcAddress)(symbol, function, version, flags);
    if (result == CUDA_SUCCESS) put_ourselves_before(symbol, function, version, flags);
    return result;
}

EXPORT CUresult cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    CUresult result = REAL(cuGetProcAddress_v2)(symbol, function, version, flags, status);
    if (result == CUDA_SUCCESS) put_ourselves_before(symbol, function, version, flags);
    return result;
}

/* In per-thread builds `flags` 0 means per-thread streams. */
EXPORT CUresult cuGetProcAddress_v2_ptsz(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    CUresult result = REAL(cuGetProcAddress_v2_ptsz)(symbol, function, version, flags, status);
    if (result == CUDA_SUCCESS) put_ourselves_before(symbol, function, version, flags ? flags : CU_GET_PROC_ADDRESS_PER_THREAD);
    return result;
}
