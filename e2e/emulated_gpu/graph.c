/* Graphs: a list of kernels in the order they were added, launched as one. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <string.h>

struct node {
    struct node *next;
    CUfunction function;
    uint32_t batch;
    CUcontext context;    /* of an allocation node */
    uint64_t alloc_bytes; /* what it takes; */
    CUdeviceptr address;  /* of a free node alone: what it gives back */
};

struct graph {
    struct node *first, **last;
    size_t count;
};

struct graph_exec {
    struct node *nodes; /* an array: a copy that the graph's later changes don't touch */
    size_t count;
};

CUgraph graph_new(void) {
    CUgraph g = calloc(1, sizeof *g);
    if (g) g->last = &g->first;
    return g;
}

static CUgraphNode append(CUgraph graph, CUfunction f, uint32_t batch) {
    CUgraphNode n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->function = f;
    n->batch = batch;
    *graph->last = n;
    graph->last = &n->next;
    graph->count++;
    return n;
}

void graph_add(CUgraph graph, CUfunction f, uint32_t batch) {
    append(graph, f, batch);
}

/* The address is fixed when the node is made; memory is there once the graph has run. */
CUresult graph_add_alloc(CUgraph graph, CUcontext context, uint64_t bytes, CUdeviceptr *address) {
    CUresult rc = bytes ? address_new(context, bytes, (struct allocation){.of_graph = true}, address) : CUDA_ERROR_INVALID_VALUE;
    CUgraphNode n = rc == CUDA_SUCCESS ? append(graph, NULL, 0) : NULL;
    if (!n) return rc == CUDA_SUCCESS ? CUDA_ERROR_OUT_OF_MEMORY : rc;
    n->context = context;
    n->alloc_bytes = bytes;
    n->address = *address;
    return CUDA_SUCCESS;
}

CUresult graph_add_free(CUgraph graph, CUdeviceptr address) {
    CUgraphNode n = append(graph, NULL, 0);
    if (n) n->address = address;
    return n ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuGraphAddMemAllocNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n,
                                    CUDA_MEM_ALLOC_NODE_PARAMS *parameters) {
    CUcontext c;
    CUresult rc = current(&c);
    (void)dependencies, (void)n;
    if (rc == CUDA_SUCCESS) rc = graph_add_alloc(graph, c, parameters->bytesize, &parameters->dptr);
    if (rc == CUDA_SUCCESS) for (*node = graph->first; (*node)->next;) *node = (*node)->next;
    return rc;
}

API CUresult cuGraphAddMemFreeNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n,
                                   CUdeviceptr address) {
    (void)dependencies, (void)n;
    CUresult rc = graph_add_free(graph, address);
    if (rc == CUDA_SUCCESS) for (*node = graph->first; (*node)->next;) *node = (*node)->next;
    return rc;
}

API CUresult cuGraphCreate(CUgraph *graph, unsigned int flags) {
    (void)flags;
    *graph = graph_new();
    return *graph ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuGraphDestroy(CUgraph graph) {
    while (graph->first) {
        CUgraphNode n = graph->first;
        graph->first = n->next;
        free(n);
    }
    free(graph);
    return CUDA_SUCCESS;
}

API CUresult cuGraphAddKernelNode_v2(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n,
                                     const CUDA_KERNEL_NODE_PARAMS *parameters) {
    (void)dependencies, (void)n;
    if (!parameters || !parameters->func) return CUDA_ERROR_INVALID_VALUE;
    *node = append(graph, parameters->func, batch_of(parameters->kernelParams));
    return *node ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuGraphAddKernelNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n,
                                  const CUDA_KERNEL_NODE_PARAMS *parameters) {
    return cuGraphAddKernelNode_v2(node, graph, dependencies, n, parameters);
}

API CUresult cuGraphAddEmptyNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *dependencies, size_t n) {
    (void)dependencies, (void)n;
    *node = append(graph, NULL, 0);
    return *node ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
    size_t i = 0;
    for (CUgraphNode n = graph->first; n && nodes && i < *count; n = n->next) nodes[i++] = n;
    *count = nodes ? i : graph->count;
    return CUDA_SUCCESS;
}

API CUresult cuGraphNodeGetType(CUgraphNode node, int *type) {
    *type = node->function ? 0 : 5; /* CU_GRAPH_NODE_TYPE_KERNEL, _EMPTY */
    return CUDA_SUCCESS;
}

API CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS *parameters) {
    if (!node->function) return CUDA_ERROR_INVALID_VALUE;
    memset(parameters, 0, sizeof *parameters);
    parameters->func = node->function;
    parameters->gridDimX = parameters->gridDimY = parameters->gridDimZ = 1;
    parameters->blockDimX = parameters->blockDimY = parameters->blockDimZ = 1;
    return CUDA_SUCCESS;
}

static CUresult copy_nodes(CUgraphExec exec, CUgraph graph) {
    struct node *nodes = calloc(graph->count ? graph->count : 1, sizeof *nodes);
    size_t i = 0;
    if (!nodes) return CUDA_ERROR_OUT_OF_MEMORY;
    for (CUgraphNode n = graph->first; n; n = n->next) nodes[i++] = *n;
    free(exec->nodes);
    exec->nodes = nodes;
    exec->count = graph->count;
    return CUDA_SUCCESS;
}

API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags) {
    (void)flags;
    if (!graph) return CUDA_ERROR_INVALID_VALUE;
    *exec = calloc(1, sizeof **exec);
    return *exec ? copy_nodes(*exec, graph) : CUDA_ERROR_OUT_OF_MEMORY;
}

API CUresult cuGraphInstantiate_v2(CUgraphExec *exec, CUgraph graph, CUgraphNode *failed, char *log, size_t bytes) {
    if (failed) *failed = NULL;
    if (log && bytes) *log = 0;
    return cuGraphInstantiateWithFlags(exec, graph, 0);
}

API CUresult cuGraphInstantiate(CUgraphExec *exec, CUgraph graph, CUgraphNode *failed, char *log, size_t bytes) {
    return cuGraphInstantiate_v2(exec, graph, failed, log, bytes);
}

API CUresult cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph, void *parameters) {
    (void)parameters;
    return cuGraphInstantiateWithFlags(exec, graph, 0);
}

API CUresult cuGraphInstantiateWithParams_ptsz(CUgraphExec *exec, CUgraph graph, void *parameters) {
    return cuGraphInstantiateWithParams(exec, graph, parameters);
}

API CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, void *result) {
    (void)result;
    return exec->count == graph->count ? copy_nodes(exec, graph) : CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode *failed, int *result) {
    if (failed) *failed = NULL;
    if (result) *result = 0;
    return cuGraphExecUpdate_v2(exec, graph, NULL);
}

API CUresult cuGraphExecDestroy(CUgraphExec exec) {
    free(exec->nodes);
    free(exec);
    return CUDA_SUCCESS;
}

API CUresult cuGraphUpload(CUgraphExec exec, CUstream stream) {
    (void)exec, (void)stream;
    return CUDA_SUCCESS;
}

API CUresult cuGraphUpload_ptsz(CUgraphExec exec, CUstream stream) {
    return cuGraphUpload(exec, stream);
}

static uint64_t bytes_of(const struct graph_exec *exec, CUdeviceptr address) {
    for (size_t i = 0; i < exec->count; i++)
        if (exec->nodes[i].alloc_bytes && exec->nodes[i].address == address) return exec->nodes[i].alloc_bytes;
    return 0;
}

/* All that the graph allocates has its memory for the whole launch; what it frees may serve the next one. */
static CUresult back_memory(struct graph_exec *exec) {
    uint64_t taken = 0, given = 0;
    struct device *d = NULL;
    CUcontext c = NULL;
    for (size_t i = 0; i < exec->count; i++) {
        const struct node *n = &exec->nodes[i];
        if (n->alloc_bytes) c = n->context;
        taken += n->alloc_bytes;
        if (!n->function && !n->alloc_bytes && n->address) given += bytes_of(exec, n->address);
    }
    if (!taken) return CUDA_SUCCESS;
    d = c->device;
    uint64_t needed = d->graph_used + taken, more = needed > d->graph_reserved ? needed - d->graph_reserved : 0;
    CUresult rc = more ? memory_charge(c, more) : CUDA_SUCCESS;
    if (rc != CUDA_SUCCESS) return rc;
    d->graph_reserved += more;
    d->graph_used += taken - given;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetGraphMemAttribute(CUdevice device, int attribute, void *value) {
    struct device *d;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS) *(cuuint64_t *)value = attribute < 2 ? d->graph_used : d->graph_reserved;
    return rc;
}

API CUresult cuDeviceGraphMemTrim(CUdevice device) {
    struct device *d;
    CUcontext c;
    CUresult rc = device_of(device, &d);
    if (rc == CUDA_SUCCESS) rc = current(&c);
    if (rc != CUDA_SUCCESS) return rc;
    memory_refund(c, d->graph_reserved - d->graph_used);
    d->graph_reserved = d->graph_used;
    return CUDA_SUCCESS;
}

static CUresult launch(CUgraphExec exec, CUstream handle, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
    if (rc == CUDA_SUCCESS && !s->capture) rc = back_memory(exec);
    for (size_t i = 0; i < exec->count && rc == CUDA_SUCCESS; i++) {
        const struct node *n = &exec->nodes[i];
        if (!n->function) continue;
        rc = s->capture ? capture_kernel(s, n->function, n->batch) : launch_now(s, n->function, n->batch);
    }
    return rc;
}

API CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream) {
    return launch(exec, stream, false);
}

API CUresult cuGraphLaunch_ptsz(CUgraphExec exec, CUstream stream) {
    return launch(exec, stream, true);
}
