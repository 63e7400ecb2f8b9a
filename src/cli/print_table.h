/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef KNOCKGW_CLI_PRINT_TABLE_H
#define KNOCKGW_CLI_PRINT_TABLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct column {
	const char *title;
	const char *member; /* of each object */
	bool right;         /* numbers stand to the right */
};

/* Prints objects as a table as wide as its cells; "-" stands for what is empty or missing. */
void print_table(const json_t *objects, const struct column *columns, size_t count);

/* Prints one object as lines "title: value". */
void print_record(const json_t *object, const struct column *columns, size_t count);

/* The text of a value, to free(): words of a list are joined by ", ", and what is not printable is
 * replaced. */
char *cell_text(const json_t *value);

#endif
