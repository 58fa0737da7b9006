/* hasgpu-mps-sidecar: the GPU containers start once it has reached MPS; then it says how the pod's GPU is. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sidecar.h"

static const char usage[] =
    "Usage: hasgpu-mps-sidecar [--check] [--port 9402] [--wait SECONDS]\n"
    "Connects to the MPS control daemon in $CUDA_MPS_PIPE_DIRECTORY (/run/hasgpu/mps) and fails with a reason where it\n"
    "does not answer within --wait (5) seconds. Then serves /healthz, /readyz and /metrics; with --check it ends there.\n"
    "Reads $HASGPU_SM_PARTITION (percent) and the pod's pages under /run/hasgpu.\n";

static void leave(int signal) {
    (void)signal;
    _exit(0);
}

static int fail(const char *reason) {
    fprintf(stderr, "hasgpu-mps-sidecar: %s\n", reason);
    int log = open("/dev/termination-log", O_WRONLY | O_CLOEXEC);
    if (log >= 0 && write(log, reason, strlen(reason)) < 0) perror("/dev/termination-log");
    return 1;
}

static bool reach_mps(const char *directory, int wait_s, char *reason, size_t size) {
    for (int tenth = 0; !mps_connect(directory, reason, size); tenth++) {
        if (tenth >= 10 * wait_s) return false;
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    return true;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"port", required_argument, 0, 'p'}, {"wait", required_argument, 0, 'w'}, {"check", no_argument, 0, 'c'},
        {"help", no_argument, 0, 'h'},       {0}};
    int port = 9402, wait_s = 5, option;
    bool check_only = false;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'w') wait_s = atoi(optarg);
        else if (option == 'c') check_only = true;
        else return fputs(usage, option == 'h' ? stdout : stderr), option == 'h' ? 0 : 2;
    }
    /* As pid 1 of its container it has no default action for signals. */
    struct sigaction end = {.sa_handler = leave};
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGINT, &end, NULL);
    char reason[512];
    const char *told = getenv("CUDA_MPS_PIPE_DIRECTORY");
    const char *directory = told && *told ? told : "/run/hasgpu/mps";
    if (!reach_mps(directory, wait_s, reason, sizeof reason)) return fail(reason);
    if (check_only) return 0;
    int listener = http_listen(port);
    if (listener < 0) {
        snprintf(reason, sizeof reason, "port %d: %s", port, strerror(errno));
        return fail(reason);
    }
    for (;;) {
        struct pollfd asked = {.fd = listener, .events = POLLIN};
        if (poll(&asked, 1, -1) > 0) http_answer(listener, directory);
    }
}
