/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where a setting stands, and how that is told. */
#include "config_reader.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "diagnostics.h"

enum { PATH_TEXT_SIZE = 256 };

bool name_is_valid(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789._-";
	size_t length = strlen(name);
	return length > 0 && length < NAME_SIZE && strspn(name, allowed) == length;
}

/* The name in a group of services or egress, when it has a proper one. */
static const char *setting_title(const config_setting_t *setting)
{
	if (!config_setting_is_group(setting))
		return NULL;
	const config_setting_t *name = config_setting_get_member(setting, "name");
	if (!name || config_setting_type(name) != CONFIG_TYPE_STRING)
		return NULL;
	const char *text = config_setting_get_string(name);
	return name_is_valid(text) ? text : NULL;
}

static void append(char *text, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void append(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text + used, size - used, format, arguments);
	va_end(arguments);
}

/* Nothing valid is nested deeper; what lies deeper keeps the path of its ancestor. */
enum { PATH_DEPTH = 6 };

static size_t setting_ancestors(const config_setting_t *setting,
				const config_setting_t *ancestors[static PATH_DEPTH])
{
	size_t depth = 0;
	for (const config_setting_t *at = setting; at && config_setting_parent(at);
	     at = config_setting_parent(at)) {
		if (depth == PATH_DEPTH) {
			memmove(ancestors, ancestors + 1, (PATH_DEPTH - 1) * sizeof(*ancestors));
			depth--;
		}
		ancestors[depth++] = at;
	}
	return depth;
}

void setting_path(const config_setting_t *setting, char *text, size_t size)
{
	const config_setting_t *ancestors[PATH_DEPTH];
	size_t depth = setting_ancestors(setting, ancestors);
	const char *separator = "";
	text[0] = '\0';
	while (depth-- > 0) {
		const config_setting_t *at = ancestors[depth];
		const char *title = setting_title(at);
		if (config_setting_name(at))
			append(text, size, "%s%.*s", separator, FOUND_LIMIT,
			       config_setting_name(at));
		else
			append(text, size, "[%d]", config_setting_index(at));
		if (title)
			append(text, size, " \"%s\"", title);
		separator = title || !config_setting_name(at) ? ": " : ".";
	}
}

bool file_is_exposed(const char *path, gid_t group)
{
	struct stat status;
	if (stat(path, &status) != 0 || !S_ISREG(status.st_mode))
		return false;
	return (status.st_mode & S_IROTH) != 0 ||
	       ((status.st_mode & S_IRGRP) != 0 && status.st_gid != group);
}

/* libconfig 1.5 names included files as they were written, later versions with the folder. */
static char *resolve_path(const struct reader *reader, const char *name)
{
	char *path;
	/* Asked for also when memory was too short for the folder's name. */
	if (!name)
		return strdup(reader->path);
	size_t length = strlen(reader->folder);
	if (name[0] == '/' || (strncmp(name, reader->folder, length) == 0 && name[length] == '/'))
		return strdup(name);
	return asprintf(&path, "%s/%s", reader->folder, name) < 0 ? NULL : path;
}

static bool names_equal(const char *left, const char *right)
{
	return left == right || (left && right && strcmp(left, right) == 0);
}

struct source *reader_source(struct reader *reader, const char *name)
{
	for (size_t i = 0; i < reader->source_count; i++)
		if (names_equal(reader->sources[i].name, name))
			return &reader->sources[i];
	struct source *grown =
		reallocarray(reader->sources, reader->source_count + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	reader->sources = grown;
	char *path = resolve_path(reader, name);
	if (!path)
		return NULL;
	struct source *source = &grown[reader->source_count++];
	*source = (struct source){.name = name, .path = path};
	return source;
}

static struct location location_of(struct reader *reader, const char *name, unsigned int line)
{
	const struct source *source = reader_source(reader, name);
	if (!source)
		return (struct location){.path = reader->path, .line = line};
	return (struct location){.path = source->path,
				 .file = (unsigned int)(source - reader->sources),
				 .line = line};
}

char *reader_place(struct reader *reader, const config_setting_t *setting)
{
	struct location location = location_of(reader, config_setting_source_file(setting),
					       config_setting_source_line(setting));
	char *place;
	if (asprintf(&place, "%s:%u", location.path, location.line) >= 0)
		return place;
	reader_memory_short(reader);
	return NULL;
}

static void add(struct reader *reader, bool error, struct location location, const char *format,
		...) __attribute__((format(printf, 4, 5)));

static void add(struct reader *reader, bool error, struct location location, const char *format,
		...)
{
	va_list arguments;
	va_start(arguments, format);
	diagnostics_add(reader->diagnostics, error, location, format, arguments);
	va_end(arguments);
}

static void add_setting(struct reader *reader, bool error, const config_setting_t *setting,
			const char *format, va_list arguments)
	__attribute__((format(printf, 4, 0)));

static void add_setting(struct reader *reader, bool error, const config_setting_t *setting,
			const char *format, va_list arguments)
{
	char path[PATH_TEXT_SIZE];
	char *text;
	struct location location = location_of(reader, config_setting_source_file(setting),
					       config_setting_source_line(setting));
	setting_path(setting, path, sizeof(path));
	if (vasprintf(&text, format, arguments) < 0) {
		add(reader, error, location, "%s", path);
		return;
	}
	add(reader, error, location, "%s: %s", path, text);
	free(text);
}

void reader_error(struct reader *reader, const config_setting_t *setting, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	add_setting(reader, true, setting, format, arguments);
	va_end(arguments);
}

void reader_warning(struct reader *reader, const config_setting_t *setting, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	add_setting(reader, false, setting, format, arguments);
	va_end(arguments);
}

void reader_file_error(struct reader *reader, const char *name, unsigned int line,
		       const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	diagnostics_add(reader->diagnostics, true, location_of(reader, name, line), format,
			arguments);
	va_end(arguments);
}

void reader_memory_short(struct reader *reader)
{
	reader->diagnostics->memory_short = true;
	reader_file_error(reader, NULL, 0, "not enough memory to read the configuration");
}

void *reader_allocate(struct reader *reader, size_t count, size_t size)
{
	if (count == 0)
		return NULL;
	void *memory = calloc(count, size);
	if (!memory)
		reader_memory_short(reader);
	return memory;
}
