/* The layout of the two shared pages: the one contract between node agent, shim, sidecar and arbiter.
 *
 * Pure C with fixed widths, little-endian, natural alignment, no includes of ours. `make -C plugin/shim layout` turns it
 * into plugin/hasgpu/device/page_layout.py with offsetof, so no offset is ever written by hand.
 * A changed meaning raises HASGPU_ABI; a new field takes reserved bytes (which are zero) and does not.
 *
 * schedule.v1: one per GPU. The agent writes it, pods map it read-only. Only `borrow` is the arbiter's.
 * page.v1: one per pod, read-write for the pod and hostile input for everybody else.
 */
#ifndef HASGPU_PAGES_H
#define HASGPU_PAGES_H

#include <stdint.h>

#define HASGPU_SCHEDULE_MAGIC UINT64_C(0x3176646568637368) /* "hschedv1" */
#define HASGPU_PAGE_MAGIC UINT64_C(0x3176656761706768)     /* "hgpagev1" */
#define HASGPU_ABI 1u

#define HASGPU_ROWS 64u    /* row numbers are 0..63 */
#define HASGPU_ENTRIES 64u /* an MPS server takes 60 clients at most */
#define HASGPU_SLOTS 4u    /* sub-slots of one pod in one period */
#define HASGPU_PROCESSES 16u

#define HASGPU_SCHEDULE_FILE_BYTES 24576u
#define HASGPU_PAGE_FILE_BYTES 4096u

/* What to do when the agent has not renewed the table in time, or never knew the pod. */
#define HASGPU_POLICY_STATIC 0u /* go on by the last table */
#define HASGPU_POLICY_OPEN 1u   /* run ungated */
#define HASGPU_POLICY_CLOSED 2u /* stop launching */

/* How a pod uses its quota inside its row. */
#define HASGPU_ROW_SLOTS 0u /* in its slots */
#define HASGPU_ROW_TOKEN 1u /* q of busy time, at any instant */
#define HASGPU_ROW_BORROW 2u /* in its slots, and while the arbiter lends it somebody's idle ones */

struct hasgpu_slot {
    uint64_t start_ns; /* from the period's start */
    uint64_t end_ns;
};

/* One pod. Its period is `windows` windows long and begins where
 * (CLOCK_MONOTONIC / window_ns) % windows == phase; two cache lines. */
struct hasgpu_entry {
    uint8_t pod_uid[16];
    uint32_t row;
    uint32_t quota_percent; /* 0: parked */
    uint64_t generation;
    uint64_t memory_bytes;
    uint32_t windows;
    uint32_t phase;
    uint32_t slot_count;
    uint32_t policy; /* HASGPU_ROW_* of its row */
    uint64_t reserved;
    struct hasgpu_slot slots[HASGPU_SLOTS];
};

struct hasgpu_row {
    uint32_t row;
    uint32_t sm_percent;
    uint32_t policy;
    uint32_t reserved;
};

struct hasgpu_table {
    uint64_t window_ns;
    uint64_t effective_from_ns; /* a window edge; before it the table before this one counts */
    uint32_t row_count;
    uint32_t entry_count;
    uint64_t reserved[5];
    struct hasgpu_row rows[HASGPU_ROWS];
    struct hasgpu_entry entries[HASGPU_ENTRIES];
};

/* The row's idle time, lent to one pod. 0: not lent; else bits 63..32 when the loan ends (CLOCK_MONOTONIC in units of
 * 65,536 ns, lower 32 bits), 31..16 lower bits of the table's number, 15..0 the pod's index in that table + 1.
 * The arbiter's alone; it wakes those who wait on `wake` when it lends. */
#define HASGPU_LOAN_SHIFT 16
struct hasgpu_borrow {
    uint64_t word;
    uint64_t reserved[7];
};

/* `epoch` is a seqlock over two tables that never makes a reader wait: with n = epoch / 2 the current table is
 * tables[n % 2], and an odd epoch says that tables[(n + 1) % 2] is being written. A copy of the current table is
 * whole if the epoch read afterwards is at most 2n + 2. A writer that dies while writing leaves the current table. */
struct hasgpu_schedule {
    uint64_t magic;
    uint32_t abi;
    uint32_t file_bytes;
    uint64_t epoch;
    uint64_t valid_until_ns; /* CLOCK_MONOTONIC */
    uint32_t policy_expired; /* HASGPU_POLICY_* once valid_until_ns has passed */
    uint32_t policy_missing; /* HASGPU_POLICY_* for a pod that no table names */
    uint32_t sm_count; /* of the whole GPU; 0: not said */
    uint32_t sm_step;  /* SMs are given in groups of so many */
    uint32_t fault;    /* the GPU or its MPS server is in FAULT: an Xid, or 1; 0: none */
    uint32_t pinned_spare_mib; /* MPS's pinned limit of a process: its slice and so much for contexts; 0: no such limit */
    uint32_t reserved0[2];
    uint32_t wake; /* futex: grows at each publication */
    uint32_t reserved1[15];
    char gpu_uuid[64];
    struct hasgpu_borrow borrow[HASGPU_ROWS];
    struct hasgpu_table tables[2];
};

/* One process slot. It belongs to the process that holds the POSIX write lock on the byte
 * HASGPU_LOCK_OFFSET + index of the page file, so the kernel frees it with its owner. Counters only grow, also
 * from one owner to the next: the pod's total is the sum over the slots. Three cache lines. */
#define HASGPU_LOCK_OFFSET 65536u
struct hasgpu_process {
    uint32_t state; /* 0 free, 1 claimed */
    uint32_t pid;   /* in the process's own pid namespace */
    uint64_t start_ticks;
    uint64_t heartbeat_ns;
    uint64_t generation; /* the last one obeyed */
    uint64_t reserved0[4];
    uint64_t busy_ns;
    uint64_t gated_ns;
    uint64_t launches;
    uint64_t graph_launches;
    uint64_t captured_launches;
    uint64_t measured_batches;
    uint64_t estimated_batches;
    uint64_t refused_allocations;
    uint64_t pending_ns;   /* estimate of what is launched and not yet charged; the owner's, 0 once it is gone */
    uint64_t memory_bytes; /* likewise */
    uint32_t waiting;      /* launches held at the gate; likewise */
    uint32_t reserved1;
    uint64_t borrowed_ns;  /* of busy_ns: in time that was lent, owed to nobody */
    uint64_t reserved2[4];
};

/* What a pod has left of its time: accrues through its slots, is spent by measured GPU time. Changed as one
 * 16-byte compare-and-swap, so that no death leaves it half done. Negative: debt. */
struct hasgpu_balance {
    int64_t balance_ns;
    uint64_t at_ns; /* CLOCK_MONOTONIC up to which slots have accrued */
};

struct hasgpu_page {
    uint64_t magic;
    uint32_t abi;
    uint32_t file_bytes;
    uint32_t sm_count; /* seen at the first context; 0 before it */
    uint32_t mps_attached; /* 1: the first context saw an MPS server, as far as can be told */
    uint32_t unknown_entry_points; /* asked of the resolver and not in the shim's list */
    uint32_t bypass_suspected;     /* more than one libcuda mapped */
    uint64_t memory_peak_bytes;
    uint32_t last_error; /* the CUresult that broke the newest context; 0 while it is well */
    uint32_t reserved0[5];
    struct hasgpu_balance balance;
    uint64_t charged_until_ns; /* GPU time up to here is charged: overlapping streams and processes count once */
    uint64_t overrun_ns;       /* busy time outside the slots, ever */
    uint64_t forgiven_ns;      /* debt above the cap, ever */
    uint64_t reserved1[3];
    uint64_t reserved2[112];
    struct hasgpu_process processes[HASGPU_PROCESSES];
};

_Static_assert(sizeof(struct hasgpu_entry) == 128, "an entry is two cache lines");
_Static_assert(sizeof(struct hasgpu_process) == 192, "a process slot is three cache lines");
_Static_assert(sizeof(struct hasgpu_schedule) <= HASGPU_SCHEDULE_FILE_BYTES, "the schedule fits its file");
_Static_assert(sizeof(struct hasgpu_page) == HASGPU_PAGE_FILE_BYTES, "a pod page is one page");

#endif
