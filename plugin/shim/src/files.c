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

/* The whole file, or NULL: a mapping of a shorter one would end in SIGBUS. */
void *files_map(const char *variable, const char *path, size_t bytes, int flags, int *kept_fd) {
    const char *told = getenv(variable);
    int fd = open(told && *told ? told : path, flags | O_CLOEXEC);
    if (fd < 0) return NULL;
    struct stat file;
    void *memory = MAP_FAILED;
    if (!fstat(fd, &file) && file.st_size == (off_t)bytes)
        memory = mmap(NULL, bytes, flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED || !kept_fd) close(fd);
    else *kept_fd = fd;
    return memory == MAP_FAILED ? NULL : memory;
}
