/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Typed values of single settings, and groups of keys. */
#include <stdlib.h>
#include <string.h>

#include "config_reader.h"

enum {
	KEY_LENGTH_LIMIT = 32, /* longer unknown keys get no suggestion */
	USUAL_FIRST_SEGMENT = 1400,
};

static const char *type_text(const config_setting_t *setting)
{
	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_GROUP:
		return "a group";
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		return "an integer";
	case CONFIG_TYPE_FLOAT:
		return "a floating-point number";
	case CONFIG_TYPE_STRING:
		return "a string";
	case CONFIG_TYPE_BOOL:
		return "a boolean";
	case CONFIG_TYPE_ARRAY:
		return "an array";
	case CONFIG_TYPE_LIST:
		return "a list";
	default:
		return "nothing";
	}
}

static unsigned int minimum(unsigned int left, unsigned int right)
{
	return left < right ? left : right;
}

/* Damerau-Levenshtein distance (adjacent letters swapped count once) of two short words. */
static unsigned int edit_distance(const char *left, const char *right)
{
	unsigned int distance[KEY_LENGTH_LIMIT + 1][KEY_LENGTH_LIMIT + 1];
	size_t rows = strlen(left);
	size_t columns = strlen(right);
	if (rows > KEY_LENGTH_LIMIT || columns > KEY_LENGTH_LIMIT)
		return KEY_LENGTH_LIMIT;
	for (size_t row = 0; row <= rows; row++) {
		for (size_t column = 0; column <= columns; column++) {
			if (row == 0 || column == 0) {
				distance[row][column] = (unsigned int)(row + column);
				continue;
			}
			unsigned int changed = left[row - 1] != right[column - 1];
			unsigned int best = minimum(distance[row - 1][column] + 1,
						    distance[row][column - 1] + 1);
			best = minimum(best, distance[row - 1][column - 1] + changed);
			if (row > 1 && column > 1 && left[row - 1] == right[column - 2] &&
			    left[row - 2] == right[column - 1])
				best = minimum(best, distance[row - 2][column - 2] + 1);
			distance[row][column] = best;
		}
	}
	return distance[rows][columns];
}

static const struct field *find_field(const struct field *fields, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(fields[i].key, key) == 0)
			return &fields[i];
	return NULL;
}

static const char *nearest_key(const struct field *fields, size_t count, const char *key)
{
	const char *nearest = NULL;
	unsigned int least = strlen(key) > 8 ? 4 : strlen(key) > 2 ? 3 : 2; /* exclusive */
	for (size_t i = 0; i < count; i++) {
		unsigned int distance = edit_distance(fields[i].key, key);
		if (strlen(key) > 2 && strncmp(fields[i].key, key, strlen(key)) == 0)
			distance = 1; /* cut short */
		if (distance < least) {
			least = distance;
			nearest = fields[i].key;
		}
	}
	return nearest;
}

static void report_unknown_key(struct reader *reader, const config_setting_t *setting,
			       const struct field *fields, size_t count)
{
	const char *nearest = nearest_key(fields, count, config_setting_name(setting));
	if (nearest) {
		reader_error(reader, setting, "unknown key, did you mean \"%s\"?", nearest);
		return;
	}
	char known[256] = "";
	for (size_t i = 0; i < count; i++) {
		size_t used = strlen(known);
		snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "", fields[i].key);
	}
	reader_error(reader, setting, "unknown key, expected %s%s", count > 1 ? "one of " : "",
		     known);
}

void read_group(struct reader *reader, const config_setting_t *group, const struct field *fields,
		size_t count, void *target)
{
	if (!config_setting_is_group(group)) {
		reader_error(reader, group, "found %s, expected a group { ... }", type_text(group));
		return;
	}
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *member = config_setting_get_elem(group, (unsigned int)i);
		if (!find_field(fields, count, config_setting_name(member)))
			report_unknown_key(reader, member, fields, count);
	}
	for (size_t i = 0; i < count; i++) {
		const config_setting_t *member = config_setting_get_member(group, fields[i].key);
		if (member)
			fields[i].read(reader, member, target);
		else if (fields[i].required)
			reader_error(reader, group, "no %s, expected %s", fields[i].key,
				     fields[i].required);
	}
}

/* Whether libconfig cut a number on the line of that setting; that has been reported. */
static bool line_is_cut(struct reader *reader, const config_setting_t *setting)
{
	const struct source *source = reader_source(reader, config_setting_source_file(setting));
	if (!source)
		return false;
	for (size_t i = 0; i < source->line_count; i++)
		if (source->lines[i] == config_setting_source_line(setting))
			return true;
	return false;
}

bool read_integer(struct reader *reader, const config_setting_t *setting, long long lowest,
		  long long highest, long long *value)
{
	int type = config_setting_type(setting);
	if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) {
		reader_error(reader, setting, "found %s, expected an integer from %lld to %lld",
			     type_text(setting), lowest, highest);
		return false;
	}
	long long found = config_setting_get_int64(setting);
	/* 0xf0000000 comes as a negative int; with a sign no hex number can be written. */
	if (type == CONFIG_TYPE_INT && found < 0 &&
	    config_setting_get_format(setting) == CONFIG_FORMAT_HEX)
		found &= 0xffffffff;
	if (line_is_cut(reader, setting))
		return false;
	if (found < lowest || found > highest) {
		reader_error(reader, setting, "found %lld, expected %lld to %lld", found, lowest,
			     highest);
		return false;
	}
	*value = found;
	return true;
}

bool read_boolean(struct reader *reader, const config_setting_t *setting, bool *value)
{
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL) {
		reader_error(reader, setting, "found %s, expected true or false",
			     type_text(setting));
		return false;
	}
	*value = config_setting_get_bool(setting);
	return true;
}

const char *read_string(struct reader *reader, const config_setting_t *setting,
			const char *expected)
{
	if (config_setting_type(setting) != CONFIG_TYPE_STRING) {
		reader_error(reader, setting, "found %s, expected %s", type_text(setting),
			     expected);
		return NULL;
	}
	const char *text = config_setting_get_string(setting);
	if (text[0] == '\0') {
		reader_error(reader, setting, "found an empty string, expected %s", expected);
		return NULL;
	}
	return text;
}

static void list_words(const char *const words[], char *text, size_t size)
{
	text[0] = '\0';
	for (size_t i = 0; words[i]; i++) {
		const char *separator = i == 0 ? "" : words[i + 1] ? ", " : " or ";
		size_t used = strlen(text);
		snprintf(text + used, size - used, "%s\"%s\"", separator, words[i]);
	}
}

bool read_choice(struct reader *reader, const config_setting_t *setting, const char *const words[],
		 unsigned int *value)
{
	char expected[128];
	list_words(words, expected, sizeof(expected));
	const char *text = read_string(reader, setting, expected);
	if (!text)
		return false;
	for (unsigned int i = 0; words[i]; i++) {
		if (strcmp(words[i], text) == 0) {
			*value = i;
			return true;
		}
	}
	reader_error(reader, setting, "found \"%.*s\", expected %s", FOUND_LIMIT, text, expected);
	return false;
}

bool read_path(struct reader *reader, const config_setting_t *setting, size_t limit, char **value)
{
	const char *text = read_string(reader, setting, "an absolute path");
	if (!text)
		return false;
	if (text[0] != '/') {
		reader_error(reader, setting, "found \"%.*s\", expected an absolute path",
			     FOUND_LIMIT, text);
		return false;
	}
	if (strlen(text) >= limit) {
		reader_error(reader, setting,
			     "found a path of %zu characters, expected at most %zu", strlen(text),
			     limit - 1);
		return false;
	}
	char *copy = strdup(text);
	if (!copy) {
		reader_memory_short(reader);
		return false;
	}
	free(*value);
	*value = copy;
	return true;
}

bool read_name(struct reader *reader, const config_setting_t *setting, char name[static NAME_SIZE])
{
	const char *text = read_string(reader, setting, "a name");
	if (!text)
		return false;
	if (strlen(text) >= NAME_SIZE) {
		reader_error(reader, setting, "found a name of %zu characters, expected at most %d",
			     strlen(text), NAME_SIZE - 1);
		return false;
	}
	if (!name_is_valid(text)) {
		reader_error(reader, setting,
			     "found \"%s\", expected only letters, digits, '.', '_' and '-'", text);
		return false;
	}
	snprintf(name, NAME_SIZE, "%s", text);
	return true;
}

bool read_integrity(struct reader *reader, const config_setting_t *setting, uint16_t *value)
{
	long long found;
	if (!read_integer(reader, setting, 0, UINT16_MAX, &found))
		return false;
	*value = (uint16_t)found;
	return true;
}

void warn_of_long_check(struct reader *reader, const config_setting_t *setting, uint16_t integrity)
{
	if (integrity > USUAL_FIRST_SEGMENT)
		reader_warning(reader, setting,
			       "found %u, which does not fit the first segment of a connection at "
			       "the usual MSS, expected at most %d",
			       integrity, USUAL_FIRST_SEGMENT);
}

size_t value_count(struct reader *reader, const config_setting_t *setting, const char *expected)
{
	if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
		return 1;
	int length = config_setting_length(setting);
	if (length == 0)
		reader_error(reader, setting, "found an empty list, expected at least one %s",
			     expected);
	return (size_t)length;
}

const config_setting_t *value_at(const config_setting_t *setting, size_t index)
{
	if (!config_setting_is_array(setting) && !config_setting_is_list(setting))
		return setting;
	return config_setting_get_elem(setting, (unsigned int)index);
}
