/* nvidia-cuda-mps-control: starts the daemon (-d, -f) or sends it the commands on stdin. */
#define _GNU_SOURCE
#include "mps.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct daemon daemon_state;

static const char *setting(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static bool wanted(const struct gpu *gpu, int ordinal) {
    char list[1024], *save = NULL;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!visible) return true;
    snprintf(list, sizeof list, "%s", visible);
    for (char *w = strtok_r(list, ", ", &save); w; w = strtok_r(NULL, ", ", &save)) {
        char *end;
        long n = strtol(w, &end, 10);
        if (*end ? strncmp(gpu->state->uuid, w, strlen(w)) == 0 : n == ordinal) return true;
    }
    return false;
}

static void open_gpus(struct daemon *d) {
    int ordinal = 0;
    for (uint32_t i = 0; i < MAX_GPUS; i++) {
        struct gpu *g = &d->gpus[d->gpu_count];
        if (gpu_open(g, gpu_root(), i) != 0) continue;
        if (wanted(g, ordinal++)) d->gpu_count++;
    }
    for (int i = 0; i < d->gpu_count; i++) d->faults_seen += d->gpus[i].state->fault_count;
}

static int lock_directory(const char *directory) {
    char path[PATH_MAX];
    mkdir(directory, 0755);
    snprintf(path, sizeof path, "%s/control_lock", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static void write_pid_file(const char *directory) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/nvidia-cuda-mps-control.pid", directory);
    FILE *f = fopen(path, "we");
    if (!f) return;
    fprintf(f, "%d\n", getpid());
    fclose(f);
}

static int start(struct daemon *d, const char *directory, bool foreground) {
    char path[PATH_MAX];
    const char *logs = setting("CUDA_MPS_LOG_DIRECTORY", "/var/log/nvidia-mps");
    d->lock_fd = lock_directory(directory);
    if (d->lock_fd < 0) {
        fputs("An instance of this daemon is already running\n", stderr);
        return 1;
    }
    if (!foreground && daemon(0, 0) != 0) return 1;
    write_pid_file(directory);
    mkdir(logs, 0755);
    snprintf(path, sizeof path, "%s/control.log", logs);
    d->log = fopen(path, "ae");
    open_gpus(d);
    d->next_server = (struct limits){.percent = atof(setting("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "100")),
                                     .memory_bytes = memory_limit_of(setting("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "-"))};
    for (int i = 0; i < d->gpu_count; i++) mps_own(&d->gpus[i]);
    return run_daemon(d, directory);
}

static int send_command(const char *directory, const char *command) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char reply[4096];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (snprintf(a.sun_path, sizeof a.sun_path, "%s/control_privileged", directory) >= (int)sizeof a.sun_path ||
        connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        fputs("Cannot find MPS control daemon process\n", stderr);
        close(fd);
        return 1;
    }
    dprintf(fd, "%s\n", command);
    for (ssize_t n; (n = read(fd, reply, sizeof reply)) > 0;) fwrite(reply, 1, (size_t)n, stdout);
    close(fd);
    return 0;
}

static int send_commands(const char *directory) {
    char line[512];
    int rc = 0;
    while (rc == 0 && fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (line[0]) rc = send_command(directory, line);
    }
    return rc;
}

int main(int argc, char **argv) {
    const char *directory = setting("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps");
    bool background = false, foreground = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-d") == 0) background = true;
        else if (strcmp(argv[i], "-f") == 0) foreground = true;
        else if (strcmp(argv[i], "-multiuser-server") == 0) daemon_state.multiuser = true;
        else return fprintf(stderr, "usage: %s [-d | -f] [-multiuser-server]\n", argv[0]), 1;
    }
    return background || foreground ? start(&daemon_state, directory, foreground) : send_commands(directory);
}
