/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any file as knockgw.conf: it is refused with at least one reason, or everything that is made from
 * it can be made. Nothing but the files of a folder of our own is opened. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "io/config.h"
#include "io/ruleset.h"
#include "io/service_rows.h"

const char *__lsan_default_suppressions(void);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);

/* libconfig 1.5 forgets a string that the file does not end. */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so";
}

static char folder[64];
static bool confined;

static bool allowed(const char *path)
{
	return !confined ||
	       (strncmp(path, folder, strlen(folder)) == 0 && strstr(path, "..") == NULL);
}

/* The linker puts these in front of what config and secret_file call. */
int __wrap_open(const char *path, int flags, ...)
{
	va_list arguments;

	va_start(arguments, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	if (allowed(path))
		return __real_open(path, flags, mode);
	errno = ENOENT;
	return -1;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	if (allowed(path))
		return __real_fopen(path, mode);
	errno = ENOENT;
	return NULL;
}

static void path_of(const char *name, char path[static 128])
{
	snprintf(path, 128, "%s/%s", folder, name);
}

static void put(const char *name, const void *bytes, size_t size)
{
	char path[128];

	path_of(name, path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
	close(fd);
}

static void clean_up(void)
{
	static const char *const names[] = {"knockgw.conf", "part.conf", "key"};
	char path[128];

	for (size_t i = 0; i < 3; i++) {
		path_of(names[i], path);
		unlink(path);
	}
	rmdir(folder);
}

static void make_folder(void)
{
	static const char part[] = "max_flows = 100;\n";

	strcpy(folder, "/tmp/knockgw-fuzz-XXXXXX");
	MUST(mkdtemp(folder) != NULL);
	atexit(clean_up);
	put("part.conf", part, sizeof(part) - 1);
	put("key", "a secret", 8);
}

/* libconfig opens included files by itself, where nothing holds it back. */
static bool includes_others(const uint8_t *data, size_t size)
{
	static const char ours[] = "@include \"part.conf\"";

	for (const uint8_t *at = data;
	     (at = memmem(at, size - (size_t)(at - data), "@include", 8)) != NULL; at++)
		if (size - (size_t)(at - data) < sizeof(ours) - 1 ||
		    memcmp(at, ours, sizeof(ours) - 1) != 0)
			return true;
	return false;
}

static void use(const struct config *config, FILE *nowhere)
{
	struct service_table *services = service_table_of_config(config);

	MUST(services != NULL || config->service_count == 0);
	service_table_free(services);
	config_dump(config, nowhere);
	ruleset_write(nowhere, config, true);
	ruleset_write(nowhere, config, false);
	MUST(!ferror(nowhere));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *nowhere;
	struct diagnostics diagnostics = {0};
	char path[128];

	if (size > 16384 || includes_others(data, size))
		return -1;
	if (folder[0] == '\0') {
		make_folder();
		nowhere = fopen("/dev/null", "w");
	}
	put("knockgw.conf", data, size);
	path_of("knockgw.conf", path);
	confined = true;
	struct config *config = config_load(path, &diagnostics);
	confined = false;
	MUST((config == NULL) == (diagnostics.errors > 0));
	diagnostics_print(&diagnostics, nowhere);
	if (config != NULL)
		use(config, nowhere);
	config_free(config);
	diagnostics_free(&diagnostics);
	return 0;
}
