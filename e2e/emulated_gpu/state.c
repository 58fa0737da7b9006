/* Making, opening and locking the state of one emulated GPU. */
#define _GNU_SOURCE
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

const char *gpu_root(void) {
    const char *root = getenv("HASGPU_EMULATED_DIR");
    return root && *root ? root : "/run/hasgpu-emulated";
}

static int path_of(char *path, const char *root, uint32_t index, const char *file) {
    return snprintf(path, PATH_MAX, "%s/gpus/%u%s%s", root, index, file ? "/" : "", file ? file : "") < PATH_MAX ? 0 : -1;
}

static int open_world_writable(const char *path) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd >= 0 && fchmod(fd, 0666) != 0) { /* functions run under any uid: umask must not matter */
        close(fd);
        return -1;
    }
    return fd;
}

/* A stable, well-formed UUID per index, so that a re-created bed has the same GPUs. */
static void uuid_of(char *uuid, size_t bytes, uint32_t index) {
    uint64_t h = 0xcbf29ce484222325ull;
    for (uint32_t i = 0; i < 8; i++) h = (h ^ (index + i * 31u + 1u)) * 0x100000001b3ull;
    snprintf(uuid, bytes, "GPU-%08x-%04x-4%03x-8%03x-%012llx", (uint32_t)(h >> 32), (uint32_t)(h >> 16) & 0xffff,
             (uint32_t)(h >> 4) & 0xfff, (uint32_t)h & 0xfff, (unsigned long long)(h * 0x9e3779b97f4a7c15ull) >> 16);
}

static void fill(struct gpu_state *s, uint32_t index, const struct gpu_plan *plan) {
    s->version = STATE_VERSION;
    s->index = index;
    s->records_offset = offsetof(struct gpu_state, records);
    s->record_bytes = sizeof(struct client_record);
    s->record_count = MAX_RECORDS;
    s->log_offset = offsetof(struct gpu_state, log);
    s->entry_bytes = sizeof(struct kernel_entry);
    s->entry_count = plan->entry_count;
    s->next_seq = 1; /* 0 means "no kernel" */
    s->next_client = 1;
    uuid_of(s->uuid, sizeof s->uuid, index);
    snprintf(s->product, sizeof s->product, "%s", plan->product);
    s->sm_count = plan->sm_count;
    s->sm_step = plan->sm_step;
    s->cc_major = plan->cc_major;
    s->cc_minor = plan->cc_minor;
    s->cores_per_sm = plan->cores_per_sm;
    s->mps_client_limit = plan->mps_client_limit;
    s->lane_rule = plan->lane_rule;
    s->memory_bytes = plan->memory_bytes;
    s->context_bytes = plan->context_bytes;
    __atomic_store_n(&s->magic, STATE_MAGIC, __ATOMIC_RELEASE);
}

static int write_uuid_file(const char *root, uint32_t index, const char *uuid) {
    char path[PATH_MAX];
    if (path_of(path, root, index, "uuid") != 0) return -1;
    FILE *f = fopen(path, "we");
    if (!f) return -1;
    fprintf(f, "%s\n", uuid);
    return fclose(f);
}

int gpu_create(const char *root, uint32_t index, const struct gpu_plan *plan) {
    char path[PATH_MAX], clients[PATH_MAX];
    snprintf(path, sizeof path, "%s", root);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/gpus", root);
    mkdir(path, 0755);
    if (path_of(path, root, index, NULL) != 0) return -1;
    if (mkdir(path, 0755) != 0 && errno != EEXIST) return -1;
    if (path_of(path, root, index, "state") != 0 || path_of(clients, root, index, "clients") != 0) return -1;
    unlink(path); /* a new device, not an old one under somebody's feet */
    unlink(clients);
    int clients_fd = open_world_writable(clients);
    int fd = open_world_writable(path);
    uint64_t bytes = sizeof(struct gpu_state) + plan->entry_count * sizeof(struct kernel_entry);
    struct gpu_state *s = MAP_FAILED;
    if (fd >= 0 && clients_fd >= 0 && ftruncate(fd, (off_t)bytes) == 0)
        s = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (clients_fd >= 0) close(clients_fd);
    if (s == MAP_FAILED) return -1;
    fill(s, index, plan);
    int rc = write_uuid_file(root, index, s->uuid);
    munmap(s, bytes);
    return rc;
}

int gpu_open(struct gpu *gpu, const char *root, uint32_t index) {
    char path[PATH_MAX];
    struct stat st;
    memset(gpu, 0, sizeof *gpu);
    gpu->slot = -1;
    pthread_mutex_init(&gpu->mutex, NULL);
    if (path_of(path, root, index, "state") != 0) return -1;
    gpu->lock_fd = open(path, O_RDWR | O_CLOEXEC);
    if (gpu->lock_fd < 0) return -1;
    if (path_of(path, root, index, "clients") != 0) return -1;
    gpu->clients_fd = open(path, O_RDWR | O_CLOEXEC);
    if (gpu->clients_fd < 0 || fstat(gpu->lock_fd, &st) != 0) goto failed;
    gpu->mapped_bytes = (uint64_t)st.st_size;
    gpu->state = mmap(NULL, gpu->mapped_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, gpu->lock_fd, 0);
    if (gpu->state == MAP_FAILED) goto failed;
    if (gpu->state->magic == STATE_MAGIC && gpu->state->version == STATE_VERSION) return 0;
    munmap(gpu->state, gpu->mapped_bytes);
    errno = EPROTO;
failed:
    close(gpu->lock_fd);
    if (gpu->clients_fd >= 0) close(gpu->clients_fd);
    gpu->state = NULL;
    return -1;
}

void gpu_abandon(struct gpu *gpu) {
    close(gpu->lock_fd);
    close(gpu->clients_fd);
    gpu->lock_fd = gpu->clients_fd = gpu->slot = -1;
}

static void set_lock(struct gpu *gpu, short type) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
    while (fcntl(gpu->lock_fd, F_OFD_SETLKW, &l) != 0 && errno == EINTR) continue;
}

void gpu_lock(struct gpu *gpu) {
    pthread_mutex_lock(&gpu->mutex); /* the file lock does not tell threads of one process apart */
    set_lock(gpu, F_WRLCK);
}

void gpu_unlock(struct gpu *gpu) {
    set_lock(gpu, F_UNLCK);
    pthread_mutex_unlock(&gpu->mutex);
}
