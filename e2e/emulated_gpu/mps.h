/* The MPS control daemon double. One process plays both the control daemon and its server. */
#ifndef EMULATED_GPU_MPS_H
#define EMULATED_GPU_MPS_H

#include "state.h"

#include <stdio.h>
#include <sys/types.h>

#define CONNECTIONS_MAX 512

enum connection_kind { CONNECTED, CLIENT, QUEUED, COMMAND };

struct connection {
    int fd;
    enum connection_kind kind;
    pid_t pid; /* as this process sees it: 0 when it is in a PID namespace that can't be seen from here */
    uid_t uid;
    char introduction[256];
};

struct limits {
    double percent;
    uint64_t memory_bytes; /* 0: none */
};

struct daemon {
    struct gpu gpus[MAX_GPUS];
    int gpu_count;
    struct connection connections[CONNECTIONS_MAX];
    bool multiuser, server_started, quitting;
    uid_t server_uid;
    uint64_t quit_at_ns; /* 0: when the last client has left */
    uint64_t faults_seen;
    struct limits next_server, server;
    FILE *log;
    int listener, privileged_listener, lock_fd;
};

/* mps_daemon.c */
int run_daemon(struct daemon *d, const char *pipe_directory);
void start_server(struct daemon *d, uid_t uid);
int client_count(const struct daemon *d);
bool in_fault(struct daemon *d);
void disconnect(struct daemon *d, struct connection *c, const char *why);
void say(struct daemon *d, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* mps_commands.c */
void answer(struct daemon *d, const char *command, FILE *reply);
uint64_t memory_limit_of(const char *text);

#endif
