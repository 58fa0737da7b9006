/* The daemon's loop: clients on `control`, commands on `control_privileged`. */
#define _GNU_SOURCE
#include "mps.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SERVER_NOT_READY 807
#define MAX_CLIENTS_REACHED 808

void say(struct daemon *d, const char *format, ...) {
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    va_list arguments;
    if (!d->log) return;
    strftime(when, sizeof when, "%F %T", localtime_r(&now, &tm));
    fprintf(d->log, "[%s Control %d] ", when, getpid());
    va_start(arguments, format);
    vfprintf(d->log, format, arguments);
    va_end(arguments);
    fputc('\n', d->log);
    fflush(d->log);
}

static int listen_at(const char *directory, const char *name, mode_t mode) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", directory, name) >= (int)sizeof a.sun_path) return -1;
    unlink(a.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && chmod(a.sun_path, mode) == 0 && listen(fd, 64) == 0)
        return fd;
    if (fd >= 0) close(fd);
    return -1;
}

int client_count(const struct daemon *d) {
    int n = 0;
    for (int i = 0; i < CONNECTIONS_MAX; i++) n += d->connections[i].fd && d->connections[i].kind == CLIENT;
    return n;
}

/* After a fatal fault the server takes nobody in until all who were hit have left. */
bool in_fault(struct daemon *d) {
    uint64_t faults = 0;
    for (int i = 0; i < d->gpu_count; i++) faults += d->gpus[i].state->fault_count;
    if (faults != d->faults_seen && client_count(d) == 0) d->faults_seen = faults;
    return faults != d->faults_seen;
}

void start_server(struct daemon *d, uid_t uid) {
    if (d->server_started) return;
    d->server_started = true;
    d->server_uid = uid;
    d->server = d->next_server;
    say(d, "Starting new server %d for user %u", getpid(), uid);
}

void disconnect(struct daemon *d, struct connection *c, const char *why) {
    if (c->kind == CLIENT) say(d, "Client %d disconnected: %s", c->pid, why);
    close(c->fd);
    *c = (struct connection){0};
}

static void refuse(struct daemon *d, struct connection *c, int code) {
    dprintf(c->fd, "error %d\n", code);
    disconnect(d, c, "refused");
}

static void admit(struct daemon *d, struct connection *c) {
    char percent_text[32] = "-", limit_text[160] = "-", uuids[MAX_GPUS * 48] = "";
    sscanf(c->introduction, "client %31s %159s", percent_text, limit_text);
    double percent = percent_text[0] == '-' ? 100 : atof(percent_text);
    uint64_t limit = memory_limit_of(limit_text);
    if (percent <= 0 || percent > d->server.percent) percent = d->server.percent; /* a client can only tighten */
    if (d->server.memory_bytes && (!limit || limit > d->server.memory_bytes)) limit = d->server.memory_bytes;
    for (int i = 0; i < d->gpu_count; i++) {
        if (i) strcat(uuids, ",");
        strcat(uuids, d->gpus[i].state->uuid);
    }
    c->kind = CLIENT;
    dprintf(c->fd, "ok %u %llu %s\n", percent < 1 ? 1u : (unsigned)percent, (unsigned long long)limit, uuids);
    say(d, "New client %d of user %u: %.1f%%", c->pid, c->uid, percent);
}

/* A server works for one user; others wait until it has no client, unless it was started for all. */
static void consider(struct daemon *d, struct connection *c) {
    uint32_t most = d->gpu_count ? d->gpus[0].state->mps_client_limit : 0;
    if (in_fault(d) || d->quitting) return refuse(d, c, SERVER_NOT_READY);
    bool others = d->server_started && !d->multiuser && d->server_uid != c->uid;
    if (others && client_count(d)) {
        c->kind = QUEUED;
        return;
    }
    if (others) d->server_started = false;
    start_server(d, c->uid);
    if ((uint32_t)client_count(d) >= most) return refuse(d, c, MAX_CLIENTS_REACHED);
    admit(d, c);
}

static void serve_command(struct daemon *d, struct connection *c) {
    FILE *reply = fdopen(dup(c->fd), "w");
    if (reply) {
        answer(d, c->introduction, reply);
        fclose(reply);
    }
    disconnect(d, c, "answered");
}

static void hear(struct daemon *d, struct connection *c) {
    size_t have = strlen(c->introduction);
    ssize_t n = recv(c->fd, c->introduction + have, sizeof c->introduction - 1 - have, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return disconnect(d, c, "closed");
    char *end = strchr(c->introduction, '\n');
    if (!end) return;
    *end = 0;
    if (c->kind == COMMAND) serve_command(d, c);
    else if (c->kind == CONNECTED && strncmp(c->introduction, "client ", 7) == 0) consider(d, c);
    else if (c->kind == CONNECTED) disconnect(d, c, "not a client");
}

static void welcome(struct daemon *d, int listener, enum connection_kind kind) {
    struct ucred who = {0};
    socklen_t bytes = sizeof who;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return;
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes);
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (d->connections[i].fd) continue;
        d->connections[i] = (struct connection){.fd = fd, .kind = kind, .pid = who.pid, .uid = who.uid};
        return;
    }
    close(fd);
}

static void admit_queued(struct daemon *d) {
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (d->connections[i].fd && d->connections[i].kind == QUEUED) consider(d, &d->connections[i]);
}

static bool time_to_quit(const struct daemon *d) {
    return d->quitting && (client_count(d) == 0 || (d->quit_at_ns && now_ns() >= d->quit_at_ns));
}

static void turn(struct daemon *d) {
    struct pollfd polled[CONNECTIONS_MAX + 2] = {{.fd = d->listener, .events = POLLIN},
                                                 {.fd = d->privileged_listener, .events = POLLIN}};
    struct connection *whose[CONNECTIONS_MAX];
    nfds_t n = 0;
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        if (!d->connections[i].fd) continue;
        whose[n] = &d->connections[i];
        polled[2 + n++] = (struct pollfd){.fd = d->connections[i].fd, .events = POLLIN};
    }
    if (poll(polled, n + 2, d->quitting ? 50 : -1) <= 0) return;
    for (nfds_t i = 0; i < n; i++)
        if (polled[2 + i].revents) hear(d, whose[i]);
    if (polled[0].revents) welcome(d, d->listener, CONNECTED);
    if (polled[1].revents) welcome(d, d->privileged_listener, COMMAND);
    admit_queued(d);
}

int run_daemon(struct daemon *d, const char *directory) {
    char path[PATH_MAX];
    signal(SIGPIPE, SIG_IGN);
    d->listener = listen_at(directory, "control", 0666); /* functions run under any uid */
    d->privileged_listener = listen_at(directory, "control_privileged", 0600);
    if (d->listener < 0 || d->privileged_listener < 0) return perror(directory), 1;
    say(d, "Starting control daemon using socket %s/control", directory);
    while (!time_to_quit(d)) turn(d);
    static const char *files[] = {"control", "control_privileged", "nvidia-cuda-mps-control.pid"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        unlink(path);
    }
    say(d, "Exit");
    return 0;
}
