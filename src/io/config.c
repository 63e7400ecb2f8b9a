/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config_reader.h"
#include "core/secret.h"
#include "diagnostics.h"
#include "privileges.h"
#include "secret_memory.h"

#define UNREADABLE_HINT ", expected mode 0640 and the group of the user that knockgw runs as"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
	DEFAULT_QUEUE_FIRST = 40,
	AUTOMATIC_QUEUES_LIMIT = 64,
	QUEUES_LIMIT = 32767,
	DEFAULT_MARK = 0x30000000,
	DEFAULT_MAX_FLOWS = 262144,
	MAX_FLOWS_LIMIT = 16777216,
	DEFAULT_MAX_HELD = 1024,
	MAX_HELD_LIMIT = 65536,
	PATH_LIMIT = 4096,
};

static void read_queue_first(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (read_integer(reader, setting, 0, UINT16_MAX, &value))
		((struct config *)target)->queue_first = (uint16_t)value;
}

static void read_queue_count(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (read_integer(reader, setting, 0, QUEUES_LIMIT, &value) && value > 0)
		((struct config *)target)->queue_count = (uint16_t)value;
}

static void read_queues(struct reader *reader, const config_setting_t *setting, void *target)
{
	static const struct field fields[] = {
		{"first", read_queue_first, NULL},
		{"count", read_queue_count, NULL},
	};
	read_group(reader, setting, fields, COUNT_OF(fields), target);
}

static void read_mark(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (!read_integer(reader, setting, 0, UINT32_MAX, &value))
		return;
	if ((value & (value - 1)) == 0)
		reader_error(reader, setting,
			     "found 0x%llx, expected a mark of two or more bits, like 0x%08x",
			     (unsigned long long)value, (unsigned int)DEFAULT_MARK);
	((struct config *)target)->mark = (uint32_t)value;
}

static void read_max_flows(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (read_integer(reader, setting, 1, MAX_FLOWS_LIMIT, &value))
		((struct config *)target)->max_flows = (uint32_t)value;
}

static void read_max_held(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (read_integer(reader, setting, 1, MAX_HELD_LIMIT, &value))
		((struct config *)target)->max_held = (uint32_t)value;
}

static void read_manage_ruleset(struct reader *reader, const config_setting_t *setting,
				void *target)
{
	read_boolean(reader, setting, &((struct config *)target)->manage_ruleset);
}

static void read_user(struct reader *reader, const config_setting_t *setting, void *target)
{
	char **user = &((struct config *)target)->user;
	const char *value = read_string(reader, setting, "the name of a user");
	if (!value)
		return;
	if (!name_is_valid(value)) {
		reader_error(reader, setting,
			     "expected the name of a user: letters, digits, '.', '_', '-'");
		return;
	}
	if (privileges_group(value) == (gid_t)-1)
		reader_error(reader, setting, "found \"%s\", expected a user of this system",
			     value);
	*user = strdup(value);
	if (!*user)
		reader_memory_short(reader);
}

static void read_state_directory(struct reader *reader, const config_setting_t *setting,
				 void *target)
{
	read_path(reader, setting, PATH_LIMIT, &((struct config *)target)->state_directory);
}

static const struct field root_fields[] = {
	{"services", read_services, NULL},
	{"egress", read_egress, NULL},
	{"egress_integrity", read_egress_integrity, NULL},
	{"queues", read_queues, NULL},
	{"mark", read_mark, NULL},
	{"max_flows", read_max_flows, NULL},
	{"limits", read_limits, NULL},
	{"max_held", read_max_held, NULL},
	{"manage_ruleset", read_manage_ruleset, NULL},
	{"user", read_user, NULL},
	{"state_directory", read_state_directory, NULL},
	{"control", read_control, NULL},
	{"metrics", read_metrics, NULL},
	{"log", read_log, NULL},
};

const char *const config_fixed_keys[CONFIG_FIXED_COUNT] = {
#define CONFIG_FIXED_KEY(name, key) [CONFIG_FIXED_##name] = (key),
	CONFIG_FIXED_TABLE(CONFIG_FIXED_KEY)
#undef CONFIG_FIXED_KEY
};

static uint16_t automatic_queue_count(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	if (count < 1)
		return 1;
	return (uint16_t)(count > AUTOMATIC_QUEUES_LIMIT ? AUTOMATIC_QUEUES_LIMIT : count);
}

static struct config *config_new(const char *path)
{
	struct config *config = malloc(sizeof(*config));
	if (!config)
		return NULL;
	*config = (struct config){
		.path = strdup(path),
		.queue_first = DEFAULT_QUEUE_FIRST,
		.queue_count = automatic_queue_count(),
		.mark = DEFAULT_MARK,
		.max_flows = DEFAULT_MAX_FLOWS,
		.failures = default_failure_rules,
		.max_held = DEFAULT_MAX_HELD,
		.integrity = splice_limits_default(0),
		.manage_ruleset = true,
		.state_directory = strdup("/var/lib/knockgw"),
		.control_socket = strdup(CONTROL_SOCKET),
		.control_owner = (uid_t)-1,
		.control_group = (gid_t)-1,
		.control_mode = 0600,
		.log_level = LOG_LEVEL_INFO,
	};
	if (config->path && config->state_directory && config->control_socket)
		return config;
	config_free(config);
	return NULL;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->service_count; i++)
		service_config_free(&config->services[i]);
	for (size_t i = 0; i < config->egress_count; i++)
		egress_config_free(&config->egress[i]);
	free(config->services);
	free(config->egress);
	for (size_t i = 0; i < CONFIG_FIXED_COUNT; i++)
		free(config->fixed_places[i]);
	free(config->path);
	free(config->user);
	free(config->state_directory);
	free(config->control_socket);
	free(config->metrics_path);
	free(config);
}

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static bool reader_open(struct reader *reader, const char *path, struct diagnostics *diagnostics)
{
	*reader = (struct reader){.path = path, .diagnostics = diagnostics};
	reader->folder = folder_of(path);
	reader->config = config_new(path);
	/* The first source is the file itself. */
	if (reader->folder && reader->config && reader_source(reader, NULL))
		return true;
	reader_memory_short(reader);
	return false;
}

static void reader_close(struct reader *reader)
{
	for (size_t i = 0; i < reader->source_count; i++) {
		free(reader->sources[i].lines);
		free(reader->sources[i].path);
	}
	free(reader->sources);
	places_free(&reader->protected_places);
	places_free(&reader->egress_places);
	free(reader->folder);
}

/* Overwrites all strings that libconfig holds: a secret may also stand under a misspelt key. */
static void wipe_strings(config_setting_t *setting)
{
	if (config_setting_is_aggregate(setting)) {
		for (int i = 0; i < config_setting_length(setting); i++)
			wipe_strings(config_setting_get_elem(setting, (unsigned int)i));
	} else if (config_setting_type(setting) == CONFIG_TYPE_STRING) {
		char *text = setting->value.sval;
		if (text)
			secret_wipe(text, strlen(text));
	}
}

/* Reads the text of a source and looks it over. NULL when there is no use in parsing it. */
static char *load_source(struct reader *reader, const struct source *source, size_t *length,
			 size_t *size)
{
	const char *name = source->name;
	FILE *stream = fopen(source->path, "re");
	char *text = stream ? config_slurp(stream, length, size) : NULL;
	if (!text) {
		reader->diagnostics->memory_short |= errno == ENOMEM;
		reader_file_error(reader, name, 0, "cannot be read: %s%s", strerror(errno),
				  errno == EACCES ? UNREADABLE_HINT : "");
	}
	if (stream)
		fclose(stream);
	if (text && !config_scan(reader, name, text, *length)) {
		secret_memory_free(text, *size);
		text = NULL;
	}
	return text;
}

/* Makes all included files known, in their order, and looks each over once. */
static void find_sources(struct reader *reader, const config_setting_t *setting)
{
	size_t known = reader->source_count;
	const struct source *source = reader_source(reader, config_setting_source_file(setting));
	if (source && reader->source_count > known) {
		size_t length;
		size_t size = 0;
		char *text = load_source(reader, source, &length, &size);
		secret_memory_free(text, size);
	}
	if (!config_setting_is_aggregate(setting))
		return;
	for (int i = 0; i < config_setting_length(setting); i++)
		find_sources(reader, config_setting_get_elem(setting, (unsigned int)i));
}

static void report_syntax(struct reader *reader, config_t *tree)
{
	const char *text = config_error_text(tree);
	const char *file = config_error_file(tree);
	int line = config_error_line(tree);
	if (text && strncmp(text, "duplicate setting", strlen("duplicate setting")) == 0)
		text = "duplicate key, expected each key once in a group";
	else if (text && strncmp(text, "mismatched element", strlen("mismatched element")) == 0)
		text = "found an array [ ... ] of mixed types, expected one type, or a list ( ... "
		       ")";
	reader_file_error(reader, file, line > 0 ? (unsigned int)line : 0, "%s",
			  text ? text : "cannot be parsed");
}

/* The scanner of libconfig frees its buffers as they are, secrets included: let free overwrite
 * them. */
static void overwrite_freed_memory(bool on)
{
#ifdef M_PERTURB
	mallopt(M_PERTURB, on ? 0xa5 : 0);
#else
	(void)on;
#endif
}

/* The daemon reads the files again at a reload, with the group of the user it has become. */
static gid_t readers_group(const config_setting_t *root)
{
	const char *user = NULL;
	config_setting_lookup_string(root, "user", &user);
	return privileges_group(user);
}

/* For the day on which a reload finds another value there. */
static void note_places(struct reader *reader, const config_setting_t *root)
{
	for (size_t i = 0; i < CONFIG_FIXED_COUNT; i++) {
		const config_setting_t *setting =
			config_setting_get_member(root, config_fixed_keys[i]);
		if (setting)
			reader->config->fixed_places[i] = reader_place(reader, setting);
	}
}

static void read_tree(struct reader *reader, const char *text, size_t length)
{
	/* An empty stream cannot be opened on older C libraries; a newline means the same. */
	FILE *stream = length > 0 ? fmemopen((void *)text, length, "r") : fmemopen("\n", 1, "r");
	config_t tree;
	if (!stream) {
		reader_memory_short(reader);
		return;
	}
	setvbuf(stream, NULL, _IONBF, 0);
	overwrite_freed_memory(true);
	config_init(&tree);
	config_set_include_dir(&tree, reader->folder);
	if (config_read(&tree, stream)) {
		config_setting_t *root = config_root_setting(&tree);
		reader->group = readers_group(root);
		find_sources(reader, root);
		read_group(reader, root, root_fields, COUNT_OF(root_fields), reader->config);
		config_check(reader, root);
		note_places(reader, root);
	} else {
		report_syntax(reader, &tree);
	}
	/* Settings and included paths live in the tree, and diagnostics refer to paths until here.
	 */
	wipe_strings(config_root_setting(&tree));
	fclose(stream);
	config_destroy(&tree);
	overwrite_freed_memory(false);
}

static void read_file(struct reader *reader)
{
	size_t length;
	size_t size = 0;
	char *text = load_source(reader, &reader->sources[0], &length, &size);
	if (text)
		read_tree(reader, text, length);
	secret_memory_free(text, size);
}

static struct config *load(const char *path, bool offline, struct diagnostics *diagnostics)
{
	struct reader reader;
	size_t errors = diagnostics->errors;
	if (reader_open(&reader, path, diagnostics)) {
		reader.offline = offline;
		read_file(&reader);
	}
	diagnostics_sort(diagnostics);
	reader_close(&reader);
	if (diagnostics->errors == errors)
		return reader.config;
	config_free(reader.config);
	return NULL;
}

struct config *config_load(const char *path, struct diagnostics *diagnostics)
{
	return load(path, false, diagnostics);
}

struct config *config_load_offline(const char *path, struct diagnostics *diagnostics)
{
	return load(path, true, diagnostics);
}
