/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keys of a service, each a secret or a group { name; secret; not_before; not_after; source; },
 * and the one of an egress destination. */
#include <nettle/memops.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "config_reader.h"
#include "core/calendar.h"
#include "secret_memory.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum { DAY = 86400, SOON = 14 * DAY };

static struct key *new_keys(struct reader *reader, const config_setting_t *setting, size_t count)
{
	bool locked = true;
	struct key *keys = secret_memory_new(count * sizeof(struct key), &locked);
	if (!keys)
		reader_memory_short(reader);
	if (!locked && !reader->lock_told) {
		reader->lock_told = true;
		reader_warning(
			reader, setting,
			"the memory for secrets could not be locked and may be swapped out, "
			"expected a higher limit of locked memory (LimitMEMLOCK=, ulimit -l)");
	}
	return keys;
}

/* A key while its group is being read. */
struct draft {
	struct key *key;
	bool secret_read;
	const config_setting_t *not_before;
	const config_setting_t *not_after;
};

static void read_key_name(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	read_name(reader, setting, draft->key->name);
}

static void read_key_secret(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	draft->secret_read = read_secret(reader, setting, &draft->key->secret);
}

static bool read_time(struct reader *reader, const config_setting_t *setting, bool last_second,
		      int64_t *seconds)
{
	const char *error;
	const char *text = read_string(reader, setting, "a date or a time with its zone");
	if (!text)
		return false;
	if (calendar_parse(text, last_second, seconds, &error))
		return true;
	reader_error(reader, setting, "found \"%.*s\", %s", FOUND_LIMIT, text, error);
	return false;
}

static void read_not_before(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	if (read_time(reader, setting, false, &draft->key->not_before))
		draft->not_before = setting;
}

static void read_not_after(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	if (read_time(reader, setting, true, &draft->key->not_after))
		draft->not_after = setting;
}

static void read_sources(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct key *key = ((struct draft *)target)->key;
	struct places places = {0};
	read_addresses(reader, setting, true, &places);
	struct prefix *sources = reader_allocate(reader, places.count, sizeof(*sources));
	for (size_t i = 0; sources && i < places.count; i++)
		sources[i] = places.list[i].prefix;
	key->sources = sources;
	key->source_count = sources ? places.count : 0;
	places_free(&places);
}

static const struct field key_fields[] = {
	{"name", read_key_name, NULL},         {"secret", read_key_secret, "a secret"},
	{"not_before", read_not_before, NULL}, {"not_after", read_not_after, NULL},
	{"source", read_sources, NULL},
};

static void check_validity(struct reader *reader, const struct draft *draft)
{
	const struct key *key = draft->key;
	int64_t now = time(NULL);
	if (!draft->not_after)
		return;
	const char *text = config_setting_get_string(draft->not_after);
	if (draft->not_before && key->not_after < key->not_before) {
		reader_error(reader, draft->not_after,
			     "found \"%s\", expected a time that is not before not_before (\"%s\")",
			     text, config_setting_get_string(draft->not_before));
		return;
	}
	if (key->not_after < now)
		reader_warning(reader, draft->not_after,
			       "\"%s\" has passed, clients with this key are refused", text);
	else if (key->not_after - now < SOON)
		reader_warning(reader, draft->not_after, "\"%s\": this key expires in %s", text,
			       key->not_after - now < DAY       ? "less than a day"
			       : key->not_after - now < 2 * DAY ? "a day"
								: "less than two weeks");
}

/* Returns whether there is a secret. */
static bool read_key(struct reader *reader, const config_setting_t *setting, bool groups,
		     struct key *key)
{
	struct draft draft = {.key = key};
	if (!groups || !config_setting_is_group(setting))
		return read_secret(reader, setting, &key->secret);
	read_group(reader, setting, key_fields, COUNT_OF(key_fields), &draft);
	check_validity(reader, &draft);
	return draft.secret_read;
}

/* An equal secret is harmless in a plain list. A group is there to be told apart and revoked. */
static void check_equal_secret(struct reader *reader, const config_setting_t *list,
			       const struct key *keys, const bool *valid, size_t index)
{
	const config_setting_t *element = value_at(list, index);
	for (size_t i = 0; i < index; i++) {
		const config_setting_t *other = value_at(list, i);
		if (!valid[i] ||
		    !memeql_sec(&keys[i].secret, &keys[index].secret, sizeof(struct secret)))
			continue;
		if (config_setting_is_group(element) || config_setting_is_group(other))
			reader_error(reader, element,
				     "the same secret as key \"%s\" (line %u), expected one of its "
				     "own: to take one away would not take the other",
				     keys[i].name, config_setting_source_line(other));
		else
			reader_warning(reader, element,
				       "the same secret as number %zu of this list", i + 1);
		return;
	}
}

static void check_equal_name(struct reader *reader, const config_setting_t *list,
			     const struct key *keys, size_t index)
{
	for (size_t i = 0; i < index; i++) {
		if (strcmp(keys[i].name, keys[index].name) != 0)
			continue;
		reader_error(reader, value_at(list, index),
			     "found the name \"%s\" again (line %u), expected each name only once",
			     keys[index].name, config_setting_source_line(value_at(list, i)));
		return;
	}
}

/* A service that nobody can use now is hardly meant. */
static void warn_of_no_key(struct reader *reader, const config_setting_t *setting,
			   const struct key *keys, size_t count)
{
	int64_t now = time(NULL);
	for (size_t i = 0; i < count; i++)
		if (now >= keys[i].not_before &&
		    (keys[i].not_after == 0 || now <= keys[i].not_after))
			return;
	reader_warning(reader, setting, "no key is valid now, so nobody can connect");
}

struct key *read_keys(struct reader *reader, const config_setting_t *setting, bool several,
		      size_t *count)
{
	*count = 0;
	if (!several && (config_setting_is_array(setting) || config_setting_is_list(setting))) {
		reader_error(reader, setting, "found a list, expected one secret");
		return NULL;
	}
	size_t length = value_count(reader, setting, "secret");
	bool *valid = reader_allocate(reader, length, sizeof(*valid));
	if (!valid)
		return NULL;
	struct key *keys = new_keys(reader, setting, length);
	*count = keys ? length : 0;
	for (size_t i = 0; i < *count; i++) {
		valid[i] = read_key(reader, value_at(setting, i), several, &keys[i]);
		if (!keys[i].name[0])
			snprintf(keys[i].name, sizeof(keys[i].name), "%zu", i + 1);
		check_equal_name(reader, setting, keys, i);
		if (valid[i])
			check_equal_secret(reader, setting, keys, valid, i);
	}
	if (several && *count > 0)
		warn_of_no_key(reader, setting, keys, *count);
	free(valid);
	return keys;
}

void keys_free(struct key *keys, size_t count)
{
	for (size_t i = 0; keys && i < count; i++)
		free((void *)keys[i].sources);
	secret_memory_free(keys, count * sizeof(struct key));
}
