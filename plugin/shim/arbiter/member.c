/* A pod as its page shows it. The page is hostile input: no link is followed, it is read by pread and never mapped. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arbiter.h"

#define QUIET_NS (MS / 4)         /* a client that waits for each kernel is this long between two of them */
#define LONGEST_PENDING_NS (40 * MS) /* whatever it says of its kernels: it launched nothing for this long */

static void print_uid(char text[37], const uint8_t uid[16]) {
    for (int i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
        at += snprintf(text + at, 3, "%02x", uid[i]);
    }
}

static int open_page(const char *path) {
    struct stat file;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return -1;
    if (!fstat(fd, &file) && S_ISREG(file.st_mode) && file.st_size == HASGPU_PAGE_FILE_BYTES) return fd;
    close(fd);
    return -1;
}

void member_open(struct member *member, const char *pods, const uint8_t uid[16]) {
    char text[37], path[4096];
    print_uid(text, uid);
    snprintf(path, sizeof path, "%s/%s/page/page.v1", pods, text);
    member->page_fd = open_page(path);
}

void member_close(struct member *member) {
    if (member->page_fd >= 0) close(member->page_fd);
    member->page_fd = -1;
}

void member_look(struct member *member, uint64_t now) {
    struct hasgpu_page page;
    if (member->page_fd < 0 || pread(member->page_fd, &page, sizeof page, 0) != (ssize_t)sizeof page) {
        member->waiting = false;
        return;
    }
    uint64_t launches = 0, pending = 0, waiting = 0;
    for (unsigned i = 0; i < HASGPU_PROCESSES; i++) {
        const struct hasgpu_process *process = &page.processes[i];
        launches += process->launches;
        if (!process->state) continue;
        waiting += process->waiting;
        if (process->pending_ns > pending) pending = process->pending_ns;
    }
    if (launches != member->launches) member->active_ns = now;
    member->launches = launches;
    member->pending_ns = pending < LONGEST_PENDING_NS ? pending : LONGEST_PENDING_NS;
    member->waiting = waiting != 0;
}

/* It wants nothing now, and what it launched last should be done. */
bool member_idle(const struct member *member, uint64_t now) {
    return !member->waiting && now >= member->active_ns + member->pending_ns + QUIET_NS;
}
