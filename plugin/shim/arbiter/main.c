/* hasgpu-arbiter: lends the idle time of a row whose policy is `borrow` to a pod of the row that waits.
 *
 * One process per GPU, beside its MPS daemon. It reads the schedule page and the pods' pages and writes nothing but the
 * borrow words. Whose slot it is and whether that pod is idle decides; a pod that had least of such time is next. A loan
 * ends by itself, so a killed arbiter lends nothing on. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arbiter.h"

#define FUTEX_WAKE 1 /* musl brings no kernel headers */
#define LOOK_EVERY_NS (MS / 2)       /* while somebody waits or borrows */
#define LOOK_SELDOM_NS (2 * MS)      /* while nobody does */
#define LOOK_FOR_PAGES_NS (500 * MS) /* a pod's page comes after its place in the table */
#define HORIZON_NS (20 * MS)         /* no loan is longer */
#define TURN_NS (10 * MS)            /* of a borrower, where several wait */

static const char *pods;
static struct hasgpu_schedule *page;
static struct member members[HASGPU_ENTRIES];
static unsigned count;
static uint64_t table_epoch, pages_sought_ns;
static struct {
    unsigned borrower; /* index + 1; 0: nobody */
    uint64_t since_ns, until_ns;
} loans[HASGPU_ROWS];

static bool lends(const struct member *member) {
    return member->slice.known && member->slice.entry.policy == HASGPU_ROW_BORROW && member->slice.entry.row < HASGPU_ROWS;
}

/* Takes a new table; what was seen of pods that stay is forgotten, which costs them nothing but a look. */
static void follow_table(uint64_t now) {
    uint64_t epoch = __atomic_load_n(&page->epoch, __ATOMIC_ACQUIRE);
    if (epoch == table_epoch && now < pages_sought_ns + LOOK_FOR_PAGES_NS) return;
    if (epoch != table_epoch) {
        for (unsigned i = 0; i < count; i++) member_close(&members[i]);
        count = 0;
    }
    const struct hasgpu_table *table = &page->tables[epoch / 2 & 1];
    uint32_t entries = table->entry_count < HASGPU_ENTRIES ? table->entry_count : HASGPU_ENTRIES;
    for (uint32_t i = 0; i < entries; i++) {
        struct member *member = &members[i];
        struct slice before;
        uint8_t uid[16];
        memcpy(uid, table->entries[i].pod_uid, sizeof uid);
        if (epoch != table_epoch) {
            *member = (struct member){.page_fd = -1};
            schedule_copy(page, uid, &before, &member->slice);
        }
        if (lends(member) && member->page_fd < 0) member_open(member, pods, uid);
    }
    if (__atomic_load_n(&page->epoch, __ATOMIC_ACQUIRE) != epoch) entries = 0; /* once more at the next look */
    else table_epoch = epoch;
    count = entries;
    pages_sought_ns = now;
}

/* Until when nobody but an idle pod or the borrower itself has a claim on the row. */
static uint64_t free_until(uint32_t row, const struct member *borrower, uint64_t now) {
    uint64_t until = now + HORIZON_NS;
    for (unsigned i = 0; i < count; i++) {
        const struct member *member = &members[i];
        if (!lends(member) || member->slice.entry.row != row || member == borrower || member_idle(member, now)) continue;
        struct turn turn = slice_turn(&member->slice, now);
        if (turn.start_ns < until) until = turn.start_ns;
    }
    return until;
}

/* The one that had least, of those that wait; who borrows keeps its turn while it goes on launching. */
static unsigned choose(uint32_t row, uint64_t now) {
    unsigned holder = loans[row].borrower, best = 0;
    if (holder && now < loans[row].since_ns + TURN_NS && !member_idle(&members[holder - 1], now)) return holder;
    for (unsigned i = 0; i < count; i++) {
        const struct member *member = &members[i];
        bool wants = member->waiting || (i + 1 == holder && !member_idle(member, now));
        if (!lends(member) || member->slice.entry.row != row || !member->slice.entry.quota_percent || !wants) continue;
        if (!best || member->lent_ns < members[best - 1].lent_ns) best = i + 1;
    }
    return best;
}

static void lend(uint32_t row, uint64_t now) {
    unsigned borrower = choose(row, now);
    uint64_t until = borrower ? free_until(row, &members[borrower - 1], now) : 0;
    if (until <= now) borrower = 0;
    if (borrower) members[borrower - 1].lent_ns += LOOK_EVERY_NS;
    if (borrower != loans[row].borrower) loans[row].since_ns = now;
    loans[row].borrower = borrower;
    loans[row].until_ns = until;
    uint64_t word = borrower ? until >> HASGPU_LOAN_SHIFT << 32 | (table_epoch / 2 & 0xffff) << 16 | borrower : 0;
    uint64_t old = __atomic_exchange_n(&page->borrow[row].word, word, __ATOMIC_ACQ_REL);
    if (borrower && (uint16_t)old != borrower) syscall(SYS_futex, &page->wake, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

/* One look at everybody; true where somebody waits or borrows. */
static bool look(uint64_t now) {
    bool rows[HASGPU_ROWS] = {0}, busy = false;
    follow_table(now);
    for (unsigned i = 0; i < count; i++) {
        if (!lends(&members[i])) continue;
        member_look(&members[i], now);
        rows[members[i].slice.entry.row] = true;
        busy |= members[i].waiting;
    }
    for (uint32_t row = 0; row < HASGPU_ROWS; row++) {
        if (rows[row]) lend(row, now);
        else if (page->borrow[row].word) __atomic_store_n(&page->borrow[row].word, 0, __ATOMIC_RELEASE);
        busy |= rows[row] && loans[row].borrower;
    }
    return busy;
}

static struct hasgpu_schedule *map_schedule(const char *path) {
    struct stat file;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &file) || file.st_size != HASGPU_SCHEDULE_FILE_BYTES) return NULL;
    void *memory = mmap(NULL, HASGPU_SCHEDULE_FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return memory == MAP_FAILED ? NULL : memory;
}

static void leave(int signal) {
    (void)signal;
    for (uint32_t row = 0; row < HASGPU_ROWS; row++) __atomic_store_n(&page->borrow[row].word, 0, __ATOMIC_RELEASE);
    _exit(0);
}

int main(int argc, char **argv) {
    if (argc != 3) return fputs("Usage: hasgpu-arbiter SCHEDULE_PAGE PODS_FOLDER\n", stderr), 2;
    pods = argv[2];
    while (!(page = map_schedule(argv[1])) || page->magic != HASGPU_SCHEDULE_MAGIC) {
        if (page) munmap(page, HASGPU_SCHEDULE_FILE_BYTES);
        nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL); /* the agent makes it */
    }
    signal(SIGTERM, leave);
    signal(SIGINT, leave);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    for (;;) {
        uint64_t pause = look(now_ns()) ? LOOK_EVERY_NS : LOOK_SELDOM_NS;
        nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
    }
}
