/* What launches really took: timing events around batches of launches, one open batch per stream.
 *
 * A batch is measured from an event before its first launch to one after its last. Where the host left the stream idle
 * within an open batch, the batch is charged by estimate instead, since the events would count the gap. */
#include <stddef.h>

#include "shim.h"

#define STREAMS 32u
#define CLOSED 64u /* batches whose end was not seen yet; a power of two */
#define CONTEXTS 8u
#define FREE_EVENTS 160u
#define BATCH_NS (MS / 2)
#define BATCH_LAUNCHES 256u
#define GAP_NS 20000u
#define REBASE_NS (10000 * MS)

struct batch {
    CUstream stream;
    pthread_t thread; /* of a per-thread stream, which only that thread can name */
    struct context *context;
    CUevent start, end;
    uint64_t estimate_ns, opened_ns, used_ns, key;
    uint32_t launches;
    bool open, gaps, borrowed;
};

/* Events of one context, and one event whose host time is known: the origin of its device times. */
struct context {
    CUcontext handle;
    CUstream stream;
    CUevent base;
    uint64_t base_ns;
    CUevent free[FREE_EVENTS];
    unsigned free_count;
};

static struct batch streams[STREAMS];
static struct batch closed[CLOSED];
static unsigned first, count;
static uint64_t busy_until_ns;    /* when all that was launched should be done, one launch after the other */
static uint64_t charged_until_ns; /* of this process */
static struct context contexts[CONTEXTS];

static CUresult record(CUevent event, CUstream stream) {
    return DRIVER(CUresult(*)(CUevent, CUstream), cuEventRecord)(event, stream);
}

static CUcontext current_context(void) {
    CUcontext handle = NULL;
    DRIVER(CUresult(*)(CUcontext *), cuCtxGetCurrent)(&handle);
    return handle;
}

/* What is made belongs to the current context, which need not be the stream's. */
static bool enter(CUcontext handle) {
    return handle != current_context() && DRIVER(CUresult(*)(CUcontext), cuCtxPushCurrent_v2)(handle) == CUDA_SUCCESS;
}

static void leave(bool entered) {
    CUcontext handle;
    if (entered) DRIVER(CUresult(*)(CUcontext *), cuCtxPopCurrent_v2)(&handle);
}

static CUevent take_event(struct context *context) {
    CUevent event = NULL;
    if (context->free_count) return context->free[--context->free_count];
    bool entered = enter(context->handle);
    DRIVER(CUresult(*)(CUevent *, unsigned), cuEventCreate)(&event, CU_EVENT_BLOCKING_SYNC);
    leave(entered);
    return event;
}

static void give_event(struct context *context, CUevent event) {
    if (event && context->free_count < FREE_EVENTS) context->free[context->free_count++] = event;
    else if (event) DRIVER(CUresult(*)(CUevent), cuEventDestroy_v2)(event);
}

static bool any_batch_of(const struct context *context) {
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].open && streams[i].context == context) return true;
    for (unsigned i = 0; i < count; i++)
        if (closed[(first + i) % CLOSED].context == context) return true;
    return false;
}

/* Ties device time to CLOCK_MONOTONIC by an event on a stream of our own. Elapsed times are floats: after 10 s their
 * steps near a microsecond, so the origin moves on while no batch refers to it. */
static void set_base(struct context *context) {
    uint64_t before = now_ns();
    if (!context->base || record(context->base, context->stream) != CUDA_SUCCESS) return;
    DRIVER(CUresult(*)(CUevent), cuEventSynchronize)(context->base);
    uint64_t after = now_ns();
    context->base_ns = after - before < 200000 ? before + (after - before) / 4 : after;
}

/* The context of a stream: the current one as a rule, a green one for streams made in it. */
static struct context *context_of(CUstream stream, uint64_t now) {
    CUcontext handle = NULL;
    struct context *context = NULL;
    if (stream > CU_STREAM_PER_THREAD) DRIVER(CUresult(*)(CUstream, CUcontext *), cuStreamGetCtx)(stream, &handle);
    if (!handle) handle = current_context();
    for (unsigned i = 0; handle && i < CONTEXTS && !context; i++)
        if (contexts[i].handle == handle || !contexts[i].handle) context = &contexts[i];
    if (!context) return NULL;
    if (!context->handle) {
        context->handle = handle;
        bool entered = enter(handle);
        context->stream = stream; /* where none of our own can be made */
        DRIVER(CUresult(*)(CUstream *, unsigned), cuStreamCreate)(&context->stream, CU_STREAM_NON_BLOCKING);
        findings_note_context();
        leave(entered);
        context->base = take_event(context);
    }
    if (!context->base_ns || (now > context->base_ns + REBASE_NS && !any_batch_of(context))) set_base(context);
    return context;
}

static void settle(uint64_t estimate_ns) {
    struct hasgpu_process *process = hasgpu_pages.process;
    process->pending_ns -= estimate_ns < process->pending_ns ? estimate_ns : process->pending_ns;
}

/* No measurement: charge what was expected, at the first time that is not charged yet: batches of streams that queue
 * behind each other may have been measured over this one. */
static void charge_estimate(struct batch *batch) {
    if (batch->context) {
        give_event(batch->context, batch->start);
        give_event(batch->context, batch->end);
    }
    settle(batch->estimate_ns);
    uint64_t from = batch->opened_ns > charged_until_ns ? batch->opened_ns : charged_until_ns;
    uint64_t to = from + batch->estimate_ns, latest = account_busy_until(now_ns());
    if (to > latest) to = latest;
    if (to > from) {
        charged_until_ns = to;
        gate_charge(from, to, batch->borrowed);
    }
    hasgpu_pages.process->estimated_batches++;
}

static struct batch *batch_on(CUstream stream) {
    pthread_t thread = stream == CU_STREAM_PER_THREAD ? pthread_self() : 0;
    struct batch *oldest = &streams[0];
    for (unsigned i = 0; i < STREAMS; i++) {
        if (streams[i].stream == stream && streams[i].thread == thread && streams[i].used_ns)
            return &streams[i];
        if (streams[i].used_ns < oldest->used_ns) oldest = &streams[i];
    }
    if (oldest->open) charge_estimate(oldest);
    *oldest = (struct batch){.stream = stream, .thread = thread};
    return oldest;
}

/* As far as estimates go, all that was launched has ended a while ago. */
static bool seems_idle(uint64_t now) { return now > busy_until_ns + GAP_NS; }

static void close_batch(struct batch *batch) {
    if (!batch->open) return;
    batch->open = false;
    if (batch->launches == 0) {
        give_event(batch->context, batch->start);
        return;
    }
    if (seems_idle(now_ns())) { /* an event recorded now would count the time since */
        charge_estimate(batch);
        return;
    }
    batch->end = batch->start && count < CLOSED ? take_event(batch->context) : NULL;
    if (!batch->end || record(batch->end, batch->stream) != CUDA_SUCCESS) {
        charge_estimate(batch);
        return;
    }
    closed[(first + count++) % CLOSED] = *batch;
}

/* The host left the GPU idle: no end of an open batch, on whatever stream, can be told any more. */
static void charge_open(void) {
    for (unsigned i = 0; i < STREAMS; i++) {
        if (!streams[i].open) continue;
        streams[i].open = false;
        streams[i].gaps = true;
        charge_estimate(&streams[i]);
    }
}

/* Counts a launch that is about to happen; true where the batch should be closed after it. */
bool account_open(CUstream stream, uint64_t key, uint64_t estimate_ns, uint64_t now) {
    struct batch *batch = batch_on(stream);
    bool probe = cost_probe_due(key), idle = seems_idle(now);
    if (idle) charge_open();
    else if (batch->open && (probe || batch->borrowed != gate_borrowing())) close_batch(batch);
    if (!batch->open) {
        struct batch fresh = {.stream = stream, .thread = batch->thread, .gaps = batch->gaps && idle, .open = true,
                              .borrowed = gate_borrowing(), .opened_ns = now, .key = key, .context = context_of(stream, now)};
        fresh.start = fresh.context ? take_event(fresh.context) : NULL;
        if (fresh.start && record(fresh.start, stream) != CUDA_SUCCESS) {
            give_event(fresh.context, fresh.start);
            fresh.start = NULL;
        }
        *batch = fresh;
    }
    batch->launches++;
    batch->estimate_ns += estimate_ns;
    batch->used_ns = now;
    busy_until_ns = (now > busy_until_ns ? now : busy_until_ns) + estimate_ns;
    uint64_t cap = gate_in_flight_cap_ns() / 4;
    return probe || batch->estimate_ns >= (cap < BATCH_NS ? cap : BATCH_NS) || batch->launches >= BATCH_LAUNCHES ||
           (batch->gaps && estimate_ns >= GAP_NS);
}

void account_close(CUstream stream) { close_batch(batch_on(stream)); }

/* Before the host waits for the whole context: what is open now ends with its last launch. */
void account_close_all(void) {
    CUcontext handle = current_context();
    for (unsigned i = 0; i < STREAMS; i++) {
        bool nameable = streams[i].stream != CU_STREAM_PER_THREAD || pthread_equal(streams[i].thread, pthread_self());
        if (streams[i].open && streams[i].context && streams[i].context->handle == handle && nameable)
            close_batch(&streams[i]);
    }
}

/* The driver refused the launch that account_open counted. */
void account_failed(CUstream stream, uint64_t estimate_ns) {
    struct batch *batch = batch_on(stream);
    settle(estimate_ns);
    if (!batch->open || !batch->launches) return;
    batch->launches--;
    batch->key = 0;
    batch->estimate_ns -= estimate_ns < batch->estimate_ns ? estimate_ns : batch->estimate_ns;
}

static void charge(struct batch *batch) {
    float offset_ms = 0, length_ms = 0;
    CUresult (*elapsed)(float *, CUevent, CUevent) =
        DRIVER(CUresult(*)(float *, CUevent, CUevent), cuEventElapsedTime);
    if (elapsed(&offset_ms, batch->context->base, batch->start) != CUDA_SUCCESS ||
        elapsed(&length_ms, batch->start, batch->end) != CUDA_SUCCESS || length_ms < 0) {
        charge_estimate(batch);
        return;
    }
    uint64_t from = batch->context->base_ns + (uint64_t)(int64_t)((double)offset_ms * 1e6);
    uint64_t length = (uint64_t)((double)length_ms * 1e6);
    /* Where streams queue behind each other, only what is not of the ones before is this kernel. */
    uint64_t begin = from > charged_until_ns ? from : charged_until_ns, end = from + length;
    if (batch->launches == 1 && batch->key && end > begin) cost_learn(batch->key, end - begin);
    if (end > charged_until_ns) charged_until_ns = end;
    settle(batch->estimate_ns);
    gate_charge(from, end, batch->borrowed);
    hasgpu_pages.process->measured_batches++;
    give_event(batch->context, batch->start);
    give_event(batch->context, batch->end);
}

/* Charges every batch that has ended, in the order of their ends. */
void account_reap(void) {
    while (count) {
        struct batch *batch = &closed[first];
        if (DRIVER(CUresult(*)(CUevent), cuEventQuery)(batch->end) != CUDA_SUCCESS) return;
        charge(batch);
        first = (first + 1) % CLOSED;
        count--;
    }
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].open) return;
    busy_until_ns = 0; /* all that was launched has ended */
}

/* When the GPU is expected to be done with what this process launched. */
uint64_t account_busy_until(uint64_t now) { return busy_until_ns > now ? busy_until_ns : now; }

/* Enough is launched: two batches at least, so that the GPU never waits for us. */
bool account_backlogged(void) { return count >= 2 && hasgpu_pages.process->pending_ns >= gate_in_flight_cap_ns(); }

bool account_wait(void) {
    if (!count) account_close_all();
    if (!count) return false;
    CUevent end = closed[first].end;
    pthread_mutex_unlock(&hasgpu_lock);
    CUresult result = DRIVER(CUresult(*)(CUevent), cuEventSynchronize)(end);
    pthread_mutex_lock(&hasgpu_lock);
    if (result != CUDA_SUCCESS && count && closed[first].end == end) {
        charge_estimate(&closed[first]);
        first = (first + 1) % CLOSED;
        count--;
    }
    account_reap();
    return true;
}

/* The context goes and takes its events along. */
void account_forget_context(CUcontext handle) {
    for (unsigned c = 0; c < CONTEXTS; c++) {
        struct context *context = &contexts[c];
        if (!context->handle || (handle && context->handle != handle)) continue;
        for (unsigned i = 0; i < STREAMS; i++) {
            if (streams[i].context != context) continue;
            streams[i].context = NULL;
            if (streams[i].open) charge_estimate(&streams[i]);
            streams[i] = (struct batch){0};
        }
        unsigned kept = 0;
        for (unsigned i = 0; i < count; i++) {
            struct batch batch = closed[(first + i) % CLOSED];
            if (batch.context != context) {
                closed[(first + kept++) % CLOSED] = batch;
                continue;
            }
            batch.context = NULL;
            charge_estimate(&batch);
        }
        count = kept;
        *context = (struct context){0};
    }
}

/* After a fork: the parent's work is not ours. */
void account_forget(void) {
    for (unsigned i = 0; i < STREAMS; i++) streams[i] = (struct batch){0};
    for (unsigned i = 0; i < CONTEXTS; i++) contexts[i] = (struct context){0};
    first = count = 0;
    busy_until_ns = charged_until_ns = 0;
}
