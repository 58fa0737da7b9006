/* Where a container finds itself: its pod's UID and the files of its pages, by the environment or at their usual places. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"

/* False where this process belongs to no pod of ours. */
bool files_pod_uid(uint8_t uid[16]) {
    const char *text = getenv("HASGPU_POD_UID");
    unsigned digits = 0;
    for (; text && *text && digits < 32; text++) {
        char digit[2] = {*text, 0};
        if (*text == '-') continue;
        char *end;
        unsigned long value = strtoul(digit, &end, 16);
        if (*end) break;
        uid[digits / 2] = (uint8_t)(uid[digits / 2] << 4 | value);
        digits++;
    }
    return digits == 32;
}

/* Both pages begin alike. One of another version is none: its offsets may mean something else. */
static bool is_page(const void *memory, uint64_t magic) {
    const struct hasgpu_page *page = memory;
    return page->magic == magic && page->abi == HASGPU_ABI;
}

/* The whole file, or NULL: a mapping of a shorter one would end in SIGBUS. */
static void *map(const char *variable, const char *path, uint64_t magic, size_t bytes, int flags, int *kept_fd) {
    const char *told = getenv(variable);
    int fd = open(told && *told ? told : path, flags | O_CLOEXEC);
    if (fd < 0) return NULL;
    struct stat file;
    void *memory = MAP_FAILED;
    if (!fstat(fd, &file) && file.st_size == (off_t)bytes)
        memory = mmap(NULL, bytes, flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED && !is_page(memory, magic)) {
        munmap(memory, bytes);
        memory = MAP_FAILED;
    }
    if (memory == MAP_FAILED || !kept_fd) close(fd);
    else *kept_fd = fd;
    return memory == MAP_FAILED ? NULL : memory;
}

const struct hasgpu_schedule *files_schedule(void) {
    return map("HASGPU_SCHEDULE_FILE", "/run/hasgpu/schedule/schedule.v1", HASGPU_SCHEDULE_MAGIC,
               HASGPU_SCHEDULE_FILE_BYTES, O_RDONLY, NULL);
}

struct hasgpu_page *files_page(int flags, int *kept_fd) {
    return map("HASGPU_PAGE_FILE", "/run/hasgpu/page/page.v1", HASGPU_PAGE_MAGIC, HASGPU_PAGE_FILE_BYTES, flags, kept_fd);
}
