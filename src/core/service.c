/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "service.h"

#include <stdlib.h>

#include "token.h"

struct service_table {
	size_t mask;
	struct service_row rows[]; /* a power of two of them, service NULL where free */
};

/* The endpoints come from the configuration, so no stranger can choose them: any mixer will do. */
static size_t endpoint_hash(const struct endpoint *endpoint)
{
	uint64_t parts[3] = {0};

	memcpy(parts, endpoint, sizeof(*endpoint));
	uint64_t hash = parts[0] * 0x9e3779b97f4a7c15U;
	hash = (hash ^ hash >> 29 ^ parts[1]) * 0xbf58476d1ce4e5b9U;
	hash = (hash ^ hash >> 32 ^ parts[2]) * 0x94d049bb133111ebU;
	return (size_t)(hash ^ hash >> 31);
}

struct service_table *service_table_new(const struct service_row *rows, size_t count)
{
	size_t size = 2;

	while (size < 2 * count)
		size *= 2;
	struct service_table *table = calloc(1, sizeof(*table) + size * sizeof(table->rows[0]));
	if (table == NULL)
		return NULL;
	table->mask = size - 1;
	for (size_t i = 0; i < count; i++) {
		size_t at = endpoint_hash(&rows[i].endpoint) & table->mask;
		while (table->rows[at].service != NULL)
			at = (at + 1) & table->mask;
		table->rows[at] = rows[i];
	}
	return table;
}

void service_table_free(struct service_table *table)
{
	free(table);
}

const struct service *service_table_find(const struct service_table *table,
					 const struct endpoint *destination)
{
	size_t at = endpoint_hash(destination) & table->mask;

	for (; table->rows[at].service != NULL; at = (at + 1) & table->mask)
		if (endpoint_equal(&table->rows[at].endpoint, destination))
			return table->rows[at].service;
	return NULL;
}

enum reason key_usable(const struct key *key, const struct endpoint *source, int64_t wall)
{
	bool inside = key->source_count == 0;

	for (size_t i = 0; i < key->source_count; i++)
		inside |= prefix_holds_address(&key->sources[i], source);
	if (key->not_after != 0 && wall > key->not_after)
		return REASON_KEY_EXPIRED;
	if (wall < key->not_before)
		return REASON_KEY_EARLY;
	return inside ? REASON_TOKEN_VALID : REASON_KEY_SOURCE;
}

struct endpoint service_public(const struct service *service, const struct endpoint *destination)
{
	const struct endpoint *public = &service->public[destination->family == FAMILY_IPV6];
	struct endpoint result = public->family != 0 ? *public : *destination;

	result.port = public->port != 0 ? public->port : destination->port;
	return result;
}

enum reason service_judge_token(const struct service *service, const struct tuple *tuple,
				uint32_t tsval, uint32_t isn, int64_t wall, const struct key **key)
{
	const struct endpoint destination = service_public(service, &tuple->destination);
	enum reason result = REASON_TOKEN_WRONG;

	*key = NULL;
	for (size_t i = 0; i < service->key_count; i++) {
		const struct key *tried = &service->keys[i];
		enum reason usable = key_usable(tried, &tuple->source, wall);
		bool right = token_check(&tried->secret, &destination, tsval, isn,
					 service->integrity > 0);
		/* The first that may be used, else the first that fits. */
		if (right && result != REASON_TOKEN_VALID &&
		    (*key == NULL || usable == REASON_TOKEN_VALID)) {
			result = usable;
			*key = tried;
		}
	}
	return result;
}
