/* Prints plugin/hasgpu/device/page_layout.py from the header, so that Python never counts bytes. */
#include <ctype.h>
#include <stddef.h>
#include <stdio.h>

#include "hasgpu_pages.h"

#define STRUCT(name) printf("%s_BYTES = %zu\n", name, sizeof(TYPE))
#define FIELD(name, member) print_field(name, #member, offsetof(TYPE, member), sizeof(((TYPE *)0)->member))
#define CONSTANT(name) printf("%s = %lu\n", #name + 7, (unsigned long)(name))

static void print_field(const char *owner, const char *member, size_t offset, size_t bytes) {
    printf("%s_", owner);
    for (; *member; member++) putchar(toupper((unsigned char)*member));
    printf(" = (%zu, %zu)\n", offset, bytes);
}

int main(void) {
    puts("\"\"\"Generated from plugin/shim/include/hasgpu_pages.h by `make -C plugin/shim layout`: do not edit.\n\n"
         "A field is (offset, size in bytes) within its struct. May not touch: anything.\n\"\"\"\n");
    CONSTANT(HASGPU_SCHEDULE_MAGIC);
    CONSTANT(HASGPU_PAGE_MAGIC);
    CONSTANT(HASGPU_ABI);
    CONSTANT(HASGPU_ROWS);
    CONSTANT(HASGPU_ENTRIES);
    CONSTANT(HASGPU_SLOTS);
    CONSTANT(HASGPU_PROCESSES);
    CONSTANT(HASGPU_SCHEDULE_FILE_BYTES);
    CONSTANT(HASGPU_PAGE_FILE_BYTES);
    CONSTANT(HASGPU_LOCK_OFFSET);
    CONSTANT(HASGPU_POLICY_STATIC);
    CONSTANT(HASGPU_POLICY_OPEN);
    CONSTANT(HASGPU_POLICY_CLOSED);
    CONSTANT(HASGPU_ROW_SLOTS);
    CONSTANT(HASGPU_ROW_TOKEN);
    CONSTANT(HASGPU_ROW_BORROW);
#define TYPE struct hasgpu_schedule
    print_field("SCHEDULE", "magic_field", offsetof(TYPE, magic), 8);
    FIELD("SCHEDULE", abi);
    print_field("SCHEDULE", "file_bytes_field", offsetof(TYPE, file_bytes), 4);
    FIELD("SCHEDULE", epoch);
    FIELD("SCHEDULE", valid_until_ns);
    FIELD("SCHEDULE", policy_expired);
    FIELD("SCHEDULE", policy_missing);
    FIELD("SCHEDULE", sm_count);
    FIELD("SCHEDULE", sm_step);
    FIELD("SCHEDULE", fault);
    FIELD("SCHEDULE", pinned_spare_mib);
    FIELD("SCHEDULE", wake);
    FIELD("SCHEDULE", gpu_uuid);
    FIELD("SCHEDULE", borrow);
    FIELD("SCHEDULE", tables);
#undef TYPE
#define TYPE struct hasgpu_table
    STRUCT("TABLE");
    FIELD("TABLE", window_ns);
    FIELD("TABLE", effective_from_ns);
    FIELD("TABLE", row_count);
    FIELD("TABLE", entry_count);
    FIELD("TABLE", rows);
    FIELD("TABLE", entries);
#undef TYPE
#define TYPE struct hasgpu_row
    STRUCT("ROW");
    FIELD("ROW", row);
    FIELD("ROW", sm_percent);
    FIELD("ROW", policy);
#undef TYPE
#define TYPE struct hasgpu_entry
    STRUCT("ENTRY");
    FIELD("ENTRY", pod_uid);
    FIELD("ENTRY", row);
    FIELD("ENTRY", quota_percent);
    FIELD("ENTRY", generation);
    FIELD("ENTRY", memory_bytes);
    FIELD("ENTRY", windows);
    FIELD("ENTRY", phase);
    FIELD("ENTRY", slot_count);
    FIELD("ENTRY", policy);
    FIELD("ENTRY", slots);
#undef TYPE
#define TYPE struct hasgpu_page
    print_field("PAGE", "magic_field", offsetof(TYPE, magic), 8);
    FIELD("PAGE", abi);
    print_field("PAGE", "file_bytes_field", offsetof(TYPE, file_bytes), 4);
    FIELD("PAGE", sm_count);
    FIELD("PAGE", mps_attached);
    FIELD("PAGE", unknown_entry_points);
    FIELD("PAGE", bypass_suspected);
    FIELD("PAGE", memory_peak_bytes);
    FIELD("PAGE", last_error);
    FIELD("PAGE", balance);
    FIELD("PAGE", overrun_ns);
    FIELD("PAGE", forgiven_ns);
    FIELD("PAGE", processes);
#undef TYPE
#define TYPE struct hasgpu_process
    STRUCT("PROCESS");
    FIELD("PROCESS", state);
    FIELD("PROCESS", pid);
    FIELD("PROCESS", heartbeat_ns);
    FIELD("PROCESS", generation);
    FIELD("PROCESS", busy_ns);
    FIELD("PROCESS", gated_ns);
    FIELD("PROCESS", launches);
    FIELD("PROCESS", graph_launches);
    FIELD("PROCESS", captured_launches);
    FIELD("PROCESS", measured_batches);
    FIELD("PROCESS", estimated_batches);
    FIELD("PROCESS", refused_allocations);
    FIELD("PROCESS", pending_ns);
    FIELD("PROCESS", memory_bytes);
    FIELD("PROCESS", waiting);
    FIELD("PROCESS", borrowed_ns);
#undef TYPE
    return 0;
}
