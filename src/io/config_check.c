/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks across services and destinations, after all of them have been read. */
#include <stdlib.h>
#include <string.h>

#include "config_reader.h"

enum { PLACE_TEXT_SIZE = 256 };

static int compare_sizes(size_t left, size_t right)
{
	return (left > right) - (left < right);
}

/* A prefix stands right before what lies inside it. */
static int compare_prefixes(const struct prefix *left, const struct prefix *right)
{
	int order = endpoint_compare(&left->base, &right->base);
	return order ? order : compare_sizes(left->length, right->length);
}

static int compare_places(const void *left_pointer, const void *right_pointer)
{
	const struct place *left = left_pointer;
	const struct place *right = right_pointer;
	int order = compare_prefixes(&left->prefix, &right->prefix);
	return order ? order : compare_sizes(left->position, right->position);
}

static bool prefix_contains(const struct prefix *outer, const struct prefix *inner)
{
	return outer->length <= inner->length && prefix_holds(outer, &inner->base);
}

/* services[0] "ssh": address, line 7: where the earlier of two things stands. */
static void place_text(const config_setting_t *setting, char *text)
{
	const char *file = config_setting_source_file(setting);
	setting_path(setting, text, PLACE_TEXT_SIZE);
	size_t used = strlen(text);
	snprintf(text + used, PLACE_TEXT_SIZE - used, ", line %u%s%s",
		 config_setting_source_line(setting), file ? " of " : "", file ? file : "");
}

static void prefix_text(const struct prefix *prefix, char *text, size_t size)
{
	char address[ENDPOINT_TEXT_SIZE];
	if (prefix_is_address(prefix))
		snprintf(text, size, "%s", endpoint_format(&prefix->base, address));
	else
		snprintf(text, size, "%s/%u port %u",
			 endpoint_format_address(&prefix->base, address), prefix->length,
			 prefix->base.port);
}

/* Sorts places and reports each that lies in another: the one further down in the file. */
static void check_overlaps(struct reader *reader, struct places *places)
{
	if (places->count < 2)
		return;
	qsort(places->list, places->count, sizeof(*places->list), compare_places);
	const struct place *outer = &places->list[0];
	for (size_t i = 1; i < places->count; i++) {
		const struct place *place = &places->list[i];
		if (!prefix_contains(&outer->prefix, &place->prefix)) {
			outer = place;
			continue;
		}
		bool in_order = outer->position < place->position;
		const struct place *first = in_order ? outer : place;
		const struct place *second = in_order ? place : outer;
		bool equal = outer->prefix.length == place->prefix.length;
		char what[PLACE_TEXT_SIZE];
		char where[PLACE_TEXT_SIZE];
		prefix_text(&second->prefix, what, sizeof(what));
		place_text(first->setting, where);
		reader_error(reader, second->setting, "found %s %s (%s), expected each only once",
			     what, equal ? "again" : "overlapping another", where);
	}
}

static bool is_protected(const struct reader *reader, const struct endpoint *endpoint)
{
	const struct places *places = &reader->protected_places;
	size_t low = 0;
	size_t high = places->count;
	struct prefix wanted = {.base = *endpoint,
				.length = (uint8_t)(8 * family_address_length(endpoint->family))};
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		int order = compare_prefixes(&places->list[middle].prefix, &wanted);
		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* Unauthorised packets are sent to the decoy port: it must not be a hidden one. */
static void check_decoy(struct reader *reader, const config_setting_t *group,
			const struct service_config *service)
{
	if (service->reject != REJECT_CLOSED)
		return;
	const config_setting_t *setting = config_setting_get_member(group, "decoy_port");
	for (size_t i = 0; i < service->endpoint_count; i++) {
		struct endpoint decoy = service->endpoints[i];
		decoy.port = service->decoy_port;
		if (!is_protected(reader, &decoy))
			continue;
		char text[ENDPOINT_TEXT_SIZE];
		reader_error(reader, setting ? setting : group,
			     "%s %u: %s is a protected port, expected a closed one",
			     setting ? "found" : "decoy_port is by default", decoy.port,
			     endpoint_format(&decoy, text));
		return;
	}
}

struct named {
	const char *name;
	const config_setting_t *setting;
	size_t position;
};

static int compare_names(const void *left_pointer, const void *right_pointer)
{
	const struct named *left = left_pointer;
	const struct named *right = right_pointer;
	int order = strcmp(left->name, right->name);
	return order ? order : compare_sizes(left->position, right->position);
}

/* Takes the list of services or destinations: groups, each with a name (or without a valid one). */
static void check_names(struct reader *reader, const config_setting_t *list, size_t count)
{
	struct named *names = reader_allocate(reader, count, sizeof(*names));
	size_t valid = 0;
	for (size_t i = 0; names && i < count; i++) {
		const config_setting_t *group = value_at(list, i);
		const config_setting_t *name = config_setting_is_group(group)
						       ? config_setting_get_member(group, "name")
						       : NULL;
		if (!name || config_setting_type(name) != CONFIG_TYPE_STRING ||
		    !name_is_valid(config_setting_get_string(name)))
			continue;
		names[valid] = (struct named){config_setting_get_string(name), name, valid};
		valid++;
	}
	if (valid > 1)
		qsort(names, valid, sizeof(*names), compare_names);
	for (size_t i = 1; i < valid; i++) {
		char where[PLACE_TEXT_SIZE];
		if (strcmp(names[i - 1].name, names[i].name) != 0)
			continue;
		place_text(names[i - 1].setting, where);
		reader_error(reader, names[i].setting,
			     "found \"%s\" again (%s), expected each name only once", names[i].name,
			     where);
	}
	free(names);
}

static bool has_integrity(const struct config *config)
{
	for (size_t i = 0; i < config->egress_count; i++)
		if (config->egress[i].destination.integrity > 0)
			return true;
	return false;
}

static void check_queues(struct reader *reader, const config_setting_t *root)
{
	const struct config *config = reader->config;
	const config_setting_t *queues = config_setting_get_member(root, "queues");
	unsigned int kinds = has_integrity(config) ? 3 : 2;
	unsigned int end = config->queue_first + kinds * config->queue_count;
	if (queues && end > UINT16_MAX)
		reader_error(reader, queues,
			     "found first %u and count %u, expected first + %u * count to be at "
			     "most %u",
			     config->queue_first, config->queue_count, kinds, UINT16_MAX);
}

/* What the halves of a connection are to each other is known to the daemon alone, from the first
 * segment on. */
static void check_on_failure(struct reader *reader, const config_setting_t *group,
			     const struct egress_config *egress)
{
	const config_setting_t *setting = config_setting_get_member(group, "on_failure");
	if (setting && egress->destination.integrity > 0 && egress->on_failure == ON_FAILURE_PASS)
		reader_error(reader, setting,
			     "found \"pass\" beside integrity = %u, expected \"drop\": without the "
			     "daemon no connection can be made",
			     egress->destination.integrity);
}

void config_check(struct reader *reader, const config_setting_t *root)
{
	const struct config *config = reader->config;
	const config_setting_t *services = config_setting_get_member(root, "services");
	const config_setting_t *egress = config_setting_get_member(root, "egress");
	if (!services && !egress)
		reader_file_error(reader, NULL, 0,
				  "nothing to do: found neither services nor egress, expected at "
				  "least one entry in one of them");
	check_overlaps(reader, &reader->protected_places);
	check_overlaps(reader, &reader->egress_places);
	check_names(reader, services, config->service_count);
	check_names(reader, egress, config->egress_count);
	for (size_t i = 0; i < config->service_count; i++) {
		const config_setting_t *group = value_at(services, i);
		if (config_setting_is_group(group))
			check_decoy(reader, group, &config->services[i]);
	}
	for (size_t i = 0; i < config->egress_count; i++) {
		const config_setting_t *group = value_at(egress, i);
		if (config_setting_is_group(group))
			check_on_failure(reader, group, &config->egress[i]);
	}
	check_queues(reader, root);
}
