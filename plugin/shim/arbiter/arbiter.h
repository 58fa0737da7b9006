/* members: the pods of a GPU as their pages show them; main: whom a row's idle time is lent to. */
#ifndef HASGPU_ARBITER_H
#define HASGPU_ARBITER_H

#include "shim.h"

/* One pod in the table. What comes from its page is its own word: it decides whom time is lent to, and nothing else. */
struct member {
    struct slice slice;
    int page_fd; /* -1 while there is none */
    uint64_t launches, pending_ns;
    bool waiting;
    uint64_t active_ns; /* when its launches last grew */
    uint64_t lent_ns;   /* so far: who had least is next */
};

void member_open(struct member *member, const char *pods, const uint8_t uid[16]);
void member_close(struct member *member);
void member_look(struct member *member, uint64_t now);
bool member_idle(const struct member *member, uint64_t now);

#endif
