/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the protect engine needs to know of the configured services: plain values, read only. */
#ifndef KNOCKGW_CORE_SERVICE_H
#define KNOCKGW_CORE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "prefix.h"
#include "reason.h"
#include "secret.h"
#include "tuple.h"

enum { NAME_SIZE = 64 }; /* of services, keys and destinations, with NUL */

/* Where the edge counts packets by name; nothing here looks at it. */
struct tally;

struct key {
	char name[NAME_SIZE]; /* "1", "2", … when the administrator gave none */
	struct secret secret;
	struct tally *tally; /* of this key in this service */
	int64_t not_before;  /* first second since 1970 at which it is valid; 0: always was */
	int64_t not_after;   /* last second at which it is valid; 0: always will be */
	const struct prefix *sources; /* where its clients are, port 0; none: anywhere */
	size_t source_count;
};

/* When failed tokens are too many, and what then. The same for all services of a configuration. */
struct failure_rules {
	uint32_t max_failures;         /* of a source prefix in a second; 0: not counted */
	uint32_t back_off;             /* seconds that the prefix is refused then; 0: only told */
	uint32_t max_service_failures; /* of a service in a second, told; 0: not counted */
	uint8_t ipv4_prefix;           /* bits of an address that make its prefix, at most 32 */
	uint8_t ipv6_prefix;           /* at most 64 */
};

struct service {
	char name[NAME_SIZE];
	uint32_t index;              /* position in the configuration, for counters */
	uint16_t integrity;          /* bytes of the payload check; 0: authentication mode */
	bool reassemble;             /* these bytes may come in several segments */
	uint16_t pending_timeout;    /* seconds from SYN to payload check; 0: the default */
	uint16_t reassemble_timeout; /* seconds from the first of these segments to the last; 0: the
					default */
	const struct key *keys;      /* the first is the current one */
	size_t key_count;            /* 0: nobody is let in */
	uint32_t replay_window; /* seconds for which a token belongs to its first tuple; 0: any */
	const struct failure_rules *failures; /* NULL: none */
	struct tally *tally;                  /* for what no key fits */
	/* What clients put on the wire for IPv4 and for IPv6, where a NAT in front of this host
	 * rewrites it: the token is made for that. Family 0, port 0: the same as here. */
	struct endpoint public[2];
};

enum { DEFAULT_PENDING_TIMEOUT = 300, DEFAULT_REASSEMBLE_TIMEOUT = 10 };

/* In milliseconds. */
static inline uint32_t service_pending_timeout(const struct service *service)
{
	return service->pending_timeout != 0 ? service->pending_timeout * 1000U
					     : DEFAULT_PENDING_TIMEOUT * 1000U;
}
static inline uint32_t service_reassemble_timeout(const struct service *service)
{
	return service->reassemble_timeout != 0 ? service->reassemble_timeout * 1000U
						: DEFAULT_REASSEMBLE_TIMEOUT * 1000U;
}

/* Finds a service by the destination of a segment. Immutable once built, so threads may share it.
 */
struct service_table;

/* One row of the table: the destination that clients put on the wire. */
struct service_row {
	struct endpoint endpoint;
	const struct service *service;
};

/* Copies count rows; services must outlive the table. Returns NULL when memory is short. */
struct service_table *service_table_new(const struct service_row *rows, size_t count);
void service_table_free(struct service_table *table);

/* NULL when no service has that destination. O(1). */
const struct service *service_table_find(const struct service_table *table,
					 const struct endpoint *destination);

/* The destination that clients make their tokens for, when packets arrive here for destination. */
struct endpoint service_public(const struct service *service, const struct endpoint *destination);

/* Whether a SYN with that tuple, TSval and ISN proves a key of the service at that wall clock time:
 * REASON_TOKEN_VALID with the key in *key; REASON_KEY_EXPIRED, REASON_KEY_EARLY or
 * REASON_KEY_SOURCE with the key that would fit but must not be used; else REASON_TOKEN_WRONG and
 * NULL. Every key costs one MD5 block whether or not it may be used, and every key is tried, so
 * that the time tells nothing about which. */
enum reason service_judge_token(const struct service *service, const struct tuple *tuple,
				uint32_t tsval, uint32_t isn, int64_t wall, const struct key **key);

/* Why a key must not be used from there at that time: one of the reasons above, or
 * REASON_TOKEN_VALID when it may be. */
enum reason key_usable(const struct key *key, const struct endpoint *source, int64_t wall);

#endif
