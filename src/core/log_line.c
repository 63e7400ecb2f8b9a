/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log_line.h"

#include <stdio.h>
#include <string.h>

static bool is_key_byte(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '_';
}

/* The length of a key with '=' behind it; 0 when there is none. */
static size_t key_length(const char *text)
{
	size_t length = 0;

	while (is_key_byte(text[length]))
		length++;
	return text[length] == '=' ? length : 0;
}

/* Where a quoted value ends: at a quote that the line or another field follows. So even a value
 * that somebody forgot to escape stays one value. */
static const char *closing_quote(const char *text)
{
	for (; *text != '\0'; text++) {
		if (text[0] == '\\' && text[1] != '\0')
			text++;
		else if (text[0] == '"' &&
			 (text[1] == '\0' || (text[1] == ' ' && key_length(text + 2) > 0)))
			break;
	}
	return text;
}

bool log_field_next(const char **line, struct log_field *field)
{
	const char *at = *line + strspn(*line, " ");

	while (*at != '\0' && key_length(at) == 0) {
		at += strcspn(at, " ");
		at += strspn(at, " ");
	}
	*line = at;
	if (*at == '\0')
		return false;
	field->key = at;
	field->key_length = key_length(at);
	field->value = at + field->key_length + 1;
	field->quoted = field->value[0] == '"';
	if (!field->quoted) {
		field->value_length = strcspn(field->value, " ");
		*line = field->value + field->value_length;
		return true;
	}
	field->value++;
	const char *end = closing_quote(field->value);
	field->value_length = (size_t)(end - field->value);
	*line = *end == '"' ? end + 1 : end;
	return true;
}

static bool is_integer_conversion(const char *text)
{
	if (*text++ != '%')
		return false;
	text += strspn(text, "hlzjt");
	return (*text == 'u' || *text == 'd') && (text[1] == ' ' || text[1] == '\0');
}

bool log_field_is_number(const char *format, const struct log_field *field)
{
	const char *at = format;

	if (field->quoted || field->value_length == 0)
		return false;
	for (; (at = strstr(at, "=%")) != NULL; at += 2) {
		const char *key = at - field->key_length;
		if (at - format < (ptrdiff_t)field->key_length ||
		    memcmp(key, field->key, field->key_length) != 0 ||
		    (key != format && key[-1] != ' '))
			continue;
		return is_integer_conversion(at + 1);
	}
	return false;
}

void log_line_clean(char *line)
{
	for (; *line != '\0'; line++)
		if (*line < 0x20 || *line >= 0x7f)
			*line = '?';
}

char *log_quote(char *quoted, size_t size, const char *text)
{
	size_t at = 0;

	/* Room for the longest escape, the closing quote and the NUL. */
	quoted[at++] = '"';
	for (; *text != '\0' && at + 6 < size; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte < 0x20 || byte >= 0x7f)
			at += (size_t)snprintf(quoted + at, size - at, "\\x%02x", byte);
		else if (byte == '"' || byte == '\\')
			at += (size_t)snprintf(quoted + at, size - at, "\\%c", byte);
		else
			quoted[at++] = (char)byte;
	}
	quoted[at++] = '"';
	quoted[at] = '\0';
	return quoted;
}

/* Text that grows up to a limit; once something did not fit, nothing is added any more. */
struct writer {
	char *text;
	size_t size;
	size_t length;
	bool full;
};

static void put(struct writer *writer, const char *bytes, size_t length)
{
	if (writer->full || writer->size - writer->length <= length) {
		writer->full = true;
		return;
	}
	memcpy(writer->text + writer->length, bytes, length);
	writer->length += length;
}

static void put_byte(struct writer *writer, unsigned char byte)
{
	char text[8];
	int length;

	if (byte == '"' || byte == '\\')
		length = snprintf(text, sizeof(text), "\\%c", byte);
	else if (byte < 0x20 || byte >= 0x7f)
		length = snprintf(text, sizeof(text), "\\u%04x", byte);
	else
		length = snprintf(text, sizeof(text), "%c", byte);
	put(writer, text, (size_t)length);
}

static int hex_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

/* Undoes what log_quote escapes. Returns how many bytes of text made up *byte. */
static size_t unescape(const char *text, size_t length, unsigned char *byte)
{
	*byte = (unsigned char)text[0];
	if (text[0] != '\\' || length < 2)
		return 1;
	if (text[1] == 'x' && length >= 4 && hex_value(text[2]) >= 0 && hex_value(text[3]) >= 0) {
		*byte = (unsigned char)(hex_value(text[2]) * 16 + hex_value(text[3]));
		return 4;
	}
	if (text[1] != '"' && text[1] != '\\')
		return 1;
	*byte = (unsigned char)text[1];
	return 2;
}

static void put_string(struct writer *writer, const char *text, size_t length, bool escaped)
{
	unsigned char byte;

	put(writer, "\"", 1);
	for (size_t at = 0; at < length;) {
		size_t step = 1;
		byte = (unsigned char)text[at];
		if (escaped)
			step = unescape(text + at, length - at, &byte);
		put_byte(writer, byte);
		at += step;
	}
	put(writer, "\"", 1);
}

static void put_member(struct writer *writer, const char *key, const char *value)
{
	put_string(writer, key, strlen(key), false);
	put(writer, ":", 1);
	put_string(writer, value, strlen(value), false);
}

static bool is_json_number(const struct log_field *field)
{
	size_t digits = field->value[0] == '-' ? 1 : 0;

	return digits < field->value_length &&
	       strspn(field->value + digits, "0123456789") >= field->value_length - digits;
}

static void put_field(struct writer *writer, const struct log_field *field, const char *format)
{
	put(writer, ",", 1);
	put_string(writer, field->key, field->key_length, false);
	put(writer, ":", 1);
	if (log_field_is_number(format, field) && is_json_number(field))
		put(writer, field->value, field->value_length);
	else
		put_string(writer, field->value, field->value_length, field->quoted);
}

size_t log_line_json(char *json, size_t size, const struct log_head *head, const char *format,
		     const char *line)
{
	/* One byte is kept for the closing brace; put() keeps another for the NUL. */
	struct writer writer = {.text = json, .size = size - 1};
	struct log_field field;

	put(&writer, "{", 1);
	put_member(&writer, "time", head->time);
	put(&writer, ",", 1);
	put_member(&writer, "level", head->level);
	put(&writer, ",", 1);
	put_member(&writer, "event", head->event);
	while (!writer.full && log_field_next(&line, &field)) {
		size_t whole = writer.length;
		put_field(&writer, &field, format);
		if (writer.full)
			writer.length = whole;
	}
	json[writer.length++] = '}';
	json[writer.length] = '\0';
	return writer.length;
}
