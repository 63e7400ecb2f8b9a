/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the protect engine needs to know of the configured services: plain values, read only. */
#ifndef KNOCKGW_CORE_SERVICE_H
#define KNOCKGW_CORE_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret.h"
#include "tuple.h"

enum { NAME_SIZE = 64 }; /* of services, keys and destinations, with NUL */

/* Where the edge counts packets by name; nothing here looks at it. */
struct tally;

struct key {
	char name[NAME_SIZE]; /* "1", "2", … when the administrator gave none */
	struct secret secret;
	struct tally *tally; /* of this key in this service */
};

struct service {
	char name[NAME_SIZE];
	uint32_t index;         /* position in the configuration, for counters */
	uint16_t integrity;     /* bytes of the payload check; 0: authentication mode */
	const struct key *keys; /* all valid; the first is the current one */
	size_t key_count;       /* at least 1 */
	struct tally *tally;    /* for what no key fits */
};

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

/* The key whose token isn is, or NULL. Tries every key, so that the time tells nothing about which.
 */
const struct key *service_key_for(const struct service *service, const struct endpoint *destination,
				  uint32_t tsval, uint32_t isn);

#endif
