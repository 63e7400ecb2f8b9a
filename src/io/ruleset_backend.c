/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Verified connections are translated to a backend of their service, by the kernel alone. NAT is
 * for connections: whatever changes here later, one that is under way stays where it is. */
#include "core/slots.h"
#include "ruleset_internal.h"

/* Any number will do, but always the same: with another one all clients would move. */
#define HASH_SEED "0x6b67"

/* Backends of one family that take new connections. */
struct choice {
	struct slot_backend list[BACKENDS_LIMIT];
	size_t count;
};

bool ruleset_has_backends(const struct service_config *service, uint8_t family)
{
	for (size_t i = 0; i < service->backend_count; i++)
		if (service->backends[i].endpoint.family == family)
			return true;
	return false;
}

static struct choice choice_of(const struct service_config *service, uint8_t family, uint16_t port)
{
	struct choice choice = {.count = 0};

	for (size_t i = 0; i < service->backend_count && !service->retired; i++) {
		const struct backend *backend = &service->backends[i];
		if (backend->endpoint.family != family || !backend_takes_connections(backend) ||
		    choice.count == BACKENDS_LIMIT)
			continue;
		struct slot_backend *chosen = &choice.list[choice.count++];
		*chosen = (struct slot_backend){backend->endpoint, backend->weight};
		if (chosen->endpoint.port == 0)
			chosen->endpoint.port = port;
	}
	return choice;
}

bool ruleset_is_shut(const struct service_config *service, uint8_t family)
{
	bool reachable = !ruleset_has_backends(service, family);

	for (size_t i = 0; i < service->backend_count; i++)
		reachable = reachable || (service->backends[i].endpoint.family == family &&
					  backend_takes_connections(&service->backends[i]));
	return service->retired || !reachable;
}

static void write_target(FILE *stream, const struct slot_backend *backend)
{
	char text[ENDPOINT_TEXT_SIZE];

	fprintf(stream, "%s . %u", endpoint_format_address(&backend->endpoint, text),
		backend->endpoint.port);
}

static void write_slots(FILE *stream, const struct choice *choice, const uint16_t *slots,
			size_t count)
{
	for (size_t i = 0; i < count; i++) {
		fprintf(stream, "%s%zu : ", i > 0 ? ", " : "", i);
		write_target(stream, &choice->list[slots[i]]);
	}
}

/* A random number below the sum of the weights falls into the interval of one backend. */
static void write_intervals(FILE *stream, const struct choice *choice)
{
	uint32_t from = 0;
	uint32_t sum = 0;

	for (size_t i = 0; i < choice->count; i++)
		sum += choice->list[i].weight;
	fprintf(stream, "numgen random mod %u map { ", sum);
	for (size_t i = 0; i < choice->count; i++) {
		uint32_t to = from + choice->list[i].weight - 1;
		fprintf(stream, "%s%u", i > 0 ? ", " : "", from);
		if (to > from)
			fprintf(stream, "-%u", to);
		fputs(" : ", stream);
		write_target(stream, &choice->list[i]);
		from = to + 1;
	}
}

static void write_schedule(FILE *stream, const struct choice *choice, enum schedule schedule,
			   const struct ip_family *family)
{
	uint16_t slots[SLOTS];
	size_t count = SLOTS;

	fprintf(stream, "\t\tmeta l4proto tcp dnat %s to ", family->header);
	if (schedule == SCHEDULE_RANDOM) {
		write_intervals(stream, choice);
	} else if (schedule == SCHEDULE_ROUND_ROBIN) {
		count = slots_in_turn(choice->list, choice->count, slots);
		fprintf(stream, "numgen inc mod %zu map { ", count);
		write_slots(stream, choice, slots, count);
	} else {
		slots_by_hash(choice->list, choice->count, slots);
		fprintf(stream, "jhash %s saddr mod %zu seed " HASH_SEED " map { ", family->header,
			count);
		write_slots(stream, choice, slots, count);
	}
	fputs(" }\n", stream);
}

/* In the moment in which a transaction replaces a map, a look-up in the old one may find nothing:
 * its elements go before the last packet has left the old rules. Any backend is then better than
 * none. */
static void write_choice(FILE *stream, const struct choice *choice, enum schedule schedule,
			 const struct ip_family *family)
{
	char text[ENDPOINT_TEXT_SIZE];

	if (choice->count == 0)
		return;
	if (choice->count > 1)
		write_schedule(stream, choice, schedule, family);
	fprintf(stream, "\t\tmeta l4proto tcp dnat %s to %s\n", family->header,
		endpoint_format(&choice->list[0].endpoint, text));
}

static bool port_seen_before(const struct service_config *service, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (service->endpoints[i].port == service->endpoints[index].port)
			return true;
	return false;
}

/* The chain of a service and port. The last rule is for a connection that was admitted just before
 * the last backend went: its SYN is dropped, the next one is refused. */
static void write_service(FILE *stream, const struct service_config *service, uint16_t port)
{
	fprintf(stream, "\tchain to_%s_%u {\n", service->service.name, port);
	FOR_EACH_FAMILY(family)
	{
		struct choice choice = choice_of(service, family->family, port);
		write_choice(stream, &choice, service->schedule, family);
	}
	fputs("\t\tdrop\n\t}\n\n", stream);
}

static bool is_balanced(const struct service_config *service, uint8_t family)
{
	return !service->retired && ruleset_has_backends(service, family);
}

static bool is_masqueraded(const struct service_config *service, uint8_t family)
{
	return service->snat && is_balanced(service, family);
}

static void write_way(FILE *stream, const struct service_config *service,
		      const struct endpoint *endpoint)
{
	ruleset_write_endpoint(stream, service, endpoint);
	fprintf(stream, " : goto to_%s_%u", service->service.name, endpoint->port);
}

/* Backends with snat = true see this gateway as their client. The base chain is always there: what
 * waits in a queue of postrouting would lose its place if one came later. */
static void write_masquerade(FILE *stream, const struct config *config, const struct marks *marks)
{
	FOR_EACH_FAMILY(family)
	{
		ruleset_write_collection(stream, config, family, "set", "snat", "", is_masqueraded,
					 ruleset_write_endpoint);
	}
	fputs("\tchain masqueraded {\n", stream);
	FOR_EACH_FAMILY(family)
	{
		fprintf(stream,
			"\t\tmeta l4proto tcp ct original %s daddr . ct original proto-dst "
			"@snat%s masquerade\n",
			family->header, family->digit);
	}
	fprintf(stream,
		"\t}\n\n"
		"\tchain masquerade_backends {\n"
		"\t\ttype nat hook postrouting priority srcnat - 5; policy accept;\n"
		"\t\tct status dnat ct mark & 0x%08x vmap { 0x%08x : goto masqueraded, "
		"0x%08x : goto masqueraded }\n"
		"\t}\n\n",
		marks->mask, marks->verified, marks->pending);
}

void ruleset_write_backends(FILE *stream, const struct config *config, const struct marks *marks)
{
	FOR_EACH_SERVICE(config, service)
	{
		for (size_t i = 0; i < service->endpoint_count; i++)
			if (is_balanced(service, service->endpoints[i].family) &&
			    !port_seen_before(service, i))
				write_service(stream, service, service->endpoints[i].port);
	}
	FOR_EACH_FAMILY(family)
	{
		ruleset_write_collection(stream, config, family, "map", "backends", "verdict",
					 is_balanced, write_way);
	}
	fputs("\tchain admitted {\n"
	      "\t\tip daddr . tcp dport vmap @backends4\n"
	      "\t\tip6 daddr . tcp dport vmap @backends6\n"
	      "\t}\n\n"
	      "\tchain refused {\n",
	      stream);
	FOR_EACH_FAMILY(family)
	{
		fprintf(stream,
			"\t\tmeta l4proto tcp dnat %s to %s daddr . tcp dport map @decoys%s\n",
			family->header, family->header, family->digit);
	}
	/* Ahead of the administrator's own dstnat chains, which then see what is left. */
	fprintf(stream,
		"\t}\n\n"
		"\tchain balance {\n"
		"\t\ttype nat hook prerouting priority dstnat - 5; policy accept;\n"
		"\t\tct mark & 0x%08x vmap { 0x%08x : goto admitted, 0x%08x : goto admitted, "
		"0x%08x : goto refused }\n"
		"\t}\n\n",
		marks->mask, marks->verified, marks->pending, marks->refused);
	write_masquerade(stream, config, marks);
}
