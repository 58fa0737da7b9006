/* The control commands of the MPS v2 interface and their replies. */
#define _GNU_SOURCE
#include "mps.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* "0=2G,1=512M" or "2G": the smallest that is named. */
uint64_t memory_limit_of(const char *text) {
    char list[256], *save = NULL;
    uint64_t least = 0;
    snprintf(list, sizeof list, "%s", text);
    for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        char *value = strchr(w, '='), *unit;
        uint64_t n = strtoull(value ? value + 1 : w, &unit, 10);
        if (*unit == 'G') n <<= 30;
        else if (*unit == 'M') n <<= 20;
        else if (*unit == 'K') n <<= 10;
        if (n && (!least || n < least)) least = n;
    }
    return least;
}

static bool is_server(const struct daemon *d, const char *pid, FILE *reply) {
    bool right = d->server_started && atoi(pid) == getpid();
    if (!right) fprintf(reply, "Server %s not found\n", pid);
    return right;
}

static void set_percent(double *percent, const char *text, FILE *reply) {
    char *end;
    double n = strtod(text, &end);
    if (end == text || n <= 0 || n > 100) {
        fprintf(reply, "Failed to set active thread percentage: %s\n", text);
        return;
    }
    *percent = n;
    fprintf(reply, "%.1f\n", n);
}

static const char *command_of(pid_t pid, char *text, size_t bytes) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    FILE *f = fopen(path, "re");
    snprintf(text, bytes, "-");
    if (f && fgets(text, (int)bytes, f)) text[strcspn(text, "\n")] = 0;
    if (f) fclose(f);
    return text;
}

static unsigned long namespace_of(pid_t pid) {
    char path[64], link[64] = "";
    unsigned long number = 0;
    snprintf(path, sizeof path, "/proc/%d/ns/pid", pid);
    if (readlink(path, link, sizeof link - 1) > 0) sscanf(link, "pid:[%lu]", &number);
    return number;
}

static void list_processes(const struct daemon *d, FILE *reply) {
    char name[64];
    fprintf(reply, "%-9s %-9s %-9s %-22s %-13s %s\n", "PID", "ID", "SERVER", "DEVICE", "NAMESPACE", "COMMAND");
    for (int i = 0, id = 0; i < CONNECTIONS_MAX; i++) {
        const struct connection *c = &d->connections[i];
        if (!c->fd || c->kind != CLIENT) continue;
        fprintf(reply, "%-9d %-9d %-9d %-22.22s %-13lu %s\n", c->pid, id++, getpid(), d->gpus[0].state->uuid,
                namespace_of(c->pid), command_of(c->pid, name, sizeof name));
    }
}

static void list_clients(const struct daemon *d, FILE *reply) {
    for (int i = 0; i < CONNECTIONS_MAX; i++)
        if (d->connections[i].fd && d->connections[i].kind == CLIENT) fprintf(reply, "%d\n", d->connections[i].pid);
}

static void terminate(struct daemon *d, pid_t pid) {
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        struct connection *c = &d->connections[i];
        if (!c->fd || c->kind != CLIENT || c->pid != pid) continue;
        dprintf(c->fd, "terminate\n");
        disconnect(d, c, "terminated");
    }
}

static void quit(struct daemon *d, const char *option, const char *seconds) {
    d->quitting = true;
    if (strcmp(option, "-t") == 0) d->quit_at_ns = now_ns() + (uint64_t)(atof(seconds) * 1e9);
}

static void about_server(struct daemon *d, char word[3][64], FILE *reply) {
    if (!is_server(d, word[1], reply)) return;
    if (strcmp(word[0], "get_server_status") == 0) fprintf(reply, "%s\n", in_fault(d) ? "FAULT" : "ACTIVE");
    else if (strcmp(word[0], "get_client_list") == 0) list_clients(d, reply);
    else if (strcmp(word[0], "get_active_thread_percentage") == 0) fprintf(reply, "%.1f\n", d->server.percent);
    else if (strcmp(word[0], "set_active_thread_percentage") == 0) set_percent(&d->server.percent, word[2], reply);
    else if (strcmp(word[0], "terminate_client") == 0) terminate(d, atoi(word[2]));
}

static bool names_a_server(const char *command) {
    static const char *commands[] = {"get_server_status", "get_client_list", "get_active_thread_percentage",
                                     "set_active_thread_percentage", "terminate_client"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i], command) == 0) return true;
    return false;
}

void answer(struct daemon *d, const char *command, FILE *reply) {
    char word[3][64] = {"", "", ""};
    sscanf(command, "%63s %63s %63s", word[0], word[1], word[2]);
    const char *verb = word[0];
    if (names_a_server(verb)) about_server(d, word, reply);
    else if (strcmp(verb, "get_server_list") == 0) { if (d->server_started) fprintf(reply, "%d\n", getpid()); }
    else if (strcmp(verb, "start_server") == 0) start_server(d, (uid_t)atoi(word[2]));
    else if (strcmp(verb, "shutdown_server") == 0) d->server_started = false;
    else if (strcmp(verb, "ps") == 0) list_processes(d, reply);
    else if (strcmp(verb, "get_default_active_thread_percentage") == 0) fprintf(reply, "%.1f\n", d->next_server.percent);
    else if (strcmp(verb, "set_default_active_thread_percentage") == 0) set_percent(&d->next_server.percent, word[1], reply);
    else if (strcmp(verb, "get_default_device_pinned_mem_limit") == 0) fprintf(reply, "%lluM\n", (unsigned long long)d->next_server.memory_bytes >> 20);
    else if (strcmp(verb, "set_default_device_pinned_mem_limit") == 0) d->next_server.memory_bytes = memory_limit_of(word[2]);
    else if (strcmp(verb, "quit") == 0) quit(d, word[1], word[2]);
    else fprintf(reply, "Unknown command: %s\n", verb);
}
