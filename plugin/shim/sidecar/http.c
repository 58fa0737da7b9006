/* The least HTTP/1.0 server that a kubelet and a Prometheus need: one short request at a time. */
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sidecar.h"

#define PATIENCE_MS 200 /* for a client that says nothing */

int http_listen(int port) {
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, off = 0;
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (listener < 0) listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* a node without IPv6 */
    else if (setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off)) return -1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) && bind(listener, (struct sockaddr *)&any4, sizeof any4)) {
        close(listener);
        return -1;
    }
    return listen(listener, 64) ? -1 : listener;
}

static void reply(int client, const char *status, const char *body, int length) {
    char head[160];
    int size = snprintf(head, sizeof head,
                        "HTTP/1.0 %s\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n"
                        "Connection: close\r\n\r\n",
                        status, length);
    struct iovec parts[] = {{head, (size_t)size}, {(void *)body, (size_t)length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    sendmsg(client, &message, MSG_NOSIGNAL);
    shutdown(client, SHUT_WR);
}

void http_answer(int listener, const char *mps_directory) {
    static char body[16384];
    char request[1024], reason[512] = "";
    int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0) return;
    struct pollfd speaks = {.fd = client, .events = POLLIN};
    ssize_t length = poll(&speaks, 1, PATIENCE_MS) > 0 ? recv(client, request, sizeof request - 1, 0) : 0;
    request[length > 0 ? length : 0] = 0;
    bool mps_up = mps_alive(mps_directory, reason, sizeof reason);
    if (!strncmp(request, "GET /healthz ", 13)) {
        reply(client, "200 OK", "ok\n", 3);
    } else if (!strncmp(request, "GET /readyz ", 12)) {
        bool ready = mps_up && report_ready(reason, sizeof reason);
        int size = snprintf(body, sizeof body, "%s\n", ready ? "ok" : reason);
        reply(client, ready ? "200 OK" : "503 Service Unavailable", body, size);
    } else if (!strncmp(request, "GET /metrics ", 13)) {
        reply(client, "200 OK", body, report_metrics(body, sizeof body, mps_up));
    } else {
        reply(client, "404 Not Found", "not found\n", 10);
    }
    close(client);
}
