/* The emulated GPU: one file per GPU, mapped by every process that uses it.
 *
 * There is no daemon. A launch reserves time on the device by itself: under the device lock it reads when its lane
 * is free, writes a log entry with the start and end of the kernel and moves the lane on. Completion is time passing.
 * The log of kernels and the list of reservations are thus the same ring: an entry is history once its end is past.
 *
 * A process may be killed at any instruction: the lock is an open-file-description lock (the kernel drops it), memory
 * is summed over live clients instead of counted, and lanes are computed again from the ring when a client has died.
 * A client is alive while it holds its record lock in the `clients` file, which works across PID namespaces.
 */
#ifndef EMULATED_GPU_STATE_H
#define EMULATED_GPU_STATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_MAGIC 0x3155504744554d45ULL /* "EMUDGPU1" */
#define STATE_VERSION 1u
#define MAX_GPUS 16
#define MAX_CLIENTS 256
#define MAX_RECORDS 4096
#define MAX_XIDS 64
#define LANES_BY_SHARE 101
#define LANES (LANES_BY_SHARE + MAX_CLIENTS)
#define QUEUE_DEPTH 1024 /* launches a client may be ahead of the device, as on a real driver */
#define KERNEL_NAME_BYTES 32
#define MPS_OWNER_BYTE 100000 /* record lock in `clients`: an MPS daemon owns this GPU */

enum lane_rule {
    LANE_PER_SHARE = 0,  /* clients with an equal SM share run one after another */
    LANE_PER_CLIENT = 1, /* every client is a lane of its own: as MPS does without anybody arranging turns */
};

enum compute_mode { MODE_DEFAULT = 0, MODE_PROHIBITED = 2, MODE_EXCLUSIVE_PROCESS = 3 };

/* A process that holds a context. The slot is reused; the record of who it was stays in `records`. */
struct client {
    uint32_t in_use;
    uint32_t sm_percent;
    uint64_t id; /* never reused */
    uint64_t memory_bytes;
    uint32_t is_mps;
    uint32_t sm_count;
};

struct client_record {
    uint64_t id;
    int32_t pid; /* in the client's own PID namespace */
    uint32_t sm_percent;
    uint32_t is_mps;
    uint32_t reserved;
    char pod[64];
    char program[32];
};

struct kernel_entry {
    uint64_t seq; /* written last: an entry whose seq does not match its place is being overwritten */
    uint64_t client;
    uint64_t launch_ns;
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t duration_ns;
    uint32_t sm_percent;
    uint32_t lane;
    char kernel[KERNEL_NAME_BYTES];
};

struct xid_event {
    uint64_t at_ns;
    uint64_t code;
};

struct gpu_state {
    uint64_t magic;
    uint32_t version;
    uint32_t index;
    /* Where things are, for readers in other languages. */
    uint64_t records_offset, record_bytes, record_count;
    uint64_t log_offset, entry_bytes, entry_count;
    uint64_t next_seq; /* also how many kernels were ever launched */

    char uuid[48];
    char product[64];
    uint32_t sm_count, sm_step, cc_major, cc_minor, cores_per_sm;
    uint32_t compute_mode, mps_client_limit, lane_rule;
    uint64_t memory_bytes, context_bytes;

    uint32_t epoch;       /* futex: bumped when reservations move */
    uint32_t fault_count; /* a fatal fault hits every MPS client of the device */
    uint32_t fail_next;   /* the next launch returns this CUresult */
    uint32_t moving;      /* reservations are being moved: still set if the process that did it was killed */
    uint64_t reaped_ns;
    uint64_t next_client;
    uint64_t xid_count;
    struct xid_event xids[MAX_XIDS];
    uint64_t lane_free_ns[LANES];
    struct client clients[MAX_CLIENTS];
    struct client_record records[MAX_RECORDS];
    struct kernel_entry log[];
};

/* One opened GPU of this process. */
struct gpu {
    struct gpu_state *state;
    uint64_t mapped_bytes;
    int lock_fd;    /* `state`: the device lock */
    int clients_fd; /* `clients`: liveness. Never closed: closing any descriptor of it drops this process's locks */
    pthread_mutex_t mutex;
    int slot; /* this process's client slot, -1 without one */
    uint64_t client;
};

struct gpu_plan { /* what `emulated-gpu create` makes */
    const char *product;
    uint32_t sm_count, sm_step, cc_major, cc_minor, cores_per_sm, mps_client_limit, lane_rule;
    uint64_t memory_bytes, context_bytes, entry_count;
};

uint64_t now_ns(void);
const char *gpu_root(void);

/* state.c */
int gpu_create(const char *root, uint32_t index, const struct gpu_plan *plan);
int gpu_open(struct gpu *gpu, const char *root, uint32_t index);
void gpu_abandon(struct gpu *gpu); /* in a forked child: gives the parent's descriptors up */
void gpu_lock(struct gpu *gpu);
void gpu_unlock(struct gpu *gpu);

/* client.c: all but the first two want the device lock held */
bool client_alive(const struct gpu *gpu, int slot, int *pid);
bool mps_owner_alive(const struct gpu *gpu, int *pid);
bool mps_own(struct gpu *gpu);
int client_join(struct gpu *gpu, uint32_t sm_percent, bool is_mps);
void client_leave(struct gpu *gpu);
void client_reap(struct gpu *gpu);
void client_reap_if_due(struct gpu *gpu);
uint64_t memory_used(const struct gpu *gpu);
bool memory_take(struct gpu *gpu, uint64_t bytes, uint64_t client_limit);
void memory_give(struct gpu *gpu, uint64_t bytes);
uint32_t sm_count_of(const struct gpu_state *state, uint32_t sm_percent);

/* timeline.c */
uint64_t reserve(struct gpu *gpu, const char *kernel, uint64_t ready_ns, uint64_t duration_ns);
void release_reservations(struct gpu *gpu, uint64_t client);
uint64_t end_of(const struct gpu *gpu, uint64_t seq);   /* 0 when it is history that the ring has forgotten */
void wait_time(uint64_t until_ns, const volatile uint32_t *stop);
void wait_until(struct gpu *gpu, uint64_t seq, const volatile uint32_t *stop);

#endif
