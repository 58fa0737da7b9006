/* Modules. A kernel image is a text: one kernel a line, `name,fixed_us,work_us,plateau_percent` (see models/). */
#define _GNU_SOURCE
#include "driver.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_BYTES_MAX (1u << 20)
#define FIRST_LINE "kernel,fixed_us,work_us,plateau_percent"

static void free_functions(struct function *f) {
    while (f) {
        struct function *next = f->next;
        free(f);
        f = next;
    }
}

static struct function *parse_line(const char *line) {
    struct function f = {0};
    int end = 0;
    if (sscanf(line, "%31[^,],%lf,%lf,%lf %n", f.name, &f.fixed_us, &f.work_us, &f.plateau_percent, &end) != 4) return NULL;
    bool sane = f.fixed_us >= 0 && f.work_us >= 0 && f.plateau_percent > 0 && f.plateau_percent <= 100;
    if (!sane || line[end]) return NULL;
    struct function *made = malloc(sizeof *made);
    if (made) *made = f;
    return made;
}

static CUresult parse_image(CUmodule m, const char *image) {
    char line[256];
    struct function **last = &m->functions;
    bool headed = false;
    while (*image) {
        size_t n = strcspn(image, "\n");
        snprintf(line, sizeof line, "%.*s", (int)n, image);
        image += n + (image[n] == '\n');
        if (!line[0] || line[0] == '#') continue;
        if (!headed) {
            headed = strcmp(line, FIRST_LINE) == 0;
            if (!headed) return CUDA_ERROR_INVALID_IMAGE;
            continue;
        }
        if (!(*last = parse_line(line))) return CUDA_ERROR_INVALID_IMAGE;
        (*last)->module = m;
        last = &(*last)->next;
    }
    return headed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
}

API CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    CUcontext c;
    CUresult rc = current(&c);
    if (rc != CUDA_SUCCESS) return rc;
    if (!image || !isprint(*(const unsigned char *)image)) return CUDA_ERROR_INVALID_IMAGE; /* a real cubin or fatbin */
    CUmodule m = calloc(1, sizeof *m);
    if (!m) return CUDA_ERROR_OUT_OF_MEMORY;
    m->context = c;
    rc = parse_image(m, image);
    if (rc == CUDA_SUCCESS) *module = m;
    else {
        free_functions(m->functions);
        free(m);
    }
    return rc;
}

API CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int n, void *options, void **values) {
    (void)n, (void)options, (void)values;
    return cuModuleLoadData(module, image);
}

API CUresult cuModuleLoadFatBinary(CUmodule *module, const void *image) {
    return cuModuleLoadData(module, image);
}

API CUresult cuModuleLoad(CUmodule *module, const char *path) {
    FILE *f = fopen(path, "re");
    if (!f) return CUDA_ERROR_FILE_NOT_FOUND;
    char *text = calloc(1, IMAGE_BYTES_MAX + 1);
    size_t n = text ? fread(text, 1, IMAGE_BYTES_MAX, f) : 0;
    fclose(f);
    CUresult rc = n ? cuModuleLoadData(module, text) : CUDA_ERROR_INVALID_IMAGE;
    free(text);
    return rc;
}

API CUresult cuModuleUnload(CUmodule module) {
    if (!module) return CUDA_ERROR_INVALID_HANDLE;
    free_functions(module->functions);
    free(module);
    return CUDA_SUCCESS;
}

API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    if (!module) return CUDA_ERROR_INVALID_HANDLE;
    for (struct function *f = module->functions; f; f = f->next)
        if (strcmp(f->name, name) == 0) {
            *function = f;
            return CUDA_SUCCESS;
        }
    return CUDA_ERROR_NOT_FOUND;
}

API CUresult cuModuleGetFunctionCount(unsigned int *n, CUmodule module) {
    *n = 0;
    for (struct function *f = module->functions; f; f = f->next) ++*n;
    return CUDA_SUCCESS;
}

API CUresult cuModuleEnumerateFunctions(CUfunction *functions, unsigned int n, CUmodule module) {
    struct function *f = module->functions;
    for (unsigned int i = 0; i < n && f; i++, f = f->next) functions[i] = f;
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetName(const char **name, CUfunction f) {
    *name = f->name;
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetModule(CUmodule *module, CUfunction f) {
    *module = f->module;
    return CUDA_SUCCESS;
}

API CUresult cuFuncGetAttribute(int *value, int attribute, CUfunction f) {
    (void)f;
    *value = attribute == 0 ? 1024 : 0; /* CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK */
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetAttribute(CUfunction f, int attribute, int value) {
    (void)f, (void)attribute, (void)value;
    return CUDA_SUCCESS;
}

API CUresult cuFuncSetCacheConfig(CUfunction f, int config) {
    (void)f, (void)config;
    return CUDA_SUCCESS;
}

API CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction f, int threads, size_t shared) {
    (void)f, (void)shared;
    *blocks = threads > 0 && threads <= 1024 ? 2048 / threads : 1;
    return CUDA_SUCCESS;
}
