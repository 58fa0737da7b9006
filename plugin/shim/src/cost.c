/* What a launch costs: a moving average of measured GPU time per kernel and grid, or per graph. */
#include "shim.h"

struct cost {
    uint64_t key, estimate_ns;
    uint32_t seen, since_probe;
    uint64_t memory_bytes; /* of a graph that allocates: found to be taken at a launch */
};

#define ENTRIES 1024u
#define PROBES 4u
#define UNKNOWN_NS MS /* pessimistic until seen */

static struct cost table[ENTRIES];

/* The entry of a key; where its neighbourhood is full the least used one makes room. */
static struct cost *cost_of(uint64_t key) {
    uint64_t hash = key * UINT64_C(0x9E3779B97F4A7C15) >> 32;
    struct cost *rarest = &table[hash % ENTRIES];
    for (unsigned i = 0; i < PROBES; i++) {
        struct cost *entry = &table[(hash + i) % ENTRIES];
        if (entry->key == key) return entry;
        if (entry->seen < rarest->seen) rarest = entry;
    }
    *rarest = (struct cost){.key = key, .estimate_ns = UNKNOWN_NS};
    return rarest;
}

uint64_t cost_estimate_ns(uint64_t key) { return cost_of(key)->estimate_ns; }

/* Long kernels are measured one by one anyway; of short ones the first three and then every 64th. */
bool cost_probe_due(uint64_t key) {
    struct cost *cost = cost_of(key);
    if (cost->seen >= 3 && ++cost->since_probe < 64) return false;
    cost->since_probe = 0;
    return true;
}

void cost_learn(uint64_t key, uint64_t measured_ns) {
    struct cost *cost = cost_of(key);
    uint64_t weight = cost->seen < 3 ? cost->seen + 1 : 4;
    int64_t error = (int64_t)measured_ns - (int64_t)cost->estimate_ns;
    cost->estimate_ns = (uint64_t)((int64_t)cost->estimate_ns + error / (int64_t)weight);
    if (cost->seen < UINT32_MAX) cost->seen++;
}

uint64_t *cost_memory_bytes(uint64_t key) { return &cost_of(key)->memory_bytes; }

/* A destroyed graph's handle may be given to another one. */
void cost_forget(uint64_t key) { *cost_of(key) = (struct cost){.key = key, .estimate_ns = UNKNOWN_NS}; }
