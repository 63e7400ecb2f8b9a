/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the egress role needs to know of hidden servers: plain values, read only. */
#ifndef KNOCKGW_CORE_DESTINATION_H
#define KNOCKGW_CORE_DESTINATION_H

#include <stddef.h>
#include <stdint.h>

#include "prefix.h"
#include "service.h"
#include "tuple.h"

/* By port, family and address: as for memcmp. */
int endpoint_compare(const struct endpoint *left, const struct endpoint *right);

struct destination {
	char name[NAME_SIZE];
	uint32_t index;     /* position in the configuration, for counters */
	uint16_t integrity; /* bytes of the payload check; 0: authentication mode */
	const struct key *key;
	struct tally *tally;
};

/* Finds a destination by the address and port of a server. Immutable once built, so threads may
 * share it. */
struct destination_table;

struct destination_row {
	struct prefix prefix;
	const struct destination *destination;
};

/* Copies count rows, none of which may lie in another with the same port; destinations must outlive
 * the table. Returns NULL when memory is short. */
struct destination_table *destination_table_new(const struct destination_row *rows, size_t count);
void destination_table_free(struct destination_table *table);

/* NULL when the server is in no prefix. O(log rows). */
const struct destination *destination_table_find(const struct destination_table *table,
						 const struct endpoint *server);

#endif
