/* Graphs: a list of kernels in the order they were added, launched as one. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <string.h>

struct node {
    struct node *next;
    CUfunction function;
    uint32_t batch;
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

static CUresult launch(CUgraphExec exec, CUstream handle, bool ptsz) {
    CUstream s;
    CUresult rc = stream_of(handle, ptsz, &s);
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
