/* Who uses the device: slots, liveness, memory. A dead client's slot, memory and reservations are taken back here. */
#define _GNU_SOURCE
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAP_EVERY_NS 10000000ull

/* The holder of a byte of `clients`, by a classic record lock: F_GETLK names it in the reader's PID namespace, and
 * the kernel drops it with the process. A process does not see its own lock. */
static bool byte_held(const struct gpu *gpu, off_t byte, int *pid) {
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    if (fcntl(gpu->clients_fd, F_GETLK, &l) != 0) return true; /* can't tell: leave it alone */
    if (pid) *pid = l.l_type == F_UNLCK ? 0 : l.l_pid;
    return l.l_type != F_UNLCK;
}

static bool byte_hold(const struct gpu *gpu, off_t byte, bool hold) {
    struct flock l = {.l_type = hold ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    return fcntl(gpu->clients_fd, F_SETLK, &l) == 0;
}

bool client_alive(const struct gpu *gpu, int slot, int *pid) {
    if (slot == gpu->slot) {
        if (pid) *pid = getpid();
        return true;
    }
    return byte_held(gpu, slot, pid);
}

bool mps_owner_alive(const struct gpu *gpu, int *pid) {
    return byte_held(gpu, MPS_OWNER_BYTE, pid);
}

bool mps_own(struct gpu *gpu) {
    return byte_hold(gpu, MPS_OWNER_BYTE, true);
}

/* The pod: told by the container's runtime wrapper, else read from the cgroup path, else what the process claims. */
static void find_pod(char *pod, size_t bytes) {
    const char *told = getenv("HASGPU_EMULATED_POD");
    char line[1024], *at = NULL;
    pod[0] = 0;
    if (told && *told) {
        snprintf(pod, bytes, "%s", told);
        return;
    }
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f))
        if ((at = strstr(line, "/pod"))) break;
    if (f) fclose(f);
    if (at) {
        snprintf(pod, bytes, "%.36s", at + 4);
        pod[strcspn(pod, "/\n")] = 0;
        for (char *c = pod; *c; c++)
            if (*c == '_') *c = '-'; /* the systemd driver escapes dashes */
    }
    const char *claimed = getenv("HASGPU_POD_UID");
    if (!pod[0] && claimed) snprintf(pod, bytes, "%s", claimed);
}

static void write_record(struct gpu_state *s, uint64_t id, uint32_t sm_percent, bool is_mps) {
    struct client_record *r = &s->records[id % MAX_RECORDS];
    memset(r, 0, sizeof *r);
    r->pid = getpid();
    r->sm_percent = sm_percent;
    r->is_mps = is_mps;
    find_pod(r->pod, sizeof r->pod);
    snprintf(r->program, sizeof r->program, "%s", program_invocation_short_name);
    __atomic_store_n(&r->id, id, __ATOMIC_RELEASE);
}

uint32_t sm_count_of(const struct gpu_state *s, uint32_t sm_percent) {
    uint32_t sms = s->sm_count * sm_percent / 100 / s->sm_step * s->sm_step; /* MPS rounds percentages down */
    return sms < s->sm_step ? s->sm_step : sms;
}

int client_join(struct gpu *gpu, uint32_t sm_percent, bool is_mps) {
    struct gpu_state *s = gpu->state;
    client_reap(gpu);
    for (int i = 0; i < MAX_CLIENTS; i++) {
        struct client *c = &s->clients[i];
        if (c->in_use || !byte_hold(gpu, i, true)) continue;
        uint64_t id = s->next_client++;
        write_record(s, id, sm_percent, is_mps);
        *c = (struct client){.id = id, .sm_percent = sm_percent, .is_mps = is_mps,
                             .sm_count = sm_count_of(s, sm_percent), .memory_bytes = 0};
        __atomic_store_n(&c->in_use, 1u, __ATOMIC_RELEASE);
        gpu->slot = i;
        gpu->client = id;
        return 0;
    }
    return -1;
}

void client_leave(struct gpu *gpu) {
    if (gpu->slot < 0) return;
    struct client *c = &gpu->state->clients[gpu->slot];
    release_reservations(gpu, gpu->client);
    c->in_use = 0;
    byte_hold(gpu, gpu->slot, false);
    gpu->slot = -1;
}

void client_reap(struct gpu *gpu) {
    struct gpu_state *s = gpu->state;
    for (int i = 0; i < MAX_CLIENTS; i++) {
        if (!s->clients[i].in_use || client_alive(gpu, i, NULL)) continue;
        release_reservations(gpu, s->clients[i].id);
        s->clients[i].in_use = 0; /* last: whoever is killed in between leaves it to the next */
    }
    s->reaped_ns = now_ns();
}

void client_reap_if_due(struct gpu *gpu) {
    if (now_ns() - gpu->state->reaped_ns > REAP_EVERY_NS) client_reap(gpu);
}

uint64_t memory_used(const struct gpu *gpu) {
    uint64_t used = 0;
    for (int i = 0; i < MAX_CLIENTS; i++)
        if (gpu->state->clients[i].in_use) used += gpu->state->clients[i].memory_bytes;
    return used;
}

bool memory_take(struct gpu *gpu, uint64_t bytes, uint64_t client_limit) {
    struct client *mine = &gpu->state->clients[gpu->slot];
    if (client_limit && mine->memory_bytes + bytes > client_limit) return false;
    if (bytes > gpu->state->memory_bytes) return false;
    if (memory_used(gpu) + bytes > gpu->state->memory_bytes) client_reap(gpu);
    if (memory_used(gpu) + bytes > gpu->state->memory_bytes) return false;
    mine->memory_bytes += bytes;
    return true;
}

void memory_give(struct gpu *gpu, uint64_t bytes) {
    struct client *mine = &gpu->state->clients[gpu->slot];
    mine->memory_bytes -= bytes < mine->memory_bytes ? bytes : mine->memory_bytes;
}
