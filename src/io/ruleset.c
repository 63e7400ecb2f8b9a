/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ruleset_egress.h"
#include "ruleset_internal.h"
#include "ruleset_splice.h"

const struct ip_family ip_families[2] = {
	{"4", "ip", "ipv4_addr", FAMILY_IPV4},
	{"6", "ip6", "ipv6_addr", FAMILY_IPV6},
};

struct marks marks_from_mask(uint32_t mask)
{
	uint32_t first = mask & (~mask + 1);
	uint32_t rest = mask & ~first;
	uint32_t second = rest & (~rest + 1);

	return (struct marks){mask, first, second, first | second};
}

uint16_t ruleset_protect_queue(const struct config *config)
{
	return config->queue_first;
}

uint16_t ruleset_egress_queue(const struct config *config)
{
	return (uint16_t)(config->queue_first + config->queue_count);
}

uint16_t ruleset_egress_queues(const struct config *config)
{
	return config->queue_count < FLOW_SHARDS ? config->queue_count : FLOW_SHARDS;
}

uint16_t ruleset_splice_queue(const struct config *config)
{
	return (uint16_t)(ruleset_egress_queue(config) + ruleset_egress_queues(config));
}

uint16_t ruleset_splice_queues(const struct config *config)
{
	return ruleset_splice_wanted(config) ? ruleset_egress_queues(config) : 0;
}

static size_t splice_chains(const struct config *config, struct queue_chain *chains)
{
	uint16_t first = ruleset_splice_queue(config);
	uint16_t count = ruleset_splice_queues(config);
	size_t used = 0;

	for (uint16_t i = 0; i < count; i++) {
		struct queue_chain *chain = &chains[used++];
		*chain = (struct queue_chain){"", (uint16_t)(first + i), 1, false, true};
		snprintf(chain->name, sizeof(chain->name), "splice_%u", i);
	}
	if (count > 0)
		chains[used++] = (struct queue_chain){"splice_errors", first, 1, true, false};
	return used;
}

size_t ruleset_queue_chains(const struct config *config,
			    struct queue_chain chains[static QUEUE_CHAINS_MAX])
{
	uint16_t protect = ruleset_protect_queue(config);
	uint16_t egress = ruleset_egress_queue(config);
	size_t used = 0;

	if (config->service_count > 0) {
		chains[used++] =
			(struct queue_chain){"ask", protect, config->queue_count, true, false};
		chains[used++] = (struct queue_chain){"ask_firmly", protect, config->queue_count,
						      false, true};
	}
	for (uint16_t i = 0; config->egress_count > 0 && i < ruleset_egress_queues(config); i++) {
		/* ICMP errors always may pass, and always go to the first queue. */
		int kinds = i == 0 || ruleset_egress_may_pass(config) ? 2 : 1;
		for (int bypass = 0; bypass < kinds; bypass++) {
			struct queue_chain *chain = &chains[used++];
			*chain = (struct queue_chain){"", (uint16_t)(egress + i), 1, bypass != 0,
						      true};
			snprintf(chain->name, sizeof(chain->name), "translate%s_%u",
				 bypass != 0 ? "_or_pass" : "", i);
		}
	}
	return used + splice_chains(config, chains + used);
}

void ruleset_write_endpoint(FILE *stream, const struct service_config *service,
			    const struct endpoint *endpoint)
{
	char text[ENDPOINT_TEXT_SIZE];

	(void)service;
	fprintf(stream, "%s . %u", endpoint_format_address(endpoint, text), endpoint->port);
}

bool ruleset_every_service(const struct service_config *service, uint8_t family)
{
	(void)service;
	(void)family;
	return true;
}

void ruleset_write_collection(FILE *stream, const struct config *config,
			      const struct ip_family *family, const char *kind, const char *name,
			      const char *value_type,
			      bool (*wanted)(const struct service_config *, uint8_t),
			      element_writer write_element)
{
	bool first = true;

	fprintf(stream, "\t%s %s%s {\n\t\ttype %s . inet_service%s%s\n", kind, name, family->digit,
		family->type, *value_type ? " : " : "", value_type);
	FOR_EACH_SERVICE(config, service)
	{
		if (!wanted(service, family->family))
			continue;
		for (size_t i = 0; i < service->endpoint_count; i++) {
			if (service->endpoints[i].family != family->family)
				continue;
			fputs(first ? "\t\telements = { " : ",\n\t\t\t     ", stream);
			write_element(stream, service, &service->endpoints[i]);
			first = false;
		}
	}
	fputs(first ? "\t}\n\n" : " }\n\t}\n\n", stream);
}

void ruleset_write_queue_chain(FILE *stream, const struct queue_chain *chain, bool native_queue)
{
	const char *bypass = chain->bypass ? "flags bypass " : "";

	fprintf(stream, "\tchain %s {\n", chain->name);
	if (native_queue && chain->count == 1)
		fprintf(stream, "\t\tqueue %sto %u\n", bypass, chain->first);
	else if (native_queue)
		fprintf(stream, "\t\tqueue %sto %u-%d\n", bypass, chain->first,
			chain->first + chain->count - 1);
	else if (chain->drop)
		fputs("\t\tdrop\n", stream);
	fputs("\t}\n\n", stream);
}

static void write_queue_chains(FILE *stream, const struct config *config, bool native_queue)
{
	struct queue_chain chains[QUEUE_CHAINS_MAX];
	size_t count = ruleset_queue_chains(config, chains);

	for (size_t i = 0; i < count; i++)
		ruleset_write_queue_chain(stream, &chains[i], native_queue);
}

static void write_table(FILE *stream, const struct config *config, bool native_queue, bool held)
{
	struct marks marks = marks_from_mask(config->mark);

	fputs("table inet " RULESET_TABLE " {\n", stream);
	write_queue_chains(stream, config, native_queue);
	if (config->service_count > 0)
		ruleset_write_protect(stream, config, &marks);
	if (config->egress_count > 0)
		ruleset_write_egress(stream, config, &marks, held);
	if (ruleset_splice_wanted(config))
		ruleset_write_splice(stream, config, &marks, held);
	fputs("}\n", stream);
}

void ruleset_write(FILE *stream, const struct config *config, bool native_queue)
{
	write_table(stream, config, native_queue, false);
}

void ruleset_write_held(FILE *stream, const struct config *config, bool native_queue)
{
	write_table(stream, config, native_queue, true);
}
