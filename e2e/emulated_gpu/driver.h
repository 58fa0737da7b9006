/* Inside the libcuda double: this process's view of the driver. */
#ifndef EMULATED_GPU_DRIVER_H
#define EMULATED_GPU_DRIVER_H

#include "cuda_api.h"
#include "state.h"

/* How one kernel takes time: see models/README.md for the law. */
struct function {
    struct function *next;
    CUmodule module;
    char name[KERNEL_NAME_BYTES];
    double fixed_us, work_us, plateau_percent;
};

struct module {
    struct function *functions;
    CUcontext context;
};

/* Work in stream order: the last kernel put in, and the end of the last copy. */
struct mark {
    uint64_t seq;
    uint64_t until_ns;
};

struct capture {
    CUgraph graph;
    CUstream origin;
    CUstreamCaptureMode mode;
    pthread_t thread;
    bool invalid;
    uint64_t id;
};

struct stream {
    struct stream *next;
    CUcontext context;
    unsigned int flags;
    int priority;
    struct mark mark;
    struct capture *capture;
};

struct event {
    CUcontext context;
    unsigned int flags;
    bool recorded;
    struct mark mark;
    uint64_t at_ns; /* the moment of recording: the event's time if the stream was idle */
    uint64_t end_foreseen_ns;
    struct capture *capture;
};

struct allocation {
    struct allocation *next;
    CUdeviceptr address;
    uint64_t bytes;
    bool is_view; /* mapped physical memory, which is charged and given back by its own handle */
    bool of_graph; /* backed while a graph that allocates it has run */
    CUmemoryPool pool;
};

struct context {
    struct device *device;
    bool primary, destroyed;
    unsigned int flags, api_version;
    unsigned int sms; /* of a green context; 0: all that the client has */
    struct stream legacy;
    struct stream *streams;
    struct allocation *allocations;
};

struct device {
    struct gpu gpu;
    uint32_t contexts; /* the first makes this process a client, the last ends it */
    uint32_t primary_references;
    CUcontext primary;
    uint32_t fault_seen;
    uint64_t pending[QUEUE_DEPTH]; /* seqs of the latest launches, by count */
    uint64_t launched;
    uint32_t stop; /* wakes this process's waiters for good */
    uint64_t graph_used, graph_reserved; /* memory of graphs' allocation nodes */
};

/* driver.c */
CUresult driver_ready(void);
CUresult device_of(CUdevice ordinal, struct device **device);
int device_count(void);
CUdevice ordinal_of(const struct device *device);
extern pthread_mutex_t driver_mutex;

/* mps_client.c */
struct mps { bool attached; uint32_t sm_percent; uint64_t memory_limit; char uuids[MAX_GPUS * 48]; };
extern struct mps mps;
CUresult mps_attach(void);
CUresult mps_health(void);
bool mps_serves(const char *uuid);
void mps_forked(void);

/* context.c */
CUresult current(CUcontext *context);
CUresult healthy(struct device *device);
uint32_t sm_percent_of_process(void);
CUresult context_beside(CUdevice device, CUcontext *context); /* not made current */

/* memory.c */
void free_all(CUcontext context);
CUresult memory_charge(CUcontext context, uint64_t bytes);
void memory_refund(CUcontext context, uint64_t bytes);
bool is_device_memory(CUcontext context, CUdeviceptr address, size_t bytes);
CUresult address_new(CUcontext context, size_t bytes, struct allocation like, CUdeviceptr *address);
CUresult address_free(CUdeviceptr address);

/* pool.c */
void pool_give(CUmemoryPool pool, uint64_t bytes);
void pools_release(struct device *device);
uint64_t pools_end(CUcontext context);

/* stream.c */
struct stream *stream_new(CUcontext context, unsigned int flags, int priority);
CUresult stream_of(CUstream handle, bool per_thread, CUstream *stream);
uint64_t ready_after(CUstream stream, uint64_t now);
CUresult wait_mark(struct device *device, const struct mark *mark);
bool mark_done(const struct device *device, const struct mark *mark);
CUresult sync_stream(CUstream stream);

/* capture.c */
CUresult unsafe_call(void); /* a call that a global-mode capture forbids */
CUresult forbidden_while_capturing(CUstream stream);
bool context_captures(CUcontext context);
CUresult capture_kernel(CUstream stream, CUfunction f, uint32_t batch);

/* launch.c */
uint64_t duration_of(const struct function *f, uint32_t batch, double sm_share);
CUresult launch_now(CUstream stream, CUfunction f, uint32_t batch);
uint32_t batch_of(void **parameters);

/* graph.c */
CUgraph graph_new(void);
void graph_add(CUgraph graph, CUfunction f, uint32_t batch);
CUresult graph_add_alloc(CUgraph graph, CUcontext context, uint64_t bytes, CUdeviceptr *address);
CUresult graph_add_free(CUgraph graph, CUdeviceptr address);

/* resolve.c */
extern const struct resolution { const char *name; int version; int per_thread; void *function; } resolutions[];
extern const size_t resolution_count;

#endif
