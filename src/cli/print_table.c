/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "print_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nothing that comes over the socket gets at the terminal. */
static char *clean(char *text)
{
	for (char *at = text; at != NULL && *at != '\0'; at++)
		if (*at < 0x20 || *at >= 0x7f)
			*at = '?';
	return text;
}

static char *joined_text(const json_t *list)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	if (stream == NULL)
		return NULL;
	for (size_t i = 0; i < json_array_size(list); i++) {
		char *word = cell_text(json_array_get(list, i));
		fprintf(stream, "%s%s", i > 0 ? ", " : "", word != NULL ? word : "");
		free(word);
	}
	fclose(stream);
	return text;
}

char *cell_text(const json_t *value)
{
	char *text = NULL;
	const char *words = json_string_value(value);

	if (words != NULL && words[0] != '\0')
		return clean(strdup(words));
	if (json_is_array(value) && json_array_size(value) > 0)
		return joined_text(value);
	if (json_is_boolean(value))
		return strdup(json_is_true(value) ? "yes" : "no");
	if (!json_is_integer(value))
		return strdup("-");
	return asprintf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(value)) < 0 ? NULL
										       : text;
}

static size_t width_of(const json_t *objects, const struct column *column)
{
	size_t width = strlen(column->title);

	for (size_t i = 0; i < json_array_size(objects); i++) {
		char *text = cell_text(json_object_get(json_array_get(objects, i), column->member));
		if (text != NULL && strlen(text) > width)
			width = strlen(text);
		free(text);
	}
	return width;
}

static void print_cell(const char *text, size_t width, bool right, bool last)
{
	/* No blanks at the end of a line. */
	if (last && !right)
		printf("%s\n", text);
	else
		printf(right ? "%*s%s" : "%-*s%s", (int)width, text, last ? "\n" : "  ");
}

void print_table(const json_t *objects, const struct column *columns, size_t count)
{
	size_t *widths = calloc(count, sizeof(*widths));

	for (size_t i = 0; widths != NULL && i < count; i++) {
		widths[i] = width_of(objects, &columns[i]);
		print_cell(columns[i].title, widths[i], columns[i].right, i + 1 == count);
	}
	for (size_t row = 0; widths != NULL && row < json_array_size(objects); row++) {
		const json_t *object = json_array_get(objects, row);
		for (size_t i = 0; i < count; i++) {
			char *text = cell_text(json_object_get(object, columns[i].member));
			print_cell(text != NULL ? text : "", widths[i], columns[i].right,
				   i + 1 == count);
			free(text);
		}
	}
	free(widths);
}

void print_record(const json_t *object, const struct column *columns, size_t count)
{
	size_t width = 0;

	for (size_t i = 0; i < count; i++)
		if (strlen(columns[i].title) > width)
			width = strlen(columns[i].title);
	for (size_t i = 0; i < count; i++) {
		char *text = cell_text(json_object_get(object, columns[i].member));
		printf("%s:%*s %s\n", columns[i].title, (int)(width - strlen(columns[i].title)), "",
		       text != NULL ? text : "");
		free(text);
	}
}
