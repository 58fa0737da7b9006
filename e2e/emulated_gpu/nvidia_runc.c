/* nvidia-runc: runc for RuntimeClass `nvidia` on a node with emulated GPUs.
 *
 * On `create`, where NVIDIA_VISIBLE_DEVICES names a GPU or says `all`, the doubles and the state of those GPUs are
 * mounted where nvidia-container-runtime mounts the real driver and its devices. Everything else is runc's. */
#define _GNU_SOURCE
#include "oci_config.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_GPUS 16
#define CONFIG_BYTES_MAX (16u << 20)

static const char *value_of(int argc, char **argv, const char *option) {
    size_t n = strlen(option);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], option) == 0) return i + 1 < argc ? argv[i + 1] : NULL;
        if (strncmp(argv[i], option, n) == 0 && argv[i][n] == '=') return argv[i] + n + 1;
    }
    return NULL;
}

static bool creates(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "create") == 0 || strcmp(argv[i], "run") == 0) return true;
    return false;
}

/* Told the way runc tells: on stderr and in the log that containerd reads. */
static int refuse(int argc, char **argv, const char *why, const char *what) {
    const char *log = value_of(argc, argv, "--log");
    FILE *f = log ? fopen(log, "ae") : NULL;
    if (f) {
        fprintf(f, "{\"level\":\"error\",\"msg\":\"nvidia-runc: %s: %s\"}\n", why, what);
        fclose(f);
    }
    fprintf(stderr, "nvidia-runc: %s: %s\n", why, what);
    return 1;
}

static char *read_text(const char *path) {
    FILE *f = fopen(path, "re");
    char *text = f ? calloc(1, CONFIG_BYTES_MAX + 1) : NULL;
    if (text) text[fread(text, 1, CONFIG_BYTES_MAX, f)] = 0;
    if (f) fclose(f);
    return text;
}

static int replace(const char *path, const char *text) {
    char temporary[PATH_MAX + 16];
    snprintf(temporary, sizeof temporary, "%s.nvidia", path);
    FILE *f = fopen(temporary, "we");
    if (!f) return -1;
    int rc = fputs(text, f) < 0;
    if (fclose(f) != 0 || rc) return -1;
    return rename(temporary, path);
}

static bool uuid_of(const char *root, int index, char *uuid, size_t bytes) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/gpus/%d/uuid", root, index);
    FILE *f = fopen(path, "re");
    bool there = f && fgets(uuid, (int)bytes, f);
    if (f) fclose(f);
    if (there) uuid[strcspn(uuid, "\n")] = 0;
    return there;
}

static int index_of(const char *root, const char *name) {
    char uuid[64], *end;
    long n = strtol(name, &end, 10);
    for (int i = 0; i < MAX_GPUS; i++)
        if (uuid_of(root, i, uuid, sizeof uuid) && (strcmp(uuid, name) == 0 || (*name && !*end && n == i))) return i;
    return -1;
}

static void put_mount(FILE *out, const char *source, const char *target, bool writable) {
    static bool any;
    fprintf(out, "%s{\"destination\":\"%s\",\"type\":\"bind\",\"source\":\"%s\",\"options\":[\"bind\",\"%s\",\"nosuid\",\"nodev\",\"rprivate\"]}",
            any ? "," : "", target, source, writable ? "rw" : "ro");
    any = true;
}

static void put_gpu(FILE *out, const char *root, int index) {
    char source[PATH_MAX], target[64];
    snprintf(source, sizeof source, "%s/gpus/%d", root, index);
    snprintf(target, sizeof target, "/run/hasgpu-emulated/gpus/%d", index);
    put_mount(out, source, target, true);
}

static void put_driver(FILE *out) {
    static const char *const files[][2] = {{"libcuda.so.1", "lib64"}, {"libnvidia-ml.so.1", "lib64"}, {"nvidia-cuda-mps-control", "bin"}};
    char self[PATH_MAX] = "", source[PATH_MAX * 2], target[128];
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) return;
    const char *directory = dirname(self);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(source, sizeof source, "%s/%s", directory, files[i][0]);
        snprintf(target, sizeof target, "/usr/local/nvidia/%s/%s", files[i][1], files[i][0]);
        put_mount(out, source, target, false);
    }
}

/* The mounts of the named GPUs; the name that isn't there in *unknown. */
static char *mounts_for(const char *root, char *names, const char **unknown) {
    char *text = NULL, uuid[64], *save = NULL;
    size_t bytes;
    bool all = strcmp(names, "all") == 0, any = false;
    FILE *out = open_memstream(&text, &bytes);
    *unknown = NULL;
    put_driver(out);
    for (int i = 0; all && i < MAX_GPUS; i++)
        if (uuid_of(root, i, uuid, sizeof uuid)) put_gpu(out, root, i), any = true;
    for (char *n = all ? NULL : strtok_r(names, ",", &save); n && !*unknown; n = strtok_r(NULL, ",", &save)) {
        int i = index_of(root, n);
        if (i < 0) *unknown = n;
        else put_gpu(out, root, i), any = true;
    }
    if (!any && !*unknown) *unknown = names;
    fclose(out);
    return text;
}

static int inject(int argc, char **argv) {
    char path[PATH_MAX], names[1024], uid[64], env[128];
    const char *bundle = value_of(argc, argv, "--bundle"), *unknown, *root = getenv("HASGPU_EMULATED_DIR");
    if (!bundle) bundle = value_of(argc, argv, "-b");
    snprintf(path, sizeof path, "%s/config.json", bundle ? bundle : ".");
    char *config = read_text(path);
    if (!config) return refuse(argc, argv, "can't read", path);
    if (!oci_env(config, "NVIDIA_VISIBLE_DEVICES", names, sizeof names) || !names[0] || strcmp(names, "void") == 0 ||
        strcmp(names, "none") == 0)
        return 0;
    char *mounts = mounts_for(root ? root : "/run/hasgpu-emulated", names, &unknown);
    if (unknown) return refuse(argc, argv, "unknown device", unknown);
    oci_pod_uid(config, uid, sizeof uid);
    snprintf(env, sizeof env, "\"HASGPU_EMULATED_POD=%s\"", uid);
    char *edited = oci_with(config, mounts, env);
    if (!edited || replace(path, edited) != 0) return refuse(argc, argv, "can't edit", path);
    return 0;
}

int main(int argc, char **argv) {
    static const char *const places[] = {"/usr/sbin/runc", "/usr/bin/runc", "/usr/local/sbin/runc", "/usr/local/bin/runc"};
    if (creates(argc, argv) && inject(argc, argv) != 0) return 1;
    const char *runc = getenv("HASGPU_EMULATED_RUNC");
    if (runc) execv(runc, argv);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) execv(places[i], argv);
    perror("runc");
    return 127;
}
