/* Stands before the shim, bears the driver's SONAME as well, and writes down what a CUDA runtime asks of
 * cuGetProcAddress and whose function it gets: one line "symbol version flags result file name" each, to RECORD_TO.
 * RECORD_OF names the library behind it. */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))

typedef int (*resolver)(const char *, void **, int, uint64_t);
typedef int (*resolver_v2)(const char *, void **, int, uint64_t, int *);

static void *behind(const char *name) {
    static void *library;
    if (!library) library = dlopen(getenv("RECORD_OF"), RTLD_NOW | RTLD_LOCAL);
    return library ? dlsym(library, name) : NULL;
}

static void note(const char *symbol, int version, uint64_t flags, int result, void *function) {
    static FILE *file;
    Dl_info info = {0};
    if (!file) file = fopen(getenv("RECORD_TO"), "we");
    if (function) dladdr(function, &info);
    fprintf(file, "%s %d %lu %d %s %s\n", *symbol ? symbol : "-", version, (unsigned long)flags, result,
            info.dli_fname ? info.dli_fname : "-", info.dli_sname ? info.dli_sname : "-");
    fflush(file);
}

API int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags);
API int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status);

/* The runtime asks for the resolver itself and goes on with the answer: keep it with us. */
static void stay_before(const char *symbol, void **function, int version) {
    if (!strcmp(symbol, "cuGetProcAddress"))
        *function = version >= 12000 ? (void *)cuGetProcAddress_v2 : (void *)cuGetProcAddress;
}

API int cuGetProcAddress(const char *symbol, void **function, int version, uint64_t flags) {
    int result = ((resolver)behind("cuGetProcAddress"))(symbol, function, version, flags);
    note(symbol, version, flags, result, result ? NULL : *function);
    if (!result) stay_before(symbol, function, version);
    return result;
}

API int cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    int result = ((resolver_v2)behind("cuGetProcAddress_v2"))(symbol, function, version, flags, status);
    note(symbol, version, flags, result, result ? NULL : *function);
    if (!result) stay_before(symbol, function, version);
    return result;
}

API int cuDriverGetVersion(int *version) { return ((int (*)(int *))behind("cuDriverGetVersion"))(version); }
