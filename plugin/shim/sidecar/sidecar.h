/* The MPS sidecar of a GPU pod. mps: is the control daemon there; report: what the pages say; http: who asks. */
#ifndef HASGPU_SIDECAR_H
#define HASGPU_SIDECAR_H

#include <stdbool.h>
#include <stddef.h>

/* mps.c */
bool mps_connect(const char *directory, char *reason, size_t size);
bool mps_alive(const char *directory, char *reason, size_t size);

/* report.c: false and a reason where the pod should not be sent requests */
bool report_ready(char *reason, size_t size);
int report_metrics(char *text, size_t size, bool mps_up);

/* http.c */
int http_listen(int port);
void http_answer(int listener, const char *mps_directory);

#endif
