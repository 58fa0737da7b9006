/* The client side of MPS: one connection to the daemon of the pipe directory, held for the life of the process. */
#define _GNU_SOURCE
#include "driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct mps mps;
static int connection = -1;
static volatile uint32_t lost; /* the CUresult that every later call gets */

/* The daemon speaks only when something is wrong; a closed connection means that it is gone. */
static void *listen_to_daemon(void *unused) {
    char line[64];
    (void)unused;
    ssize_t n = recv(connection, line, sizeof line - 1, 0);
    while (n < 0 && errno == EINTR) n = recv(connection, line, sizeof line - 1, 0);
    if (n > 0 && strncmp(line, "terminate", 9) == 0) lost = CUDA_ERROR_MPS_CLIENT_TERMINATED;
    else lost = CUDA_ERROR_MPS_RPC_FAILURE;
    struct device *d;
    for (int i = 0; device_of(i, &d) == CUDA_SUCCESS; i++) d->stop = 1;
    return NULL;
}

static int connect_to_daemon(void) {
    const char *directory = getenv("CUDA_MPS_PIPE_DIRECTORY");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (!directory || !*directory) directory = "/tmp/nvidia-mps";
    if (snprintf(a.sun_path, sizeof a.sun_path, "%s/control", directory) >= (int)sizeof a.sun_path) return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static CUresult parse_reply(const char *reply) {
    int error;
    unsigned long long limit;
    if (sscanf(reply, "error %d", &error) == 1) return (CUresult)error;
    if (sscanf(reply, "ok %u %llu %767s", &mps.sm_percent, &limit, mps.uuids) != 3) return CUDA_ERROR_MPS_CONNECTION_FAILED;
    mps.memory_limit = limit;
    return CUDA_SUCCESS;
}

static CUresult introduce(int fd) {
    char text[1024];
    const char *percent = getenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
    const char *limit = getenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT");
    int n = snprintf(text, sizeof text, "client %s %s\n", percent && *percent ? percent : "-", limit && *limit ? limit : "-");
    if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) return CUDA_ERROR_MPS_CONNECTION_FAILED;
    size_t got = 0;
    while (got < sizeof text - 1 && (got == 0 || text[got - 1] != '\n')) {
        ssize_t r = recv(fd, text + got, sizeof text - 1 - got, 0);
        if (r < 0 && errno == EINTR) continue;
        if (r <= 0) return CUDA_ERROR_MPS_CONNECTION_FAILED;
        got += (size_t)r;
    }
    text[got] = 0;
    return parse_reply(text);
}

/* Without a daemon to reach the process silently runs without MPS, as in reality. */
CUresult mps_attach(void) {
    pthread_t thread;
    mps = (struct mps){.sm_percent = 100};
    int fd = connect_to_daemon();
    if (fd < 0) return CUDA_SUCCESS;
    CUresult rc = introduce(fd);
    if (rc != CUDA_SUCCESS) {
        close(fd);
        return rc;
    }
    connection = fd;
    mps.attached = true;
    if (pthread_create(&thread, NULL, listen_to_daemon, NULL) == 0) pthread_detach(thread);
    return CUDA_SUCCESS;
}

CUresult mps_health(void) {
    return (CUresult)lost;
}

bool mps_serves(const char *uuid) {
    return !mps.attached || strstr(mps.uuids, uuid) != NULL;
}

void mps_forked(void) {
    if (connection >= 0) close(connection);
    connection = -1;
}
