/* Random pages for whoever reads them in C: fuzz_pages SEED ROUNDS FOLDER, built with the sanitizers.
 *
 * Valid pages in which words are replaced by others, small and large; the readers' arithmetic must neither fault, hang,
 * nor leave its range. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arbiter.h"

static uint64_t state;

static uint64_t chance(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static uint64_t word(void) {
    static const uint64_t odd[] = {0, 1, 2, 100, 40000000, UINT32_MAX, INT64_MAX, UINT64_MAX, UINT64_C(1) << 63, 1u << 31};
    uint64_t number = chance();
    return number & 1 ? odd[number / 2 % (sizeof odd / sizeof *odd)] : number >> (number / 2 % 64);
}

/* Replaces some words of 8 or 4 bytes. */
static void disturb(void *page, size_t bytes) {
    for (unsigned i = chance() % 12; i; i--) {
        uint64_t value = word();
        size_t width = chance() & 1 ? 8 : 4;
        memcpy((char *)page + chance() % (bytes / width) * width, &value, width);
    }
}

static void make_schedule(struct hasgpu_schedule *page, uint8_t uid[16]) {
    memset(page, 0, sizeof *page);
    page->epoch = 2 * (1 + chance() % 4);
    for (int n = 0; n < 2; n++) {
        struct hasgpu_table *table = &page->tables[n];
        table->window_ns = 40 * MS;
        table->entry_count = 1 + (uint32_t)(chance() % HASGPU_ENTRIES);
        for (unsigned i = 0; i < table->entry_count; i++) {
            struct hasgpu_entry *entry = &table->entries[i];
            entry->pod_uid[0] = (uint8_t)i;
            entry->quota_percent = (uint32_t)(chance() % 101);
            entry->windows = 1 + (uint32_t)(chance() % 3);
            entry->policy = (uint32_t)(chance() % 3);
            entry->slot_count = (uint32_t)(chance() % 5);
            for (unsigned slot = 0; slot < entry->slot_count; slot++)
                entry->slots[slot] = (struct hasgpu_slot){slot * 5 * MS, slot * 5 * MS + chance() % (5 * MS)};
        }
        disturb(table, sizeof *table);
        disturb(&table->entries[0], sizeof table->entries[0]);
    }
    page->borrow[0].word = word();
    memset(uid, 0, 16);
}

static void read_schedule(const struct hasgpu_schedule *page, const uint8_t uid[16]) {
    struct slice before, current;
    if (!schedule_copy(page, uid, &before, &current)) return;
    uint64_t now = chance() & 1 ? word() : 1000000 * MS + chance() % (1000 * MS);
    struct turn turn = slice_turn(&current, now);
    if (turn.end_ns < turn.start_ns && current.known) printf("turn ends before it starts\n");
    slice_time(&current, now, now + chance() % (500 * MS));
    slice_loan(page, &current, now);
}

static void read_page(int fd) {
    struct hasgpu_page page = {.magic = HASGPU_PAGE_MAGIC, .abi = HASGPU_ABI};
    struct member member = {.page_fd = fd};
    disturb(&page, sizeof page);
    disturb(page.processes, sizeof page.processes);
    size_t bytes = chance() % 50 ? sizeof page : chance() % sizeof page;
    if (ftruncate(fd, (off_t)bytes) || pwrite(fd, &page, bytes, 0) != (ssize_t)bytes) exit(3);
    uint64_t now = 1000000 * MS;
    member_look(&member, now);
    if (!member.waiting && !member_idle(&member, now + 1000 * MS)) printf("a page keeps its pod from ever being idle\n");
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    state = strtoull(argv[1], NULL, 10) * 2 + 1;
    static struct hasgpu_schedule schedule;
    uint8_t uid[16];
    char path[4096];
    snprintf(path, sizeof path, "%s/page.v1", argv[3]);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    if (fd < 0) return 3;
    for (long round = strtol(argv[2], NULL, 10); round; round--) {
        make_schedule(&schedule, uid);
        for (int i = 0; i < 10; i++) read_schedule(&schedule, uid);
        read_page(fd);
    }
    return 0;
}
