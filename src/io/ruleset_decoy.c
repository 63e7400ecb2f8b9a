/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refused packets go to a port that is really closed: by NAT, or, where conntrack calls them
 * invalid, by rewriting the port and remembering who waits for the answer. */
#include <stdlib.h>

#include "ruleset_internal.h"

/* How long the answer to a probe may take until its port is no longer put back, and how many
 * answers may be outstanding for a port. */
#define PROBE_TIMEOUT "5s"
#define PROBE_LIMIT   65536

static void write_decoy_mapping(FILE *stream, const struct service_config *service,
				const struct endpoint *endpoint)
{
	char text[ENDPOINT_TEXT_SIZE];

	ruleset_write_endpoint(stream, service, endpoint);
	fprintf(stream, " : %s . %u", endpoint_format_address(endpoint, text), service->decoy_port);
}

static bool with_decoy(const struct service_config *service, uint8_t family)
{
	(void)family;
	return service->reject == REJECT_CLOSED;
}

static bool decoy_pairs_have(const struct decoy_pairs *pairs, struct decoy_pair pair)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (pairs->list[i].port == pair.port && pairs->list[i].decoy == pair.decoy)
			return true;
	return false;
}

struct decoy_pairs ruleset_decoy_pairs(const struct config *config)
{
	struct decoy_pairs pairs = {0};
	size_t room = 0;

	FOR_EACH_SERVICE(config, service)
	{
		room += service->endpoint_count;
	}
	pairs.list = calloc(room + 1, sizeof(*pairs.list));
	if (pairs.list == NULL)
		return pairs;
	FOR_EACH_SERVICE(config, service)
	{
		if (service->reject != REJECT_CLOSED)
			continue;
		for (size_t i = 0; i < service->endpoint_count; i++) {
			struct decoy_pair pair = {service->endpoints[i].port, service->decoy_port};
			if (!decoy_pairs_have(&pairs, pair))
				pairs.list[pairs.count++] = pair;
		}
	}
	return pairs;
}

/* Which clients wait for the answer to a probe that conntrack calls invalid. */
static void write_probe_sets(FILE *stream, const struct decoy_pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		FOR_EACH_FAMILY(family)
		{
			fprintf(stream,
				"\tset probes%s_%u_%u {\n"
				"\t\ttype %s . inet_service . %s\n"
				"\t\tsize %d\n"
				"\t\tflags dynamic,timeout\n"
				"\t\ttimeout " PROBE_TIMEOUT "\n"
				"\t}\n\n",
				family->digit, pairs->list[i].port, pairs->list[i].decoy,
				family->type, family->type, PROBE_LIMIT);
		}
	}
}

/* Answers of a decoy port to a remembered probe get the service's port back. */
void ruleset_write_answers(FILE *stream, const struct decoy_pairs *pairs, const struct marks *marks)
{
	fputs("\tchain restore {\n", stream);
	for (size_t i = 0; i < pairs->count; i++) {
		FOR_EACH_FAMILY(family)
		{
			fprintf(stream,
				"\t\ttcp sport %u %s daddr . tcp dport . %s saddr @probes%s_%u_%u "
				"tcp sport set %u\n",
				pairs->list[i].decoy, family->header, family->header, family->digit,
				pairs->list[i].port, pairs->list[i].decoy, pairs->list[i].port);
		}
	}
	fputs("\t}\n\n"
	      "\tchain answers {\n"
	      "\t\ttype filter hook prerouting priority raw; policy accept;\n"
	      "\t\ttcp flags & rst == rst goto restore\n"
	      "\t}\n\n"
	      "\tchain answers_local {\n"
	      "\t\ttype filter hook output priority raw; policy accept;\n"
	      "\t\ttcp flags & rst == rst goto restore\n",
	      stream);
	/* Our acknowledgements of held bytes: conntrack would take an RST at what the server really
	 * expects for an old one. */
	FOR_EACH_FAMILY(family)
	{
		fprintf(stream,
			"\t\tmeta mark & 0x%08x == 0x%08x %s saddr . tcp sport @services%s "
			"notrack\n",
			marks->mask, marks->refused, family->header, family->digit);
	}
	fputs("\t}\n\n", stream);
}

static void write_decoy_chains(FILE *stream, const struct decoy_pairs *pairs)
{
	for (size_t i = 0; i < pairs->count; i++) {
		fprintf(stream, "\tchain decoy_%u_%u {\n", pairs->list[i].port,
			pairs->list[i].decoy);
		FOR_EACH_FAMILY(family)
		{
			fprintf(stream,
				"\t\tupdate @probes%s_%u_%u { %s saddr . tcp sport . %s daddr } "
				"tcp dport set %u\n",
				family->digit, pairs->list[i].port, pairs->list[i].decoy,
				family->header, family->header, pairs->list[i].decoy);
		}
		fputs("\t}\n\n", stream);
	}
}

void ruleset_write_decoys(FILE *stream, const struct config *config,
			  const struct decoy_pairs *pairs)
{
	FOR_EACH_FAMILY(family)
	{
		char endpoint_type[40];

		snprintf(endpoint_type, sizeof(endpoint_type), "%s . inet_service", family->type);
		ruleset_write_collection(stream, config, family, "map", "decoys", endpoint_type,
					 with_decoy, write_decoy_mapping);
	}
	write_probe_sets(stream, pairs);
	write_decoy_chains(stream, pairs);
}
