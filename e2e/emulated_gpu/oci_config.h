/* A container's config.json (OCI runtime spec), read and edited as text: additions are put in, the rest stays as it is. */
#ifndef EMULATED_GPU_OCI_CONFIG_H
#define EMULATED_GPU_OCI_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

/* The value of an environment variable of the container's process; the last one counts. */
bool oci_env(const char *config, const char *name, char *value, size_t bytes);

/* The pod's UID as it stands in linux.cgroupsPath; "" where there is none. */
void oci_pod_uid(const char *config, char *uid, size_t bytes);

/* The config with `mounts` and `env` (JSON values separated by commas) appended to those arrays; NULL if it isn't a
 * config that can be edited. The caller frees it. */
char *oci_with(const char *config, const char *mounts, const char *env);

#endif
