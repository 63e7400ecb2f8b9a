/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "destination.h"

#include <stdlib.h>

struct destination_table {
	size_t count;
	struct destination_row rows[]; /* by port, family and address */
};

int endpoint_compare(const struct endpoint *left, const struct endpoint *right)
{
	if (left->port != right->port)
		return left->port < right->port ? -1 : 1;
	if (left->family != right->family)
		return left->family < right->family ? -1 : 1;
	return memcmp(left->address, right->address, ADDRESS_SIZE);
}

static int compare_rows(const void *left_pointer, const void *right_pointer)
{
	const struct destination_row *left = left_pointer;
	const struct destination_row *right = right_pointer;

	return endpoint_compare(&left->prefix.base, &right->prefix.base);
}

struct destination_table *destination_table_new(const struct destination_row *rows, size_t count)
{
	struct destination_table *table = malloc(sizeof(*table) + count * sizeof(table->rows[0]));

	if (table == NULL)
		return NULL;
	table->count = count;
	if (count > 0) {
		memcpy(table->rows, rows, count * sizeof(rows[0]));
		qsort(table->rows, count, sizeof(rows[0]), compare_rows);
	}
	return table;
}

void destination_table_free(struct destination_table *table)
{
	free(table);
}

const struct destination *destination_table_find(const struct destination_table *table,
						 const struct endpoint *server)
{
	size_t low = 0;
	size_t high = table->count;

	/* Prefixes do not overlap, so only the last one that begins at or before it can hold it. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (endpoint_compare(&table->rows[middle].prefix.base, server) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || !prefix_holds(&table->rows[low - 1].prefix, server))
		return NULL;
	return table->rows[low - 1].destination;
}
