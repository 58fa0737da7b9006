/* What the pod's pages say: ready or not and why, and the metrics. The pages are read by pread, never mapped. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hasgpu_pages.h"
#include "sidecar.h"

static const char *file(const char *variable, const char *usual) {
    const char *told = getenv(variable);
    return told && *told ? told : usual;
}

static bool read_whole(const char *path, void *to, size_t bytes, int *kept_fd) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    bool whole = fd >= 0 && pread(fd, to, bytes, 0) == (ssize_t)bytes;
    if (fd >= 0 && !(whole && kept_fd)) close(fd);
    else if (fd >= 0) *kept_fd = fd;
    return whole;
}

static bool read_page(struct hasgpu_page *page, int *fd) {
    return read_whole(file("HASGPU_PAGE_FILE", "/run/hasgpu/page/page.v1"), page, sizeof *page, fd) &&
           page->magic == HASGPU_PAGE_MAGIC;
}

static bool read_schedule(struct hasgpu_schedule *schedule) {
    return read_whole(file("HASGPU_SCHEDULE_FILE", "/run/hasgpu/schedule/schedule.v1"), schedule, sizeof *schedule, NULL) &&
           schedule->magic == HASGPU_SCHEDULE_MAGIC;
}

/* A share of a GPU's SMs comes in whole groups, and whether it is rounded up or down is the driver's choice. */
static bool sm_count_fits(uint32_t seen, uint32_t total, uint32_t step, uint32_t percent) {
    if (!step) step = 1;
    uint64_t wanted = (uint64_t)total * percent;
    uint64_t low = wanted / (100 * step) * step, high = (wanted + 100 * step - 1) / (100 * step) * step;
    return seen >= low && seen <= (high < total ? high : total);
}

/* The kernel drops a lock with its holder. */
static bool is_live(int fd, unsigned index) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HASGPU_LOCK_OFFSET + index, .l_len = 1};
    return !fcntl(fd, F_GETLK, &lock) && lock.l_type != F_UNLCK;
}

bool report_ready(char *reason, size_t size) {
    static struct hasgpu_schedule schedule;
    struct hasgpu_page page;
    int fd;
    if (!read_page(&page, &fd)) {
        snprintf(reason, size, "the pod's page cannot be read");
        return false;
    }
    bool in_use = false; /* what broke a process that has gone is not the next one's */
    for (unsigned i = 0; i < HASGPU_PROCESSES; i++) in_use |= is_live(fd, i);
    close(fd);
    if (!read_schedule(&schedule)) {
        snprintf(reason, size, "the GPU's schedule cannot be read");
        return false;
    }
    if (schedule.fault) {
        snprintf(reason, size, "the GPU is in FAULT (%u)", schedule.fault);
        return false;
    }
    if (page.last_error && in_use) {
        snprintf(reason, size, "the CUDA context is broken: error %u", page.last_error);
        return false;
    }
    const char *told = getenv("HASGPU_SM_COUNT"), *share = getenv("HASGPU_SM_PARTITION");
    uint32_t total = told && *told ? (uint32_t)atoi(told) : schedule.sm_count;
    uint32_t percent = share && *share ? (uint32_t)atoi(share) : 0;
    if (page.sm_count && percent && total && !sm_count_fits(page.sm_count, total, schedule.sm_step, percent)) {
        snprintf(reason, size, "the CUDA context has %u SMs, the slice is %u%% of %u", page.sm_count, percent, total);
        return false;
    }
    return true;
}

static int position;
static void line(char *text, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (position < (int)size) position += vsnprintf(text + position, size - (size_t)position, format, arguments);
    va_end(arguments);
}

static void metric(char *text, size_t size, const char *name, const char *kind, const char *help, double value) {
    line(text, size, "# HELP %s %s\n# TYPE %s %s\n%s %.9g\n", name, help, name, kind, name, value);
}

int report_metrics(char *text, size_t size, bool mps_up) {
    struct hasgpu_page page;
    int fd = -1;
    double busy = 0, borrowed = 0, gated = 0, launches = 0, graphs = 0, refused = 0, memory = 0, waiting = 0, processes = 0;
    bool readable = read_page(&page, &fd);
    for (unsigned i = 0; readable && i < HASGPU_PROCESSES; i++) {
        const struct hasgpu_process *slot = &page.processes[i];
        busy += (double)slot->busy_ns / 1e9;
        borrowed += (double)slot->borrowed_ns / 1e9;
        gated += (double)slot->gated_ns / 1e9;
        launches += (double)slot->launches;
        graphs += (double)slot->graph_launches;
        refused += (double)slot->refused_allocations;
        if (!is_live(fd, i)) continue;
        memory += (double)slot->memory_bytes;
        waiting += slot->waiting;
        processes++;
    }
    if (fd >= 0) close(fd);
    position = 0;
    metric(text, size, "hasgpu_pod_mps_up", "gauge", "1 while the MPS control daemon answers.", mps_up);
    if (!readable) return position;
    double debt = page.balance.balance_ns < 0 ? -(double)page.balance.balance_ns / 1e9 : 0;
    metric(text, size, "hasgpu_pod_gpu_busy_seconds_total", "counter", "GPU time used, as measured.", busy);
    metric(text, size, "hasgpu_pod_borrowed_seconds_total", "counter", "Of it: in idle time of the row that was lent.",
           borrowed);
    metric(text, size, "hasgpu_pod_gated_seconds_total", "counter", "Time launches waited for their slot.", gated);
    metric(text, size, "hasgpu_pod_overrun_seconds_total", "counter", "GPU time used outside the slots.",
           (double)page.overrun_ns / 1e9);
    metric(text, size, "hasgpu_pod_debt_forgiven_seconds_total", "counter", "Debt above the cap.",
           (double)page.forgiven_ns / 1e9);
    metric(text, size, "hasgpu_pod_debt_seconds", "gauge", "GPU time used and not yet repaid.", debt);
    metric(text, size, "hasgpu_pod_launches_total", "counter", "Kernels and graphs launched.", launches);
    metric(text, size, "hasgpu_pod_graph_launches_total", "counter", "Graphs launched.", graphs);
    metric(text, size, "hasgpu_pod_launches_waiting", "gauge", "Launches held at the gate now.", waiting);
    metric(text, size, "hasgpu_pod_processes", "gauge", "Processes that use the GPU.", processes);
    metric(text, size, "hasgpu_pod_memory_bytes", "gauge", "Device memory allocated.", memory);
    metric(text, size, "hasgpu_pod_memory_peak_bytes", "gauge", "The most that was allocated.",
           (double)page.memory_peak_bytes);
    metric(text, size, "hasgpu_pod_allocations_refused_total", "counter", "Allocations beyond the slice.", refused);
    metric(text, size, "hasgpu_pod_sm_count", "gauge", "SMs seen by the newest context.", page.sm_count);
    metric(text, size, "hasgpu_pod_entry_points_unknown", "gauge", "Driver functions asked for and unknown to the shim.",
           page.unknown_entry_points);
    metric(text, size, "hasgpu_pod_bypass_suspected", "gauge", "Drivers loaded beside the one behind the shim.",
           page.bypass_suspected);
    return position;
}
