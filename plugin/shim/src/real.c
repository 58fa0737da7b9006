/* The real driver: found and opened at the first CUDA call, never before, never linked against. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "shim.h"

extern const char hasgpu_names[];

static pthread_once_t opened = PTHREAD_ONCE_INIT;
static void *driver;
static const char *name_of[HASGPU_INDICES];

#ifndef PROXY_OF /* the NVML proxy is made of this file too */
#define PROXY_OF "libcuda.so.1"
#define TOLD_BY "HASGPU_REAL_LIBCUDA"
#define NO_LIBRARY CUDA_ERROR_NO_DEVICE
#define NO_FUNCTION CUDA_ERROR_NOT_FOUND
#define BEFORE_OPENING memory_pin()
#endif

static int no_driver(void) { return NO_LIBRARY; }
static int no_such_entry_point(void) { return NO_FUNCTION; }

/* A file that is this very library, or that is not there, is no driver. */
static bool is_ourselves(const char *path) {
    Dl_info self;
    struct stat theirs, ours;
    return stat(path, &theirs) || (dladdr((void *)hasgpu_resolve, &self) && !stat(self.dli_fname, &ours) &&
                                   theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev);
}

static void *open_at(const char *path) {
    return is_ourselves(path) ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void *open_in_library_path(void) {
    const char *list = getenv("LD_LIBRARY_PATH");
    char path[4096];
    while (list && *list) {
        int length = (int)strcspn(list, ":;");
        if (length && snprintf(path, sizeof path, "%.*s/" PROXY_OF, length, list) < (int)sizeof path) {
            void *found = open_at(path);
            if (found) return found;
        }
        list += length + (list[length] != 0);
    }
    return NULL;
}

static void open_driver(void) {
    static const char *const places[] = {
        "/usr/local/nvidia/lib64/" PROXY_OF, "/usr/lib/x86_64-linux-gnu/" PROXY_OF,
        "/usr/lib64/" PROXY_OF, "/usr/lib/" PROXY_OF, "/usr/lib/wsl/lib/" PROXY_OF,
    };
    const char *name = hasgpu_names;
    for (unsigned i = 0; i < HASGPU_INDICES; i++, name += strlen(name) + 1) name_of[i] = name;
    BEFORE_OPENING;
    const char *told = getenv(TOLD_BY);
    if (told && *told) driver = open_at(told);
    if (!driver) driver = open_in_library_path();
    for (size_t i = 0; !driver && i < sizeof places / sizeof *places; i++) driver = open_at(places[i]);
    if (!driver) fputs("hasgpu: no " PROXY_OF " found behind ours\n", stderr);
}

void *hasgpu_driver_symbol(const char *name) {
    pthread_once(&opened, open_driver);
    return driver ? dlsym(driver, name) : NULL;
}

const char *hasgpu_name(unsigned index) {
    pthread_once(&opened, open_driver);
    return name_of[index];
}

/* Called by the trampolines with the index of the entry point; leaves the answer in its slot for good. */
void *hasgpu_resolve(unsigned index) {
    void *found = hasgpu_driver_symbol(hasgpu_name(index));
    if (!found) found = driver ? (void *)no_such_entry_point : (void *)no_driver;
    __atomic_store_n(&hasgpu_real[index], found, __ATOMIC_RELEASE);
    return found;
}
