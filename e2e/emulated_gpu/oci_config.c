/* Finding and extending arrays in config.json: a scanner that skips values, no tree. */
#define _GNU_SOURCE
#include "oci_config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *skip_space(const char *p) {
    while (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r') p++;
    return p;
}

/* From the opening quote to behind the closing one; NULL if the text ends first. */
static const char *skip_string(const char *p) {
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1]) p++;
    return *p ? p + 1 : NULL;
}

static const char *skip_value(const char *p) {
    int depth = 0;
    do {
        p = skip_space(p);
        if (!*p) return NULL;
        if (*p == '"') {
            if (!(p = skip_string(p))) return NULL;
            continue;
        }
        if (*p == '{' || *p == '[') depth++;
        else if (*p == '}' || *p == ']') depth--;
        else if (depth == 0 || isalnum((unsigned char)*p)) { /* a number or a word */
            while (*p && (isalnum((unsigned char)*p) || strchr("+-.", *p))) p++;
            continue;
        }
        p++;
    } while (depth > 0);
    return depth == 0 ? p : NULL;
}

/* The value of a key of the object that begins at p. */
static const char *member(const char *p, const char *key) {
    size_t n = strlen(key);
    if (!p || *(p = skip_space(p)) != '{') return NULL;
    for (p = skip_space(p + 1); *p == '"';) {
        const char *name = p + 1, *end = skip_string(p);
        if (!end || *(p = skip_space(end)) != ':') return NULL;
        p = skip_space(p + 1);
        if ((size_t)(end - 1 - name) == n && strncmp(name, key, n) == 0) return p;
        if (!(p = skip_value(p))) return NULL;
        p = skip_space(p);
        if (*p == ',') p = skip_space(p + 1);
    }
    return NULL;
}

bool oci_env(const char *config, const char *name, char *value, size_t bytes) {
    const char *p = member(member(config, "process"), "env");
    size_t n = strlen(name);
    bool found = false;
    if (!p || *p != '[') return false;
    for (p = skip_space(p + 1); *p == '"';) {
        const char *end = skip_string(p);
        if (!end) return found;
        if (strncmp(p + 1, name, n) == 0 && p[1 + n] == '=') {
            found = true;
            snprintf(value, bytes, "%.*s", (int)(end - 1 - (p + n + 2)), p + n + 2);
        }
        p = skip_space(end);
        if (*p == ',') p = skip_space(p + 1);
    }
    return found;
}

void oci_pod_uid(const char *config, char *uid, size_t bytes) {
    const char *path = member(member(config, "linux"), "cgroupsPath");
    const char *end = path && *path == '"' ? skip_string(path) : NULL;
    uid[0] = 0;
    for (const char *p = path; end && p + 3 < end; p++) {
        size_t n = 0;
        if (strncmp(p, "pod", 3) != 0) continue;
        while (isxdigit((unsigned char)p[3 + n]) || p[3 + n] == '-' || p[3 + n] == '_') n++;
        if (n < 32 || n >= bytes) continue; /* not "kubepods" */
        snprintf(uid, bytes, "%.*s", (int)n, p + 3);
        for (char *c = uid; *c; c++)
            if (*c == '_') *c = '-'; /* the systemd cgroup driver writes dashes so */
        return;
    }
}

/* Writes the text up to the end of the array, the values, and returns where the rest begins. */
static const char *extend(FILE *out, const char *from, const char *array, const char *values) {
    const char *end = array && *array == '[' ? skip_value(array) : NULL;
    if (!end) return NULL;
    bool empty = *skip_space(array + 1) == ']';
    fwrite(from, 1, (size_t)(end - 1 - from), out);
    fprintf(out, "%s%s", empty ? "" : ",", values);
    return end - 1;
}

char *oci_with(const char *config, const char *mounts, const char *env) {
    char *text = NULL;
    size_t bytes;
    const char *m = member(config, "mounts"), *e = member(member(config, "process"), "env");
    if (!m || !e) return NULL;
    bool mounts_first = m < e;
    FILE *out = open_memstream(&text, &bytes);
    const char *rest = extend(out, config, mounts_first ? m : e, mounts_first ? mounts : env);
    if (rest) rest = extend(out, rest, mounts_first ? e : m, mounts_first ? env : mounts);
    if (rest) fputs(rest, out);
    fclose(out);
    if (rest) return text;
    free(text);
    return NULL;
}
