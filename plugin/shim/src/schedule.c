/* When it is this pod's turn: reads the schedule page, answers by arithmetic. Pure but for that read. */
#include <string.h>

#include "shim.h"

#define MAX_WINDOW_NS (10000 * MS)
#define MAX_WINDOWS 1000u

/* A table that no agent of ours would lay is no table: the arithmetic below divides and subtracts by it. */
static bool is_sound(const struct hasgpu_entry *entry, uint64_t window_ns) {
    if (!window_ns || window_ns > MAX_WINDOW_NS || !entry->windows || entry->windows > MAX_WINDOWS) return false;
    if (entry->quota_percent > 100 || entry->slot_count > HASGPU_SLOTS) return false;
    uint64_t after = 0, period = window_ns * entry->windows;
    for (uint32_t i = 0; i < entry->slot_count; i++) {
        const struct hasgpu_slot *slot = &entry->slots[i];
        if (slot->start_ns < after || slot->end_ns <= slot->start_ns || slot->end_ns > period) return false;
        after = slot->end_ns;
    }
    return true;
}

static void copy_from(const struct hasgpu_schedule *page, uint64_t number, const uint8_t uid[16], struct slice *slice) {
    const struct hasgpu_table *table = &page->tables[number & 1];
    uint32_t count = table->entry_count < HASGPU_ENTRIES ? table->entry_count : HASGPU_ENTRIES;
    *slice = (struct slice){
        .number = number, .effective_from_ns = table->effective_from_ns, .window_ns = table->window_ns};
    for (uint32_t i = 0; i < count; i++) {
        if (memcmp(table->entries[i].pod_uid, uid, 16)) continue;
        slice->entry = table->entries[i];
        slice->index = i;
        slice->known = is_sound(&slice->entry, slice->window_ns);
        slice->period_ns = slice->window_ns * slice->entry.windows;
        break;
    }
    if (slice->entry.policy == HASGPU_ROW_TOKEN) {
        slice->quota_ns = slice->period_ns * slice->entry.quota_percent / 100;
        return;
    }
    for (uint32_t i = 0; slice->known && i < slice->entry.slot_count; i++)
        slice->quota_ns += slice->entry.slots[i].end_ns - slice->entry.slots[i].start_ns;
}

/* The current table and the one before it (`before` is not known where it was overwritten meanwhile). False where
 * nothing was published. See the header for why this never waits. */
bool schedule_copy(const struct hasgpu_schedule *page, const uint8_t uid[16], struct slice *before, struct slice *current) {
    for (;;) {
        uint64_t number = __atomic_load_n(&page->epoch, __ATOMIC_ACQUIRE) / 2;
        if (number == 0) return false;
        copy_from(page, number, uid, current);
        *before = (struct slice){0};
        if (number > 1) copy_from(page, number - 1, uid, before);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        uint64_t epoch = __atomic_load_n(&page->epoch, __ATOMIC_RELAXED);
        if (epoch > 2 * number) *before = (struct slice){0};
        if (epoch <= 2 * number + 2) return true;
    }
}

static uint64_t period_start(const struct slice *slice, uint64_t now) {
    uint64_t shift = slice->entry.phase * slice->window_ns % slice->period_ns;
    if (now < shift) return 0;
    return (now - shift) / slice->period_ns * slice->period_ns + shift;
}

/* The slot that holds `now`, or the next one. Slots that touch over a period's end are one; a whole period of them
 * never ends; a parked pod's turn never starts. Row policy token: always. */
struct turn slice_turn(const struct slice *slice, uint64_t now) {
    const struct hasgpu_entry *entry = &slice->entry;
    if (!slice->known || entry->quota_percent == 0 || slice->quota_ns == 0) return (struct turn){UINT64_MAX, UINT64_MAX};
    if (entry->policy == HASGPU_ROW_TOKEN || slice->quota_ns >= slice->period_ns) return (struct turn){0, UINT64_MAX};
    uint64_t start = period_start(slice, now);
    for (int period = 0; period < 2; period++, start += slice->period_ns) {
        for (uint32_t i = 0; i < entry->slot_count; i++) {
            struct turn turn = {start + entry->slots[i].start_ns, start + entry->slots[i].end_ns};
            if (turn.end_ns <= now) continue;
            if (i + 1 == entry->slot_count && entry->slots[i].end_ns == slice->period_ns && entry->slots[0].start_ns == 0)
                turn.end_ns += entry->slots[0].end_ns;
            return turn;
        }
    }
    return (struct turn){start, start};
}

/* Slot time from the beginning of the clock to `at`. */
static uint64_t slot_time_until(const struct slice *slice, uint64_t at) {
    uint64_t start = period_start(slice, at);
    uint64_t in_period = at - start;
    uint64_t total = start / slice->period_ns * slice->quota_ns;
    if (slice->entry.policy == HASGPU_ROW_TOKEN)
        return total + (uint64_t)((double)in_period * (double)slice->quota_ns / (double)slice->period_ns);
    for (uint32_t i = 0; i < slice->entry.slot_count; i++) {
        const struct hasgpu_slot *slot = &slice->entry.slots[i];
        if (in_period <= slot->start_ns) break;
        total += (in_period < slot->end_ns ? in_period : slot->end_ns) - slot->start_ns;
    }
    return total;
}

/* How much of [from, to) is this pod's. */
uint64_t slice_time(const struct slice *slice, uint64_t from, uint64_t to) {
    if (to <= from || !slice->known || slice->entry.quota_percent == 0 || slice->quota_ns == 0) return 0;
    if (slice->quota_ns >= slice->period_ns) return to - from;
    uint64_t before = slot_time_until(slice, from), after = slot_time_until(slice, to);
    return after > before ? after - before : 0;
}

/* Until when the arbiter lends this pod its row's idle time; 0 where it does not. */
uint64_t slice_loan(const struct hasgpu_schedule *page, const struct slice *slice, uint64_t now) {
    if (!slice->known || slice->entry.policy != HASGPU_ROW_BORROW || slice->entry.row >= HASGPU_ROWS) return 0;
    uint64_t word = __atomic_load_n(&page->borrow[slice->entry.row].word, __ATOMIC_ACQUIRE);
    if ((word & 0xffff) != slice->index + 1 || (word >> 16 & 0xffff) != (slice->number & 0xffff)) return 0;
    uint32_t left = (uint32_t)(word >> 32) - (uint32_t)(now >> HASGPU_LOAN_SHIFT);
    return left && left < 1u << 31 ? ((now >> HASGPU_LOAN_SHIFT) + left) << HASGPU_LOAN_SHIFT : 0;
}
