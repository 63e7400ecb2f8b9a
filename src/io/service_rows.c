/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "service_rows.h"

#include <stdlib.h>

struct service_table *service_table_of_config(const struct config *config)
{
	size_t count = 0;
	size_t used = 0;

	for (size_t i = 0; i < config->service_count; i++)
		count += config->services[i].endpoint_count;
	struct service_row *rows = calloc(count + 1, sizeof(*rows));
	if (rows == NULL)
		return NULL;
	for (size_t i = 0; i < config->service_count; i++) {
		const struct service_config *service = &config->services[i];
		for (size_t k = 0; k < service->endpoint_count; k++)
			rows[used++] =
				(struct service_row){service->endpoints[k], &service->service};
	}
	struct service_table *table = service_table_new(rows, used);
	free(rows);
	return table;
}
