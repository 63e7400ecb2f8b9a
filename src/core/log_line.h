/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The form of a log line: fields key=value or key="quoted value", separated by spaces; and the same
 * as a JSON object. Pure text to text. */
#ifndef KNOCKGW_CORE_LOG_LINE_H
#define KNOCKGW_CORE_LOG_LINE_H

#include <stdbool.h>
#include <stddef.h>

/* A field of a line; points into it. */
struct log_field {
	const char *key;
	size_t key_length;
	const char *value; /* without the quotes, still with escapes */
	size_t value_length;
	bool quoted;
};

/* Takes the next field off *line. Words that are no field are stepped over. Returns false at the
 * end. */
bool log_field_next(const char **line, struct log_field *field);

/* Whether the format that a line was made with has an integer for that key ("packets=%llu"): the
 * value alone does not tell a number from a name of digits. */
bool log_field_is_number(const char *format, const struct log_field *field);

/* Puts '?' for everything that is not printable ASCII, so that a line stays one line. */
void log_line_clean(char *line);

/* Copies text between double quotes, with backslash before quotes and backslashes and \xNN for what
 * is not printable; cut to fit. size: at least 8. Returns quoted. */
char *log_quote(char *quoted, size_t size, const char *text);

struct log_head {
	const char *time; /* RFC 3339 */
	const char *level;
	const char *event;
};

/* Writes one JSON object, without newline, for a line and the format it was made with. Fields that
 * do not fit are left out; what is written is always a whole object. size: at least 256. Returns
 * its length. */
size_t log_line_json(char *json, size_t size, const struct log_head *head, const char *format,
		     const char *line);

#endif
