/* One connection to the MPS control socket, held open: its end is how we hear at once that the daemon is gone. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "sidecar.h"

static int connection = -1;

bool mps_connect(const char *directory, char *reason, size_t size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int length = snprintf(address.sun_path, sizeof address.sun_path, "%s/control", directory);
    if (length >= (int)sizeof address.sun_path) {
        snprintf(reason, size, "MPS pipe directory %s: the name is too long for a socket", directory);
        return false;
    }
    /* The kind of the socket is the driver's affair and has changed between drivers. */
    static const int kinds[] = {SOCK_STREAM, SOCK_SEQPACKET};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        connection = socket(AF_UNIX, kinds[i] | SOCK_CLOEXEC, 0);
        if (connection >= 0 && !connect(connection, (struct sockaddr *)&address, sizeof address)) return true;
        snprintf(reason, size, "MPS control daemon does not answer at %s: %s", address.sun_path, strerror(errno));
        if (connection >= 0) close(connection);
        connection = -1;
        if (errno != EPROTOTYPE) break;
    }
    return false;
}

bool mps_alive(const char *directory, char *reason, size_t size) {
    struct pollfd state = {.fd = connection, .events = POLLRDHUP};
    if (connection >= 0 && poll(&state, 1, 0) >= 0 && !(state.revents & (POLLRDHUP | POLLHUP | POLLERR))) return true;
    if (connection >= 0) close(connection);
    connection = -1;
    return mps_connect(directory, reason, size);
}
