/* When kernels run. A lane is a first-come queue; different lanes run side by side while their shares fit 100 %. */
#define _GNU_SOURCE
#include "state.h"

#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOOK_AGAIN_NS 10000000ull /* a waiter wakes this often to notice that the one before it has died */

static struct kernel_entry *entry_at(const struct gpu_state *s, uint64_t seq) {
    return (struct kernel_entry *)&s->log[seq % s->entry_count];
}

static uint32_t share_of_lane(const struct gpu_state *s, uint32_t lane) {
    return lane < LANES_BY_SHARE ? lane : s->clients[lane - LANES_BY_SHARE].sm_percent;
}

/* The first moment at or after `ready` when the lane is free and its share fits beside the lanes that are busy then.
 * A lane counts as busy up to its last reservation. Example: lanes 60 % (busy to 5 ms) and 40 % (to 3 ms), a kernel
 * of 50 %, ready now: at 0 the sum is 150, at 3 ms 110, at 5 ms 50: it starts at 5 ms. */
static uint64_t first_fit(const struct gpu_state *s, uint32_t lane, uint32_t share, uint64_t ready) {
    uint64_t at = ready > s->lane_free_ns[lane] ? ready : s->lane_free_ns[lane];
    for (;;) {
        uint32_t busy = 0;
        uint64_t next = UINT64_MAX;
        for (uint32_t i = 0; i < LANES; i++) {
            if (i == lane || s->lane_free_ns[i] <= at) continue;
            busy += share_of_lane(s, i);
            if (s->lane_free_ns[i] < next) next = s->lane_free_ns[i];
        }
        if (busy + share <= 100 || next == UINT64_MAX) return at;
        at = next;
    }
}

static uint32_t lane_of(const struct gpu *gpu) {
    const struct client *c = &gpu->state->clients[gpu->slot];
    return gpu->state->lane_rule == LANE_PER_SHARE ? c->sm_percent : LANES_BY_SHARE + (uint32_t)gpu->slot;
}

uint64_t reserve(struct gpu *gpu, const char *kernel, uint64_t ready_ns, uint64_t duration_ns) {
    struct gpu_state *s = gpu->state;
    if (s->moving) release_reservations(gpu, 0);
    client_reap_if_due(gpu);
    uint32_t lane = lane_of(gpu), share = s->clients[gpu->slot].sm_percent;
    uint64_t seq = s->next_seq;
    struct kernel_entry *e = entry_at(s, seq);
    uint64_t start = first_fit(s, lane, share, ready_ns);
    __atomic_store_n(&e->seq, 0, __ATOMIC_RELEASE);
    e->client = gpu->client;
    e->launch_ns = ready_ns;
    e->start_ns = start;
    e->end_ns = start + duration_ns;
    e->duration_ns = duration_ns;
    e->sm_percent = share;
    e->lane = lane;
    snprintf(e->kernel, sizeof e->kernel, "%s", kernel);
    s->lane_free_ns[lane] = e->end_ns; /* before the entry counts: killed between, the next reap puts it right */
    __atomic_store_n(&e->seq, seq, __ATOMIC_RELEASE);
    __atomic_store_n(&s->next_seq, seq + 1, __ATOMIC_RELEASE);
    return seq;
}

static uint64_t oldest_that_may_be_pending(const struct gpu_state *s) {
    uint64_t most = (uint64_t)MAX_CLIENTS * QUEUE_DEPTH, kept = s->next_seq - 1;
    if (most > s->entry_count) most = s->entry_count;
    return kept > most ? s->next_seq - most : 1;
}

/* One that runs is torn down with its context; one that waits becomes history of no length, never to come back. */
static void drop(struct kernel_entry *e, uint64_t now) {
    if (e->start_ns > now) e->start_ns = now;
    __atomic_store_n(&e->end_ns, now, __ATOMIC_RELEASE);
}

/* Gives back what a client that is gone had reserved, and moves everybody behind it up. */
void release_reservations(struct gpu *gpu, uint64_t client) {
    struct gpu_state *s = gpu->state;
    uint64_t now = now_ns(), first = oldest_that_may_be_pending(s);
    __atomic_store_n(&s->moving, 1u, __ATOMIC_RELEASE);
    memset(s->lane_free_ns, 0, sizeof s->lane_free_ns);
    for (uint64_t seq = first; seq < s->next_seq; seq++) {
        struct kernel_entry *e = entry_at(s, seq);
        if (e->end_ns <= now) continue;
        if (e->client == client) drop(e, now);
        else if (e->start_ns <= now) s->lane_free_ns[e->lane] = e->end_ns;
    }
    for (uint64_t seq = first; seq < s->next_seq; seq++) {
        struct kernel_entry *e = entry_at(s, seq);
        if (e->end_ns <= now || e->start_ns <= now || e->client == client) continue;
        uint64_t ready = e->launch_ns > now ? e->launch_ns : now; /* the past can't be used any more */
        e->start_ns = first_fit(s, e->lane, e->sm_percent, ready);
        __atomic_store_n(&e->end_ns, e->start_ns + e->duration_ns, __ATOMIC_RELEASE);
        s->lane_free_ns[e->lane] = e->end_ns;
    }
    __atomic_store_n(&s->moving, 0u, __ATOMIC_RELEASE);
    __atomic_add_fetch(&s->epoch, 1, __ATOMIC_RELEASE);
    syscall(SYS_futex, &s->epoch, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

uint64_t end_of(const struct gpu *gpu, uint64_t seq) {
    const struct kernel_entry *e = entry_at(gpu->state, seq);
    return __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE) == seq ? __atomic_load_n(&e->end_ns, __ATOMIC_ACQUIRE) : 0;
}

static struct timespec at(uint64_t ns) {
    static _Thread_local bool precise; /* the default slack of a sleep is half a kernel */
    if (!precise) precise = prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0) == 0;
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000ull), .tv_nsec = (long)(ns % 1000000000ull)};
}

void wait_time(uint64_t until_ns, const volatile uint32_t *stop) {
    for (uint64_t now = now_ns(); now < until_ns && !*stop; now = now_ns()) {
        struct timespec t = at(until_ns - now > LOOK_AGAIN_NS ? now + LOOK_AGAIN_NS : until_ns);
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
    }
}

/* Returns when the kernel has ended, or early when *stop is set. */
void wait_until(struct gpu *gpu, uint64_t seq, const volatile uint32_t *stop) {
    while (!*stop) {
        uint32_t epoch = __atomic_load_n(&gpu->state->epoch, __ATOMIC_ACQUIRE);
        uint64_t end = end_of(gpu, seq), now = now_ns();
        if (end <= now) return;
        uint64_t until = end - now > LOOK_AGAIN_NS ? now + LOOK_AGAIN_NS : end;
        struct timespec t = at(until);
        syscall(SYS_futex, &gpu->state->epoch, FUTEX_WAIT_BITSET, epoch, &t, NULL, FUTEX_BITSET_MATCH_ANY);
        if (until == end) continue;
        gpu_lock(gpu);
        client_reap_if_due(gpu);
        gpu_unlock(gpu);
    }
}
