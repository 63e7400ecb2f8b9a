/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list egress = ( { ... }, … ): hidden servers that clients behind this gateway shall reach. */
#include <stdlib.h>

#include "config_reader.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* An egress destination while its group is being read. */
struct draft {
	struct egress_config *egress;
	struct places prefixes;
	const config_setting_t *ports;
};

static void read_egress_name(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	read_name(reader, setting, draft->egress->destination.name);
}

static void read_destination(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	read_addresses(reader, setting, true, &draft->prefixes);
}

static void read_egress_port(struct reader *reader, const config_setting_t *setting, void *target)
{
	(void)reader;
	struct draft *draft = target;
	draft->ports = setting;
}

static void read_egress_secret(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	size_t count;
	draft->egress->key = read_keys(reader, setting, false, &count);
	draft->egress->destination.key = draft->egress->key;
}

/* Each half-made connection has room for the longest of these and a segment more. */
static void read_first_bytes(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	uint16_t *integrity = &draft->egress->destination.integrity;
	struct splice_limits *limits = &reader->config->integrity;
	uint32_t needed;
	if (!read_integrity(reader, setting, integrity))
		return;
	warn_of_long_check(reader, setting, *integrity);
	needed = splice_limits_default(*integrity).buffer_size;
	if (needed > limits->buffer_size)
		limits->buffer_size = needed;
}

static void read_on_failure(struct reader *reader, const config_setting_t *setting, void *target)
{
	unsigned int value;
	if (read_choice(reader, setting, on_failure_words, &value))
		((struct draft *)target)->egress->on_failure = (enum on_failure)value;
}

static const struct field egress_fields[] = {
	{"name", read_egress_name, "a name for logs and counters"},
	{"destination", read_destination, "an address or prefix of servers, or a list"},
	{"port", read_egress_port, "the port of the servers, or a list"},
	{"secret", read_egress_secret, "the secret of the servers"},
	{"integrity", read_first_bytes, NULL},
	{"on_failure", read_on_failure, NULL},
};

static void combine_prefixes(struct reader *reader, const struct draft *draft)
{
	struct egress_config *egress = draft->egress;
	size_t count;
	const struct place *places = places_combine(reader, &draft->prefixes, draft->ports,
						    &reader->egress_places, &count);
	egress->prefixes = reader_allocate(reader, count, sizeof(*egress->prefixes));
	for (size_t i = 0; egress->prefixes && i < count; i++)
		egress->prefixes[egress->prefix_count++] = places[i].prefix;
}

static void read_destination_group(struct reader *reader, const config_setting_t *group,
				   struct egress_config *egress)
{
	struct draft draft = {.egress = egress};
	egress->line = config_setting_source_line(group);
	read_group(reader, group, egress_fields, COUNT_OF(egress_fields), &draft);
	if (draft.ports)
		combine_prefixes(reader, &draft);
	places_free(&draft.prefixes);
}

void read_egress(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct config *config = target;
	size_t count = value_count(reader, setting, "destination { name = ...; }");
	config->egress = reader_allocate(reader, count, sizeof(*config->egress));
	for (size_t i = 0; config->egress && i < count; i++) {
		struct egress_config *egress = &config->egress[config->egress_count++];
		egress->destination.index = (uint32_t)i;
		read_destination_group(reader, value_at(setting, i), egress);
	}
}

void egress_config_free(struct egress_config *egress)
{
	keys_free(egress->key, 1);
	free(egress->prefixes);
}
