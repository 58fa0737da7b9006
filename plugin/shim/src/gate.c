/* May this launch go? A balance of GPU time accrues through the pod's slots and is spent by what was measured.
 *
 * With b the balance, p what is launched and not yet charged, and e the end of the slot, a launch of estimate t goes
 * where t <= b - p + (e - now): then it ends within the slot, or a debt or credit is evened out. Between two decisions
 * a lease lets launches through at the price of one clock read and one uncontended lock. */
#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

#define GRACE_NS (2 * MS) /* how far past its slot a pod may make up for time its host lost within it */
#define MOST_IN_FLIGHT_NS (2 * MS)
#define MOST_BORROWED_NS (3 * MS / 2) /* in flight in lent time: the owner is back once it has run out */
#define REGISTER_WITHIN_NS (30000 * MS)
#define LEASE_NS (50 * MS)
#define FOREVER UINT64_MAX

enum verdict { GO, SLEEP, DRAIN, REFUSE };

static struct slice current, next; /* next: the newest table, where it is not in effect yet */
static uint64_t newest;            /* its number */
static struct {
    uint64_t epoch, until_ns;
    int64_t room_ns;
} lease;
static uint64_t in_flight_cap_ns = MOST_IN_FLIGHT_NS;
static uint64_t turn_start_ns;
static int64_t turn_bonus_ns; /* debt above half a slot is not repaid in this turn */
static uint64_t missing_since_ns;
static bool registered, borrowing;

bool gate_borrowing(void) { return borrowing; }

void gate_forget(void) {
    current = next = (struct slice){0};
    newest = turn_start_ns = missing_since_ns = 0;
    lease.until_ns = 0;
    registered = borrowing = false;
}

static uint64_t at_most(uint64_t a, uint64_t b) { return a < b ? a : b; }

static bool swap_balance(struct hasgpu_balance *from, struct hasgpu_balance to) {
    union {
        struct hasgpu_balance balance;
        unsigned __int128 word;
    } old = {.balance = *from}, new = {.balance = to}, seen;
    seen.word = __sync_val_compare_and_swap((unsigned __int128 *)&hasgpu_pages.page->balance, old.word, new.word);
    *from = seen.balance;
    return seen.word == old.word;
}

/* Lets slot time accrue up to now, never above `most`: time not asked for is lost. Returns the balance. */
static int64_t accrue(uint64_t now, uint64_t most) {
    struct hasgpu_balance old = hasgpu_pages.page->balance, new;
    do {
        uint64_t gained = old.at_ns ? slice_time(&current, old.at_ns, now) : 0;
        new.balance_ns = old.balance_ns + (int64_t)gained;
        if (new.balance_ns > (int64_t)most) new.balance_ns = (int64_t)most;
        new.at_ns = old.at_ns > now ? old.at_ns : now;
    } while (!swap_balance(&old, new));
    return new.balance_ns;
}

static void spend(uint64_t spent_ns) {
    struct hasgpu_balance old = hasgpu_pages.page->balance, new;
    int64_t least = -(int64_t)(2 * current.period_ns), forgiven;
    do {
        new = (struct hasgpu_balance){old.balance_ns - (int64_t)spent_ns, old.at_ns};
        forgiven = current.known && new.balance_ns < least ? least - new.balance_ns : 0;
        new.balance_ns += forgiven;
    } while (!swap_balance(&old, new));
    if (forgiven) __atomic_fetch_add(&hasgpu_pages.page->forgiven_ns, (uint64_t)forgiven, __ATOMIC_RELAXED);
}

/* Charges GPU time [from, to); what another stream or process of the pod was charged for already is free, and what was
 * borrowed is counted and not owed. */
void gate_charge(uint64_t from, uint64_t to, bool borrowed) {
    uint64_t *until = &hasgpu_pages.page->charged_until_ns;
    uint64_t old = __atomic_load_n(until, __ATOMIC_RELAXED);
    do {
        if (to <= old) return;
    } while (!__atomic_compare_exchange_n(until, &old, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    if (from < old) from = old;
    __atomic_fetch_add(&hasgpu_pages.process->busy_ns, to - from, __ATOMIC_RELAXED);
    if (borrowed) {
        __atomic_fetch_add(&hasgpu_pages.process->borrowed_ns, to - from, __ATOMIC_RELAXED);
        return;
    }
    uint64_t own = slice_time(&current, from, to);
    if (current.known && own < to - from)
        __atomic_fetch_add(&hasgpu_pages.page->overrun_ns, to - from - own, __ATOMIC_RELAXED);
    spend(to - from);
}

static void refresh(uint64_t now) {
    const struct hasgpu_schedule *page = hasgpu_pages.schedule;
    struct slice before, latest;
    if (page && __atomic_load_n(&page->epoch, __ATOMIC_ACQUIRE) / 2 != newest &&
        schedule_copy(page, hasgpu_pages.pod_uid, &before, &latest)) {
        newest = latest.number;
        next = latest;
        if (before.number && before.effective_from_ns <= now) current = before;
    }
    if (next.number != current.number && next.effective_from_ns <= now) current = next;
    registered |= current.known;
    hasgpu_pages.process->generation = current.entry.generation;
    hasgpu_pages.process->heartbeat_ns = now;
}

/* What may be in flight: little near the end of a slot, where a wrong estimate would cost the row mate, and more before
 * it, so that a host that stalls for a while does not starve the GPU. */
static uint64_t cap_at(uint64_t now) {
    if (!current.known || current.entry.slot_count == 0) return MOST_IN_FLIGHT_NS;
    uint64_t least = at_most(MOST_IN_FLIGHT_NS, current.quota_ns / current.entry.slot_count / 2);
    struct turn turn = slice_turn(&current, now);
    uint64_t share = turn.start_ns <= now ? (turn.end_ns - now) / 4 : 0;
    return share < least ? least : at_most(share, current.window_ns / 4);
}

uint64_t gate_in_flight_cap_ns(void) { return in_flight_cap_ns; }

/* The pod is in no table (yet): wait for the agent, then do as the policy says. */
static enum verdict without_slice(uint64_t now, uint64_t *wake_at) {
    const struct hasgpu_schedule *page = hasgpu_pages.schedule;
    if (next.known && next.effective_from_ns > now) {
        *wake_at = next.effective_from_ns;
        return SLEEP;
    }
    if (!missing_since_ns) missing_since_ns = now;
    *wake_at = now + (page ? 1000 : 20) * MS;
    if (registered || now - missing_since_ns < REGISTER_WITHIN_NS) return SLEEP;
    return page && page->policy_missing == HASGPU_POLICY_OPEN ? GO : REFUSE;
}

static enum verdict by_token(uint64_t now, uint64_t estimate, int64_t left, uint64_t *wake_at, int64_t *room) {
    int64_t needed = (int64_t)at_most(estimate, current.quota_ns);
    *room = left - (int64_t)estimate;
    if (left >= needed) return GO;
    *wake_at = now + (uint64_t)((double)(needed - left) * (double)current.period_ns / (double)current.quota_ns) + 1;
    return SLEEP;
}

static enum verdict by_slot(struct turn turn, uint64_t now, uint64_t estimate, int64_t balance, int64_t left,
                            uint64_t *wake_at, int64_t *room) {
    uint64_t length = turn.end_ns - turn.start_ns, remaining = turn.end_ns > now ? turn.end_ns - now : 0;
    if (turn.start_ns != turn_start_ns) {
        turn_start_ns = turn.start_ns;
        turn_bonus_ns = -balance > (int64_t)length / 2 ? -balance - (int64_t)length / 2 : 0;
    }
    *room = left + turn_bonus_ns + (int64_t)remaining - (int64_t)estimate;
    /* Whatever the credit: starts within the slot, or ends within the grace after it. */
    uint64_t latest_start = turn.end_ns + (estimate < GRACE_NS ? GRACE_NS - estimate : 0);
    int64_t ahead = (int64_t)(latest_start - account_busy_until(now));
    if (ahead < *room && estimate <= length) *room = ahead;
    if (*room >= 0) return GO;
    *wake_at = slice_turn(&current, turn.end_ns > now ? turn.end_ns : now).start_ns;
    if (estimate <= length || !remaining) return SLEEP;
    if (left >= 0) return GO; /* fits no slot at all: runs once all debt is repaid, and makes a new one */
    if ((uint64_t)-left < remaining) *wake_at = now + (uint64_t)-left;
    return SLEEP;
}

/* Out of turn, in a row whose idle time is lent: what ends within the loan may go, a little at a time. */
static enum verdict on_loan(uint64_t now, uint64_t estimate) {
    uint64_t until = slice_loan(hasgpu_pages.schedule, &current, now);
    uint64_t pending = until ? pages_pending_ns(now) - estimate : 0;
    if (now + pending + estimate > until) return SLEEP;
    borrowing = !pending || pending + estimate <= MOST_BORROWED_NS;
    return borrowing ? GO : DRAIN;
}

static enum verdict decide(uint64_t now, uint64_t estimate, uint64_t *wake_at, int64_t *room) {
    const struct hasgpu_schedule *page = hasgpu_pages.schedule;
    *room = INT64_MAX; /* the cap on work in flight limits it further */
    if (!current.known) return without_slice(now, wake_at);
    missing_since_ns = 0;
    if (now > __atomic_load_n(&page->valid_until_ns, __ATOMIC_RELAXED)) {
        if (page->policy_expired == HASGPU_POLICY_OPEN) return GO;
        *wake_at = now + 1000 * MS;
        if (page->policy_expired == HASGPU_POLICY_CLOSED) return SLEEP;
    }
    uint64_t change = next.number != current.number ? next.effective_from_ns : FOREVER;
    struct turn turn = slice_turn(&current, now);
    *wake_at = at_most(turn.start_ns, at_most(change, now + 1000 * MS));
    if (turn.start_ns > now) {
        enum verdict lent = on_loan(now, estimate);
        if (lent != SLEEP) return *room = 0, lent;
    }
    if (turn.start_ns > now) turn = slice_turn(&current, now - GRACE_NS); /* just over: credit may be left */
    if (turn.start_ns > now) return SLEEP;
    bool token = current.entry.policy == HASGPU_ROW_TOKEN && current.quota_ns < current.period_ns;
    uint64_t pending = pages_pending_ns(now) - estimate; /* others' and earlier */
    int64_t balance = accrue(now, current.quota_ns + pending), left = balance - (int64_t)pending;
    turn.end_ns = at_most(turn.end_ns, change);
    if (!token && turn.end_ns == FOREVER) return GO;
    enum verdict verdict = token ? by_token(now, estimate, left, wake_at, room)
                                 : by_slot(turn, now, estimate, balance, left, wake_at, room);
    *wake_at = at_most(*wake_at, at_most(change, now + 1000 * MS));
    return verdict == SLEEP && hasgpu_pages.process->pending_ns > estimate ? DRAIN : verdict;
}

/* Sleeps without the lock until the agent publishes or the time comes. Timers of ordinary threads may be 50 us late:
 * the slack is lowered meanwhile. */
static void sleep_until(uint64_t wake_at, uint32_t wake_seen) {
    struct timespec at = {.tv_sec = (time_t)(wake_at / (1000 * MS)), .tv_nsec = (long)(wake_at % (1000 * MS))};
    int slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    if (hasgpu_pages.schedule)
        syscall(SYS_futex, &hasgpu_pages.schedule->wake, FUTEX_WAIT_BITSET, wake_seen, &at, NULL,
                FUTEX_BITSET_MATCH_ANY);
    else
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    if (slack > 0) prctl(PR_SET_TIMERSLACK, slack, 0, 0, 0);
}

/* A lease for what may follow without a new decision; none while another process shares the pod's time. */
static void grant(uint64_t now, uint64_t epoch, int64_t room) {
    int64_t free_ns = (int64_t)gate_in_flight_cap_ns() - (int64_t)hasgpu_pages.process->pending_ns;
    bool alone = true;
    for (unsigned i = 0; i < HASGPU_PROCESSES; i++)
        alone &= i == hasgpu_pages.index || !hasgpu_pages.page->processes[i].state;
    lease.epoch = epoch;
    lease.room_ns = !alone ? 0 : room < free_ns ? room : free_ns;
    lease.until_ns = now + LEASE_NS;
    if (next.number != current.number) lease.until_ns = at_most(lease.until_ns, next.effective_from_ns);
    if (current.known) lease.until_ns = at_most(lease.until_ns, slice_turn(&current, now).end_ns);
}

/* The estimate counts as pending while it is decided on, so that of two processes of the pod one at least sees both. */
static enum verdict pass_slowly(uint64_t *clock, uint64_t estimate) {
    uint64_t now = *clock, slept_since = 0;
    enum verdict verdict;
    for (;;) {
        pages_attach();
        findings_look(now);
        const struct hasgpu_schedule *page = hasgpu_pages.schedule;
        uint32_t wake_seen = page ? __atomic_load_n(&page->wake, __ATOMIC_ACQUIRE) : 0;
        uint64_t epoch = page ? __atomic_load_n(&page->epoch, __ATOMIC_ACQUIRE) : 0;
        uint64_t wake_at = 0;
        int64_t room = 0;
        borrowing = false;
        refresh(now);
        in_flight_cap_ns = cap_at(now);
        account_reap();
        uint64_t *pending = &hasgpu_pages.process->pending_ns;
        if (account_backlogged()) {
            verdict = DRAIN;
        } else {
            __atomic_fetch_add(pending, estimate, __ATOMIC_SEQ_CST);
            verdict = decide(now, estimate, &wake_at, &room);
            if (verdict != GO) __atomic_fetch_sub(pending, estimate, __ATOMIC_SEQ_CST);
        }
        uint32_t held = verdict == DRAIN && wake_at; /* by the gate, not by the GPU's speed */
        __atomic_fetch_add(&hasgpu_pages.process->waiting, held, __ATOMIC_RELAXED);
        if (verdict == DRAIN && !account_wait()) verdict = wake_at ? SLEEP : GO;
        __atomic_fetch_sub(&hasgpu_pages.process->waiting, held, __ATOMIC_RELAXED);
        if (verdict == SLEEP) {
            if (!slept_since) slept_since = now;
            __atomic_fetch_add(&hasgpu_pages.process->waiting, 1, __ATOMIC_RELAXED);
            pthread_mutex_unlock(&hasgpu_lock);
            sleep_until(wake_at, wake_seen);
            pthread_mutex_lock(&hasgpu_lock);
            __atomic_fetch_sub(&hasgpu_pages.process->waiting, 1, __ATOMIC_RELAXED);
        }
        if (verdict == GO) grant(now, epoch, room);
        if (verdict == GO || verdict == REFUSE) break;
        now = now_ns();
    }
    if (slept_since) __atomic_fetch_add(&hasgpu_pages.process->gated_ns, now - slept_since, __ATOMIC_RELAXED);
    *clock = now;
    return verdict;
}

bool gate_pass(uint64_t *now, uint64_t estimate_ns) {
    const struct hasgpu_schedule *page = hasgpu_pages.schedule;
    bool leased = *now < lease.until_ns && lease.room_ns >= (int64_t)estimate_ns && page &&
                  __atomic_load_n(&page->epoch, __ATOMIC_ACQUIRE) == lease.epoch;
    if (!leased) return pass_slowly(now, estimate_ns) == GO;
    lease.room_ns -= (int64_t)estimate_ns;
    __atomic_fetch_add(&hasgpu_pages.process->pending_ns, estimate_ns, __ATOMIC_RELAXED);
    return true;
}
