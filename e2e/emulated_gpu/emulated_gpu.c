/* emulated-gpu: makes the devices of a node, shows them, and breaks them on purpose. */
#define _GNU_SOURCE
#include "state.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TMPFS 0x01021994

static const char usage[] =
    "emulated-gpu create [--gpus N] [--sms N] [--memory 16GiB] [--product NAME] [--mps-clients N]\n"
    "                    [--lanes share|client] [--log-entries N] [--tmpfs]\n"
    "emulated-gpu show\n"
    "emulated-gpu xid GPU CODE | fault GPU | fail-next GPU CURESULT\n"
    "emulated-gpu destroy\n"
    "The devices live under $HASGPU_EMULATED_DIR (/run/hasgpu-emulated).\n";

static uint64_t bytes_of(const char *text) {
    char *unit;
    double n = strtod(text, &unit);
    const char *units = "KMGT";
    const char *at = *unit ? strchr(units, *unit) : NULL;
    for (long i = at ? at - units + 1 : 0; i > 0; i--) n *= 1024;
    return (uint64_t)n;
}

/* Pages of the log on a disk would be written back and stall launches for milliseconds. */
static int mount_tmpfs(const char *root) {
    struct statfs fs;
    mkdir(root, 0755);
    if (statfs(root, &fs) == 0 && fs.f_type == TMPFS) return 0;
    return mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
}

/* Somebody holds it: its daemon or a client. A new device under their feet would be another one than theirs. */
static bool in_use(uint32_t index) {
    struct gpu g;
    if (gpu_open(&g, gpu_root(), index) != 0) return false;
    bool held = mps_owner_alive(&g, NULL);
    for (int i = 0; i < MAX_CLIENTS && !held; i++) held = g.state->clients[i].in_use && client_alive(&g, i, NULL);
    close(g.lock_fd);
    close(g.clients_fd);
    return held;
}

static int create(int argc, char **argv) {
    static const struct option options[] = {
        {"gpus", 1, 0, 'g'}, {"sms", 1, 0, 's'}, {"memory", 1, 0, 'm'}, {"product", 1, 0, 'p'}, {"mps-clients", 1, 0, 'c'},
        {"lanes", 1, 0, 'l'}, {"log-entries", 1, 0, 'e'}, {"tmpfs", 0, 0, 't'}, {0, 0, 0, 0}};
    struct gpu_plan plan = {.product = "Tesla V100-SXM2-16GB", .sm_count = 80, .sm_step = 2, .cc_major = 7, .cc_minor = 0,
                            .cores_per_sm = 64, .mps_client_limit = 48, .lane_rule = LANE_PER_SHARE,
                            .memory_bytes = 16ull << 30, .context_bytes = 128ull << 20, .entry_count = 1u << 19};
    uint32_t gpus = 2;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'g') gpus = (uint32_t)atoi(optarg);
        else if (o == 's') plan.sm_count = (uint32_t)atoi(optarg);
        else if (o == 'm') plan.memory_bytes = bytes_of(optarg);
        else if (o == 'p') plan.product = optarg;
        else if (o == 'c') plan.mps_client_limit = (uint32_t)atoi(optarg);
        else if (o == 'l') plan.lane_rule = strcmp(optarg, "client") == 0 ? LANE_PER_CLIENT : LANE_PER_SHARE;
        else if (o == 'e') plan.entry_count = (uint64_t)atoll(optarg);
        else if (o == 't') { if (mount_tmpfs(gpu_root()) != 0) return perror("tmpfs"), 1; }
        else return 2;
    }
    if (!gpus || gpus > MAX_GPUS || plan.sm_count < plan.sm_step || !plan.entry_count) return 2;
    for (uint32_t i = 0; i < gpus; i++)
        if (in_use(i)) return fprintf(stderr, "GPU %u under %s is in use: destroy it first\n", i, gpu_root()), 1;
    for (uint32_t i = 0; i < gpus; i++)
        if (gpu_create(gpu_root(), i, &plan) != 0) return perror(gpu_root()), 1;
    return 0;
}

static void show_one(struct gpu *g) {
    const struct gpu_state *s = g->state;
    printf("%u %s %s sms=%u memory=%llu mode=%u kernels=%llu faults=%u\n", s->index, s->uuid, s->product, s->sm_count,
           (unsigned long long)s->memory_bytes, s->compute_mode, (unsigned long long)s->next_seq - 1, s->fault_count);
    for (int i = 0; i < MAX_CLIENTS; i++) {
        int pid = 0;
        if (!s->clients[i].in_use || !client_alive(g, i, &pid)) continue;
        const struct client_record *r = &s->records[s->clients[i].id % MAX_RECORDS];
        printf("  pid=%d program=%s pod=%s sm=%u%%%s memory=%llu\n", pid, r->program, r->pod[0] ? r->pod : "-",
               r->sm_percent, r->is_mps ? " mps" : "", (unsigned long long)s->clients[i].memory_bytes);
    }
}

static int show(void) {
    struct gpu g;
    for (uint32_t i = 0; i < MAX_GPUS; i++)
        if (gpu_open(&g, gpu_root(), i) == 0) show_one(&g);
    return 0;
}

static int disturb(const char *how, const char *index, const char *value) {
    struct gpu g;
    if (gpu_open(&g, gpu_root(), (uint32_t)atoi(index)) != 0) return perror(index), 1;
    struct gpu_state *s = g.state;
    gpu_lock(&g);
    if (strcmp(how, "fault") == 0) s->fault_count++;
    else if (strcmp(how, "fail-next") == 0) s->fail_next = (uint32_t)atoi(value);
    uint64_t code = strcmp(how, "fault") == 0 ? 31 : strcmp(how, "xid") == 0 ? (uint64_t)atoll(value) : 0;
    if (code) {
        s->xids[s->xid_count % MAX_XIDS] = (struct xid_event){.at_ns = now_ns(), .code = code};
        __atomic_add_fetch(&s->xid_count, 1, __ATOMIC_RELEASE);
    }
    gpu_unlock(&g);
    return 0;
}

static int destroy(void) {
    struct statfs fs;
    if (statfs(gpu_root(), &fs) == 0 && fs.f_type == TMPFS && umount2(gpu_root(), MNT_DETACH) == 0) return 0;
    char path[4096];
    static const char *files[] = {"state", "clients", "uuid", ""};
    for (int i = 0; i < MAX_GPUS; i++)
        for (int f = 0; f < 4; f++) {
            snprintf(path, sizeof path, "%s/gpus/%d/%s", gpu_root(), i, files[f]);
            if (remove(path) != 0 && errno != ENOENT && errno != ENOTDIR) return perror(path), 1;
        }
    return 0;
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    int rc = 2;
    if (strcmp(verb, "create") == 0) rc = create(argc - 1, argv + 1);
    else if (strcmp(verb, "show") == 0) rc = show();
    else if (strcmp(verb, "destroy") == 0) rc = destroy();
    else if (strcmp(verb, "fault") == 0 && argc == 3) rc = disturb(verb, argv[2], "0");
    else if ((strcmp(verb, "xid") == 0 || strcmp(verb, "fail-next") == 0) && argc == 4) rc = disturb(verb, argv[2], argv[3]);
    if (rc == 2) fputs(usage, stderr);
    return rc;
}
