/* The two shared pages as this process holds them, and its slot in the pod's page. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"

pthread_mutex_t hasgpu_lock = PTHREAD_MUTEX_INITIALIZER;
struct pages hasgpu_pages = {.page_fd = -1};

/* Stands in where a pod has no page: nothing is shared then, and nothing crashes. */
static struct hasgpu_page private_page;
static bool fork_handlers;

static bool try_lock(unsigned index, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = HASGPU_LOCK_OFFSET + index, .l_len = 1};
    return !fcntl(hasgpu_pages.page_fd, F_SETLK, &lock);
}

static void empty_slot(struct hasgpu_process *slot) {
    __atomic_store_n(&slot->state, 0, __ATOMIC_RELEASE);
    slot->pending_ns = slot->memory_bytes = slot->generation = 0;
    slot->waiting = 0;
}

static uint64_t start_ticks(void) {
    char text[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (length <= 0) return 0;
    text[length] = 0;
    char *field = strrchr(text, ')');
    for (int i = 0; field && i < 20; i++) field = strchr(field + 1, ' ');
    return field ? strtoull(field, NULL, 10) : 0;
}

/* POSIX locks die with their process and are not inherited, so a slot is never left held. */
static void claim_slot(void) {
    struct hasgpu_page *page = hasgpu_pages.page;
    unsigned index = 0;
    while (index < HASGPU_PROCESSES && !try_lock(index, F_WRLCK)) index++;
    if (index == HASGPU_PROCESSES) index--; /* more processes than slots: the last one is shared */
    else empty_slot(&page->processes[index]);
    hasgpu_pages.index = index;
    hasgpu_pages.process = &page->processes[index];
    hasgpu_pages.process->pid = (uint32_t)getpid();
    hasgpu_pages.process->start_ticks = start_ticks();
    hasgpu_pages.process->heartbeat_ns = now_ns();
    page->last_error = 0; /* it was of one that has gone; who lives on with a broken context will say so again */
    __atomic_store_n(&hasgpu_pages.process->state, 1, __ATOMIC_RELEASE);
}

static void before_fork(void) { pthread_mutex_lock(&hasgpu_lock); }
static void in_parent(void) { pthread_mutex_unlock(&hasgpu_lock); }

/* The child is a process of its own: it drops what it inherited and registers at its own first use. */
static void in_child(void) {
    pthread_mutex_init(&hasgpu_lock, NULL);
    if (hasgpu_pages.page && hasgpu_pages.page != &private_page)
        munmap(hasgpu_pages.page, HASGPU_PAGE_FILE_BYTES);
    if (hasgpu_pages.page_fd >= 0) close(hasgpu_pages.page_fd);
    memset(&private_page, 0, sizeof private_page);
    hasgpu_pages.page = NULL;
    hasgpu_pages.process = NULL;
    hasgpu_pages.page_fd = -1;
    account_forget();
    memory_forget();
    pools_forget(NULL);
    gate_forget();
}

void pages_attach(void) {
    if (!fork_handlers) {
        fork_handlers = true;
        hasgpu_pages.wanted = files_pod_uid(hasgpu_pages.pod_uid);
        pthread_atfork(before_fork, in_parent, in_child);
    }
    if (hasgpu_pages.wanted && !hasgpu_pages.schedule) hasgpu_pages.schedule = files_schedule();
    if (hasgpu_pages.page && hasgpu_pages.page != &private_page) return;
    struct hasgpu_page *page = hasgpu_pages.wanted ? files_page(O_RDWR, &hasgpu_pages.page_fd) : NULL;
    if (page) {
        hasgpu_pages.page = page;
        uint64_t memory = private_page.processes[0].memory_bytes;
        claim_slot();
        hasgpu_pages.process->memory_bytes = memory;
    } else if (!hasgpu_pages.page) {
        hasgpu_pages.page = &private_page;
        hasgpu_pages.process = &private_page.processes[0];
        hasgpu_pages.process->state = 1;
    }
}

/* Takes back what a killed process still seems to hold. */
static void sweep(struct hasgpu_process *slot, unsigned index) {
    if (hasgpu_pages.page_fd >= 0 && try_lock(index, F_WRLCK)) {
        empty_slot(slot);
        try_lock(index, F_UNLCK);
    }
}

/* What all processes of the pod have launched and not yet been charged for. One that has been silent for 200 ms may
 * be dead. */
uint64_t pages_pending_ns(uint64_t now) {
    uint64_t total = hasgpu_pages.process->pending_ns;
    for (unsigned i = 0; i < HASGPU_PROCESSES; i++) {
        struct hasgpu_process *slot = &hasgpu_pages.page->processes[i];
        if (slot == hasgpu_pages.process || !__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE)) continue;
        if (slot->pending_ns && now > slot->heartbeat_ns + 200 * MS) sweep(slot, i);
        total += slot->pending_ns;
    }
    return total;
}

uint64_t pages_memory_bytes(void) {
    uint64_t total = hasgpu_pages.process->memory_bytes;
    for (unsigned i = 0; i < HASGPU_PROCESSES; i++) {
        struct hasgpu_process *slot = &hasgpu_pages.page->processes[i];
        if (slot == hasgpu_pages.process || !slot->memory_bytes) continue;
        sweep(slot, i);
        total += __atomic_load_n(&slot->memory_bytes, __ATOMIC_RELAXED);
    }
    return total;
}
