/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the configuration reader share. Nobody else includes this. */
#ifndef KNOCKGW_IO_CONFIG_READER_H
#define KNOCKGW_IO_CONFIG_READER_H

#include <libconfig.h>
#include <sys/types.h>

#include "config.h"

enum {
	ENDPOINTS_LIMIT = 65536, /* addresses times ports of one service or egress destination */
	FOUND_LIMIT = 60,        /* characters of the file that a diagnostic quotes */
};

/* A file that settings come from: the configuration itself, or one that it includes. */
struct source {
	const char *name; /* as libconfig has it; NULL: the configuration itself */
	char *path;
	bool exposure_told;  /* the warning about that was given */
	unsigned int *lines; /* with numbers that libconfig silently cut */
	size_t line_count;
};

/* An address or prefix with a port, and the setting that named it. */
struct place {
	struct prefix prefix;
	const config_setting_t *setting;
	size_t position; /* in the order of the file */
};

struct places {
	struct place *list;
	size_t count;
	size_t capacity;
};

struct reader {
	const char *path;
	char *folder; /* of path; relative paths start there */
	struct config *config;
	struct diagnostics *diagnostics;
	struct source *sources; /* the first is the file itself */
	size_t source_count;
	struct places protected_places; /* of all services */
	struct places egress_places;    /* of all egress destinations */
	bool lock_told;
	bool offline; /* nothing will be protected with it */
	gid_t group;  /* that may read secrets besides the owner; (gid_t)-1: none */
};

/* One key of a group. */
struct field {
	const char *key;
	void (*read)(struct reader *reader, const config_setting_t *setting, void *target);
	const char *required; /* what is expected where the key is missing; NULL: it may be */
};

/* config_reader.c: diagnostics about a setting, which begin with its path: services[0] "ssh": port
 */
void reader_error(struct reader *reader, const config_setting_t *setting, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void reader_warning(struct reader *reader, const config_setting_t *setting, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* About a line, or with line 0 about a whole file. name is one of struct source. */
void reader_file_error(struct reader *reader, const char *name, unsigned int line,
		       const char *format, ...) __attribute__((format(printf, 4, 5)));
void reader_memory_short(struct reader *reader);
/* Where a setting stands, "file:line", to free; NULL when memory is short, which is reported. */
char *reader_place(struct reader *reader, const config_setting_t *setting);
/* The file that a setting stands in, or NULL when memory is short. */
struct source *reader_source(struct reader *reader, const char *name);
/* Whether others than its owner and that group may read a file. */
bool file_is_exposed(const char *path, gid_t group);
/* calloc that reports a failure. count 0 gives NULL without a report. */
void *reader_allocate(struct reader *reader, size_t count, size_t size);
/* The path of a setting, cut to fit. */
void setting_path(const config_setting_t *setting, char *text, size_t size);
/* Whether a name is fit for logs, counters and rulesets. */
bool name_is_valid(const char *name);

/* config_scan.c: finds what libconfig swallows silently: numbers that do not fit, NUL bytes; and
 * strings and comments without end. false: there is no use in parsing that text. */
bool config_scan(struct reader *reader, const char *name, const char *text, size_t length);
/* Reads a whole file into secret memory; *size is what secret_memory_free needs. NULL on error,
 * with errno set. */
char *config_slurp(FILE *stream, size_t *length, size_t *size);

/* config_value.c: each reports what is wrong and then returns false or NULL. */
void read_group(struct reader *reader, const config_setting_t *group, const struct field *fields,
		size_t count, void *target);
bool read_integer(struct reader *reader, const config_setting_t *setting, long long minimum,
		  long long maximum, long long *value);
bool read_boolean(struct reader *reader, const config_setting_t *setting, bool *value);
/* Points into the setting. Never empty. */
const char *read_string(struct reader *reader, const config_setting_t *setting,
			const char *expected);
/* words ends with NULL. */
bool read_choice(struct reader *reader, const config_setting_t *setting, const char *const words[],
		 unsigned int *value);
/* An absolute path shorter than limit. */
bool read_path(struct reader *reader, const config_setting_t *setting, size_t limit, char **value);
bool read_name(struct reader *reader, const config_setting_t *setting, char name[static NAME_SIZE]);
bool read_integrity(struct reader *reader, const config_setting_t *setting, uint16_t *value);
/* Warns when that many bytes do not fit the first segment of a connection. */
void warn_of_long_check(struct reader *reader, const config_setting_t *setting, uint16_t integrity);
/* How many values a key has: several in an array or list, else one. 0 for an empty one, reported.
 */
size_t value_count(struct reader *reader, const config_setting_t *setting, const char *expected);
const config_setting_t *value_at(const config_setting_t *setting, size_t index);

/* config_address.c */
/* One address (port 0) that a host can have. */
bool read_address(struct reader *reader, const config_setting_t *setting,
		  struct endpoint *endpoint);
/* Addresses with full prefix length, or, with prefixes, also "address/length". */
void read_addresses(struct reader *reader, const config_setting_t *setting, bool prefixes,
		    struct places *places);
void places_add(struct reader *reader, struct places *places, struct place place);
void places_free(struct places *places);
/* Every address with every port, added to all, too. Returns the array of count, which may be NULL.
 */
struct place *places_combine(struct reader *reader, const struct places *addresses,
			     const config_setting_t *ports, struct places *all, size_t *count);

/* config_secret.c */
bool read_secret(struct reader *reader, const config_setting_t *setting, struct secret *secret);

/* config_key.c: keys of a service or (not several) the one of an egress destination, in secret
 * memory. */
struct key *read_keys(struct reader *reader, const config_setting_t *setting, bool several,
		      size_t *count);
void keys_free(struct key *keys, size_t count);

/* config_limits.c */
extern const struct failure_rules default_failure_rules;
void read_limits(struct reader *reader, const config_setting_t *setting, void *target);
bool read_replay_window(struct reader *reader, const config_setting_t *setting, uint32_t *seconds);
/* The default of a service that does not say: on in authentication mode. */
void set_replay_window(struct service_config *service);

/* config_service.c, config_egress.c: the lists of that name. */
void read_services(struct reader *reader, const config_setting_t *setting, void *target);
void read_egress(struct reader *reader, const config_setting_t *setting, void *target);
/* config_control.c: the groups of that name, about what looks at the daemon from outside. */
void read_control(struct reader *reader, const config_setting_t *setting, void *target);
void read_metrics(struct reader *reader, const config_setting_t *setting, void *target);
void read_log(struct reader *reader, const config_setting_t *setting, void *target);
void service_config_free(struct service_config *service);
void egress_config_free(struct egress_config *egress);

/* config_health.c: checks of a service's backends. */
void read_health(struct reader *reader, const config_setting_t *setting,
		 struct health_config *health);

/* config_integrity.c: the group egress_integrity. */
void read_egress_integrity(struct reader *reader, const config_setting_t *setting, void *target);

/* config_check.c: what can only be told when all has been read. */
void config_check(struct reader *reader, const config_setting_t *root);

#endif
