/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "generation.h"

#include <stdlib.h>

#include "ruleset_egress.h"
#include "service_rows.h"

enum {
	/* Longest headers of a SYN: IPv4 has 60 + 60, IPv6 some extension headers. */
	COPY_HEADERS = 256,
	COPY_PACKET = 65535,
};

/* A payload check needs whole packets, a token only the headers of its SYN. */
static uint32_t copy_range(const struct config *config)
{
	for (size_t i = 0; i < config->service_count; i++)
		if (config->services[i].service.integrity > 0)
			return COPY_PACKET;
	return COPY_HEADERS;
}

static struct destination_table *destinations_of_config(const struct config *config)
{
	size_t count = 0;
	size_t used = 0;

	for (size_t i = 0; i < config->egress_count; i++)
		count += config->egress[i].prefix_count;
	struct destination_row *rows = calloc(count + 1, sizeof(*rows));
	if (rows == NULL)
		return NULL;
	for (size_t i = 0; i < config->egress_count; i++) {
		const struct egress_config *egress = &config->egress[i];
		for (size_t k = 0; !egress->retired && k < egress->prefix_count; k++)
			rows[used++] =
				(struct destination_row){egress->prefixes[k], &egress->destination};
	}
	struct destination_table *table = destination_table_new(rows, used);
	free(rows);
	return table;
}

struct generation *generation_new(struct config *config)
{
	struct generation *generation = calloc(1, sizeof(*generation));

	if (generation == NULL)
		return NULL;
	generation->services = service_table_of_config(config);
	generation->destinations = destinations_of_config(config);
	generation->copy_range = copy_range(config);
	generation->set_marks = ruleset_egress_may_pass(config);
	if (generation->services != NULL && generation->destinations != NULL) {
		generation->config = config;
		return generation;
	}
	generation_free(generation);
	return NULL;
}

void generation_free(struct generation *generation)
{
	if (generation == NULL)
		return;
	service_table_free(generation->services);
	destination_table_free(generation->destinations);
	config_free(generation->config);
	free(generation);
}
