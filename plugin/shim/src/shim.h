/* What the rooms of the shim tell each other. real: the driver behind us; pages: the shared pages; schedule: when it
 * is our turn; gate: may this launch go; cost: what a kernel takes; account: what it took; memory, pools: who holds
 * bytes; findings: what the pod's page says of its driver. */
#ifndef HASGPU_SHIM_H
#define HASGPU_SHIM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "cuda_abi.h"
#include "entry_points.h"
#include "hasgpu_pages.h"

#define EXPORT __attribute__((visibility("default")))
#define MS UINT64_C(1000000)

/* real.c */
extern void *hasgpu_real[HASGPU_INDICES];
void *hasgpu_resolve(unsigned index);
void *hasgpu_driver_symbol(const char *name);
const char *hasgpu_name(unsigned index);
/* The driver's own function behind one of our hooks; its type is the hook's. */
#define REAL(name) ((__typeof__(&name))__atomic_load_n(&hasgpu_real[HASGPU_I_##name], __ATOMIC_ACQUIRE))
/* A driver function that we call and do not hook. */
#define DRIVER(type, name) ((type)__atomic_load_n(&hasgpu_real[HASGPU_I_##name], __ATOMIC_ACQUIRE))

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

/* files.c */
bool files_pod_uid(uint8_t uid[16]);
const struct hasgpu_schedule *files_schedule(void);
struct hasgpu_page *files_page(int flags, int *kept_fd);

/* pages.c: one lock for gate and accounts of this process; never held while sleeping. */
extern pthread_mutex_t hasgpu_lock;
struct pages {
    bool wanted;                            /* HASGPU_POD_UID is set: this process is to be gated */
    uint8_t pod_uid[16];
    const struct hasgpu_schedule *schedule; /* NULL while the file is not there */
    struct hasgpu_page *page;               /* never NULL after pages_attach: a private page where there is none */
    struct hasgpu_process *process;
    int page_fd;
    unsigned index;
};
extern struct pages hasgpu_pages;
void pages_attach(void); /* with the lock held */
uint64_t pages_pending_ns(uint64_t now);
uint64_t pages_memory_bytes(void);

/* findings.c */
void findings_look(uint64_t now);
void findings_note_context(void);
void findings_note_result(CUresult result);

/* schedule.c */
struct slice {
    bool known;
    uint64_t number, effective_from_ns, window_ns, period_ns, quota_ns; /* quota_ns: per period */
    uint32_t index; /* of the entry in its table */
    struct hasgpu_entry entry;
};
struct turn {
    uint64_t start_ns, end_ns;
};
bool schedule_copy(const struct hasgpu_schedule *page, const uint8_t uid[16], struct slice *now_one, struct slice *next);
struct turn slice_turn(const struct slice *slice, uint64_t now);
uint64_t slice_time(const struct slice *slice, uint64_t from, uint64_t to);
uint64_t slice_loan(const struct hasgpu_schedule *page, const struct slice *slice, uint64_t now);

/* gate.c */
bool gate_pass(uint64_t *now, uint64_t estimate_ns); /* with the lock, given up while it sleeps */
void gate_charge(uint64_t from, uint64_t to, bool borrowed);
bool gate_borrowing(void); /* the launch that was let through last goes in lent time */
uint64_t gate_in_flight_cap_ns(void);
void gate_forget(void);

/* cost.c */
uint64_t cost_estimate_ns(uint64_t key);
bool cost_probe_due(uint64_t key);
void cost_learn(uint64_t key, uint64_t measured_ns);
uint64_t *cost_memory_bytes(uint64_t key);
void cost_forget(uint64_t key);

/* account.c: all with the lock held; account_wait gives it up while it waits. */
bool account_open(CUstream stream, uint64_t key, uint64_t estimate_ns, uint64_t now);
void account_close(CUstream stream);
void account_close_all(void);
void account_failed(CUstream stream, uint64_t estimate_ns);
void account_reap(void);
uint64_t account_busy_until(uint64_t now);
bool account_backlogged(void);
bool account_wait(void); /* false where there is nothing to wait for */
void account_forget_context(CUcontext context);
void account_forget(void);

/* capture.c */
bool capture_on(CUstream stream, bool per_thread);
int capture_relax(void); /* our own calls must not break a capture: what to give to capture_restore */
void capture_restore(int mode);

/* memory.c, pools.c: all with the lock held */
void memory_add(uint64_t bytes); /* may be negative */
bool memory_reserve(uint64_t bytes);
bool memory_fits(void);
void memory_forget_context(CUcontext context);
void memory_forget(void);
void memory_pin(void); /* but this: before the driver is opened, by whoever calls it first */
bool pools_trim(void);
void pools_note_free(void);
void pools_after_wait(void);
bool pools_graph_may_launch(uint64_t bytes);
void pools_after_graph(uint64_t *bytes);
void pools_forget(CUcontext context);

#endif
