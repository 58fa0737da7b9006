/* Kills a program at a chosen kind of instant: killer DELAY_US LIBRARY LOCK FUNCTION STEPS PROGRAM ARGUMENT...
 *
 * It runs the program for DELAY_US. With STEPS 0 it kills it then, wherever it is. Otherwise it lets it run on to the
 * function at offset FUNCTION of LIBRARY, steps it STEPS instructions further while the mutex at offset LOCK stays held,
 * and kills it there: inside a critical section of the library as built, with nothing of ours in it. Prints one JSON
 * line: whether the lock was held, and whether the last instruction was the library's own. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;
static uint64_t base, end;

/* Where the library lies in the child: its first and its last mapped byte. */
static bool find_library(const char *path) {
    char name[64], line[4352];
    snprintf(name, sizeof name, "/proc/%d/maps", (int)child);
    FILE *maps = fopen(name, "r");
    base = end = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        uint64_t from, to;
        if (!strstr(line, path) || sscanf(line, "%lx-%lx", &from, &to) != 2) continue;
        if (!base) base = from;
        end = to;
    }
    if (maps) fclose(maps);
    return base != 0;
}

static bool lock_is_held(uint64_t offset) {
    errno = 0;
    long word = ptrace(PTRACE_PEEKDATA, child, (void *)(base + offset), NULL);
    return !errno && (int)word != 0;
}

/* Waits for the child to stop; not for ever, since it may never come to where it is awaited. */
static bool stopped(void) {
    for (int tries = 0; tries < 20000; tries++) {
        int status;
        pid_t found = waitpid(child, &status, __WALL | WNOHANG);
        if (found == child) return WIFSTOPPED(status);
        if (tries > 1000) nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return false;
}

static bool step(void) { return !ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) && stopped(); }

static bool interrupt(void) { return !ptrace(PTRACE_INTERRUPT, child, NULL, NULL) && stopped(); }

/* Lets the child run to the function, by a breakpoint that is taken away again. */
static bool run_to(uint64_t at) {
    struct user_regs_struct registers;
    long code = ptrace(PTRACE_PEEKTEXT, child, (void *)at, NULL);
    if (ptrace(PTRACE_POKETEXT, child, (void *)at, (void *)((code & ~0xffL) | 0xcc))) return false;
    if (ptrace(PTRACE_CONT, child, NULL, NULL) || !stopped()) return false;
    ptrace(PTRACE_POKETEXT, child, (void *)at, (void *)code);
    if (ptrace(PTRACE_GETREGS, child, NULL, &registers) || registers.rip != at + 1) return false;
    registers.rip = at;
    return !ptrace(PTRACE_SETREGS, child, NULL, &registers);
}

/* True where it stands inside the critical section. */
static bool walk_in(const char *library, uint64_t lock, uint64_t function, long further) {
    if (ptrace(PTRACE_SEIZE, child, NULL, NULL) || !interrupt()) return false;
    for (int tries = 0; tries < 100 && !find_library(library); tries++) {
        if (ptrace(PTRACE_CONT, child, NULL, NULL)) return false;
        nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
        if (!interrupt()) return false;
    }
    if (!base || !run_to(base + function)) return false;
    while (further-- > 0 && lock_is_held(lock))
        if (!step()) return false;
    return lock_is_held(lock);
}

int main(int argc, char **argv) {
    if (argc < 7) return 2;
    long delay_us = atol(argv[1]), steps = atol(argv[5]);
    uint64_t lock = strtoull(argv[3], NULL, 16), function = strtoull(argv[4], NULL, 16);
    child = fork();
    if (!child) {
        execv(argv[6], argv + 6);
        _exit(127);
    }
    nanosleep(&(struct timespec){.tv_sec = delay_us / 1000000, .tv_nsec = delay_us % 1000000 * 1000}, NULL);
    bool held = steps && walk_in(argv[2], lock, function, steps), own = false;
    struct user_regs_struct registers;
    if (held && !ptrace(PTRACE_GETREGS, child, NULL, &registers)) own = registers.rip >= base && registers.rip < end;
    kill(child, SIGKILL);
    waitpid(child, NULL, __WALL);
    printf("{\"held\": %s, \"own\": %s, \"at\": \"%lx\"}\n", held ? "true" : "false", own ? "true" : "false",
           own ? (unsigned long)(registers.rip - base) : 0ul);
    return 0;
}
