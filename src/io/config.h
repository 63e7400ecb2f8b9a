/* SPDX-License-Identifier: GPL-2.0-or-later */
/* knockgw.conf: the file becomes one immutable struct, or a list of all that is wrong with it. */
#ifndef KNOCKGW_IO_CONFIG_H
#define KNOCKGW_IO_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "core/destination.h"
#include "core/service.h"
#include "core/splice.h"
#include "core/tuple.h"

#define CONTROL_SOCKET "/run/knockgw/control.sock" /* unless the file says otherwise */

enum reject { REJECT_CLOSED, REJECT_RESET, REJECT_DROP };
enum on_failure { ON_FAILURE_DROP, ON_FAILURE_PASS };
enum schedule { SCHEDULE_HASH, SCHEDULE_RANDOM, SCHEDULE_ROUND_ROBIN };
enum backend_state { BACKEND_ACTIVE, BACKEND_DRAIN };
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* The words of the file for the values above, by value; NULL ends each list. */
extern const char *const reject_words[];
extern const char *const on_failure_words[];
extern const char *const schedule_words[];
extern const char *const log_level_words[];
extern const char *const log_format_words[];
extern const char *const backend_state_words[];

struct backend {
	struct endpoint endpoint; /* port 0 in the file: the service's own port */
	uint16_t weight;
	enum backend_state state; /* drain: takes no new connections */
	/* What happens at run time, for the main thread alone; workers do not look at backends. */
	bool drained;      /* by command */
	bool down;         /* failed its checks */
	int64_t since;     /* seconds since 1970: so it is (drained, down) since then */
	int last_error;    /* errno of the last check that failed; 0: none has */
	int64_t failed_at; /* and when that was */
	uint64_t checks;   /* since the start, */
	uint64_t failures; /* and how many of them failed */
};

/* Whether new connections go to it. */
static inline bool backend_takes_connections(const struct backend *backend)
{
	return backend->state == BACKEND_ACTIVE && !backend->drained && !backend->down;
}

/* Checks whether backends accept connections. */
struct health_config {
	uint32_t
		interval; /* milliseconds until a dead one takes no new connections; 0: no checks */
	uint32_t timeout; /* milliseconds for one check */
	uint16_t rise;    /* successful checks in a row that bring one back */
	uint16_t fall;    /* failed checks in a row that take one out */
	uint16_t jitter;  /* percent by which checks come earlier, by chance */
	uint16_t port;    /* 0: where connections go */
};

struct service_config {
	struct service service;     /* what the engine sees */
	struct key *keys;           /* in locked memory that is never dumped */
	struct endpoint *endpoints; /* every address with every port, as on the client's wire */
	size_t endpoint_count;
	struct backend *backends; /* none of a family: route on, or local */
	size_t backend_count;
	enum schedule schedule;
	bool snat; /* backends see this gateway as their client */
	struct health_config health;
	bool replay_window_given; /* in the file; else it is the default */
	enum reject reject;
	uint16_t decoy_port;
	bool retired; /* no longer in the file: nobody is let in, established connections go on */
	unsigned int line; /* in the file */
};

struct egress_config {
	struct destination destination; /* what the engine sees */
	struct prefix *prefixes;        /* every prefix with every port */
	size_t prefix_count;
	struct key *key; /* one, in locked memory */
	enum on_failure on_failure;
	bool retired; /* no longer in the file: no new connections, established ones go on */
	unsigned int line;
};

/* What the daemon cannot change while it runs, by the path of the setting in the file. */
#define CONFIG_FIXED_TABLE(row)                                                                   \
	row(QUEUES, "queues") row(MARK, "mark") row(MAX_FLOWS, "max_flows")                       \
		row(MAX_HELD, "max_held") row(MANAGE_RULESET, "manage_ruleset") row(USER, "user") \
			row(STATE_DIRECTORY, "state_directory") row(CONTROL, "control")           \
				row(METRICS, "metrics")

enum config_fixed {
#define CONFIG_FIXED_NAME(name, key) CONFIG_FIXED_##name,
	CONFIG_FIXED_TABLE(CONFIG_FIXED_NAME)
#undef CONFIG_FIXED_NAME
		CONFIG_FIXED_COUNT
};

extern const char *const config_fixed_keys[CONFIG_FIXED_COUNT];

struct config {
	char *path;
	char *fixed_places[CONFIG_FIXED_COUNT]; /* "file:line" of each; NULL: not in the file */
	unsigned int needs_restart; /* bits by enum config_fixed: the file wants other values */
	struct service_config *services;
	size_t service_count;
	struct egress_config *egress;
	size_t egress_count;
	struct splice_limits
		integrity; /* egress destinations with integrity; buffer_size fits all */
	uint16_t queue_first;
	uint16_t queue_count; /* per role; never 0: the number of CPUs was put in */
	uint32_t mark;        /* at least two bits */
	uint32_t max_flows;
	struct failure_rules failures; /* "limits"; the services refer to it */
	uint32_t max_held;             /* connections with bytes held back (reassemble) */
	bool manage_ruleset;
	char *user;            /* that the daemon becomes; NULL: the default one, if it exists */
	char *state_directory; /* absolute */
	char *control_socket;  /* absolute, short enough for a socket address */
	bool control_given;    /* the file names it, so there must be one */
	uid_t control_owner;   /* (uid_t)-1: whoever the daemon is */
	gid_t control_group;   /* its members may talk to the daemon; (gid_t)-1: none */
	mode_t control_mode;
	struct endpoint metrics; /* where metrics are served; family 0: not there */
	char *metrics_path;      /* or the path of a unix socket; NULL: not there */
	enum log_level log_level;
	enum log_format log_format;
};

/* Something to tell the administrator: "file:line: text". */
struct diagnostic {
	bool error;            /* false: a warning */
	char *text;            /* complete line without newline */
	unsigned int file;     /* 0: the file itself; others: in the order of their inclusion */
	unsigned int line;     /* 0: about the file as a whole */
	unsigned int position; /* among all, before they were sorted */
};

struct diagnostics {
	struct diagnostic *list;
	size_t count;
	size_t errors;
	bool memory_short; /* that was one of them: the file may be right */
};

/* Reads a file. All mistakes of the file are found in one run and added to diagnostics, in the
 * order of their lines. Returns NULL when there was at least one error. Nothing else on the system
 * is touched. The keys lie in memory that is wiped in the child of a fork: load after going into
 * the background. */
struct config *config_load(const char *path, struct diagnostics *diagnostics);

/* The same for somebody who only judges captures: a secret may be empty, which is 64 bytes of zero,
 * as anybody may have used whose traffic was captured. */
struct config *config_load_offline(const char *path, struct diagnostics *diagnostics);

/* Wipes the secrets and frees everything. NULL is fine. */
void config_free(struct config *config);

/* The backend of a service, by its address or, where the service has that several times,
 * address:port. Returns NULL with one line in error, of size bytes. */
struct backend *config_find_backend(struct config *config, const char *service, const char *text,
				    char *error, size_t size);

/* Writes address and port of a backend into text, the address alone where the port is that of the
 * service, and returns text. */
char *backend_format(const struct backend *backend, char text[static ENDPOINT_TEXT_SIZE]);

/* Writes what the configuration says, one setting a line, secrets left out. */
void config_dump(const struct config *config, FILE *stream);

void diagnostics_print(const struct diagnostics *diagnostics, FILE *stream);
void diagnostics_free(struct diagnostics *diagnostics);

#endif
