/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "diagnostics.h"

#include <stdlib.h>

static void remove_control_characters(char *text)
{
	for (char *at = text; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
}

static char *format_line(bool error, struct location location, const char *text)
{
	const char *kind = error ? "error" : "warning";
	char *line;
	int length = location.line > 0 ? asprintf(&line, "%s:%u: %s: %s", location.path,
						  location.line, kind, text)
				       : asprintf(&line, "%s: %s: %s", location.path, kind, text);
	if (length < 0)
		return NULL;
	remove_control_characters(line);
	return line;
}

static bool append(struct diagnostics *diagnostics, struct diagnostic diagnostic)
{
	size_t count = diagnostics->count;
	/* The capacity is the next power of two: it grows when count reaches one. */
	if ((count & (count - 1)) == 0) {
		size_t capacity = count ? 2 * count : 1;
		struct diagnostic *grown =
			reallocarray(diagnostics->list, capacity, sizeof(*grown));
		if (!grown)
			return false;
		diagnostics->list = grown;
	}
	diagnostic.position = (unsigned int)count;
	diagnostics->list[diagnostics->count++] = diagnostic;
	return true;
}

void diagnostics_add(struct diagnostics *diagnostics, bool error, struct location location,
		     const char *format, va_list arguments)
{
	if (error)
		diagnostics->errors++;
	char *text;
	if (vasprintf(&text, format, arguments) < 0)
		return;
	char *line = format_line(error, location, text);
	free(text);
	if (!line)
		return;
	struct diagnostic diagnostic = {
		.error = error, .text = line, .file = location.file, .line = location.line};
	if (!append(diagnostics, diagnostic))
		free(line);
}

static int compare(unsigned int left, unsigned int right)
{
	return (left > right) - (left < right);
}

static int compare_diagnostics(const void *left_pointer, const void *right_pointer)
{
	const struct diagnostic *left = left_pointer;
	const struct diagnostic *right = right_pointer;
	if (left->file != right->file)
		return compare(left->file, right->file);
	if (left->line != right->line)
		return compare(left->line, right->line);
	return compare(left->position, right->position);
}

void diagnostics_sort(struct diagnostics *diagnostics)
{
	if (diagnostics->count > 1)
		qsort(diagnostics->list, diagnostics->count, sizeof(*diagnostics->list),
		      compare_diagnostics);
}

void diagnostics_print(const struct diagnostics *diagnostics, FILE *stream)
{
	for (size_t i = 0; i < diagnostics->count; i++)
		fprintf(stream, "%s\n", diagnostics->list[i].text);
	if (diagnostics->errors > 0 && diagnostics->count == 0)
		fprintf(stream, "error: not enough memory to say what is wrong\n");
}

void diagnostics_free(struct diagnostics *diagnostics)
{
	for (size_t i = 0; i < diagnostics->count; i++)
		free(diagnostics->list[i].text);
	free(diagnostics->list);
	*diagnostics = (struct diagnostics){0};
}
