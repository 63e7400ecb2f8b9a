/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ruleset.h"

#include <stdlib.h>
#include <string.h>

#include "ruleset_egress.h"

/* How long the answer to a probe may take until its port is no longer put back, and how many
 * answers may be outstanding for a port. */
#define PROBE_TIMEOUT "5s"
#define PROBE_LIMIT   65536

static const struct ip_family {
	const char *digit;
	const char *header;
	const char *type;
	uint8_t family;
} families[] = {
	{"4", "ip", "ipv4_addr", FAMILY_IPV4},
	{"6", "ip6", "ipv6_addr", FAMILY_IPV6},
};

#define FOR_EACH_FAMILY(row) for (const struct ip_family *row = families; row < families + 2; row++)

#define FOR_EACH_SERVICE(config, row)                               \
	for (const struct service_config *row = (config)->services; \
	     row < (config)->services + (config)->service_count; row++)

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
						      false, false};
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
	return used;
}

/* What an element of a set or map says about one endpoint of a service. */
typedef void (*element_writer)(FILE *stream, const struct service_config *service,
			       const struct endpoint *endpoint);

static void write_endpoint(FILE *stream, const struct service_config *service,
			   const struct endpoint *endpoint)
{
	char text[ENDPOINT_TEXT_SIZE];

	(void)service;
	fprintf(stream, "%s . %u", endpoint_format_address(endpoint, text), endpoint->port);
}

static void write_decoy_mapping(FILE *stream, const struct service_config *service,
				const struct endpoint *endpoint)
{
	char text[ENDPOINT_TEXT_SIZE];

	write_endpoint(stream, service, endpoint);
	fprintf(stream, " : %s . %u", endpoint_format_address(endpoint, text), service->decoy_port);
}

/* Whether nobody gets in, whoever asks. */
static bool is_shut(const struct service_config *service)
{
	return service->retired;
}

enum { SETTLE_NAME_SIZE = 48 };

/* The chain that settles the fate of packets to a port of a service: services with the same fates
 * share it, so that it rarely changes. */
static const char *settle_name(char name[static SETTLE_NAME_SIZE],
			       const struct service_config *service, uint16_t port)
{
	static const char *const words[] = {
		[REJECT_CLOSED] = "closed", [REJECT_RESET] = "reset", [REJECT_DROP] = "drop"};
	char ports[16] = "";

	if (service->reject == REJECT_CLOSED)
		snprintf(ports, sizeof(ports), "_%u_%u", port, service->decoy_port);
	snprintf(name, SETTLE_NAME_SIZE, "settle_%s%s%s%s", words[service->reject], ports,
		 service->backend_count > 0 ? "_backend" : "", is_shut(service) ? "_shut" : "");
	return name;
}

static void write_refusal(FILE *stream, const struct service_config *service,
			  const struct endpoint *endpoint)
{
	char name[SETTLE_NAME_SIZE];

	write_endpoint(stream, service, endpoint);
	fprintf(stream, " : goto %s", settle_name(name, service, endpoint->port));
}

static const struct backend *backend_of(const struct service_config *service, uint8_t family)
{
	for (size_t i = 0; i < service->backend_count; i++)
		if (service->backends[i].endpoint.family == family)
			return &service->backends[i];
	return NULL;
}

static void write_backend_mapping(FILE *stream, const struct service_config *service,
				  const struct endpoint *endpoint)
{
	const struct backend *backend = backend_of(service, endpoint->family);
	uint16_t port = backend->endpoint.port == 0 ? endpoint->port : backend->endpoint.port;
	char text[ENDPOINT_TEXT_SIZE];

	write_endpoint(stream, service, endpoint);
	fprintf(stream, " : %s . %u", endpoint_format_address(&backend->endpoint, text), port);
}

static bool every_service(const struct service_config *service, uint8_t family)
{
	(void)service;
	(void)family;
	return true;
}

static bool with_decoy(const struct service_config *service, uint8_t family)
{
	(void)family;
	return service->reject == REJECT_CLOSED;
}

static bool with_backend(const struct service_config *service, uint8_t family)
{
	return !service->retired && backend_of(service, family) != NULL;
}

/* One set or map over the endpoints of those services that wanted() names. */
static void write_collection(FILE *stream, const struct config *config,
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

static void write_sets(FILE *stream, const struct config *config)
{
	FOR_EACH_FAMILY(family)
	{
		char endpoint_type[40];

		snprintf(endpoint_type, sizeof(endpoint_type), "%s . inet_service", family->type);
		write_collection(stream, config, family, "set", "services", "", every_service,
				 write_endpoint);
		write_collection(stream, config, family, "map", "decoys", endpoint_type, with_decoy,
				 write_decoy_mapping);
		write_collection(stream, config, family, "map", "backends", endpoint_type,
				 with_backend, write_backend_mapping);
	}
}

/* A service port together with the port that answers in its place. */
struct decoy_pair {
	uint16_t port;
	uint16_t decoy;
};

struct decoy_pairs {
	struct decoy_pair *list;
	size_t count;
};

static bool decoy_pairs_have(const struct decoy_pairs *pairs, struct decoy_pair pair)
{
	for (size_t i = 0; i < pairs->count; i++)
		if (pairs->list[i].port == pair.port && pairs->list[i].decoy == pair.decoy)
			return true;
	return false;
}

/* All distinct pairs. When memory is short the list is empty: the ruleset then names chains that do
 * not exist, and the kernel refuses it. */
static struct decoy_pairs decoy_pairs_of(const struct config *config)
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

/* Whether an earlier endpoint, of this service or another, has the same settle chain. */
static bool settle_seen_before(const struct config *config, const struct service_config *last,
			       size_t index)
{
	char wanted[SETTLE_NAME_SIZE];
	char name[SETTLE_NAME_SIZE];

	settle_name(wanted, last, last->endpoints[index].port);
	FOR_EACH_SERVICE(config, service)
	{
		size_t count = service == last ? index : service->endpoint_count;
		for (size_t i = 0; i < count; i++)
			if (strcmp(settle_name(name, service, service->endpoints[i].port),
				   wanted) == 0)
				return true;
		if (service == last)
			break;
	}
	return false;
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
static void write_restore(FILE *stream, const struct decoy_pairs *pairs, const struct marks *marks)
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

/* The statements that move a verdict from the packet mark to the ct mark. */
static void write_authorised(FILE *stream, const struct marks *marks)
{
	const uint32_t states[] = {marks->verified, marks->pending};

	fputs("\tchain authorised {\n", stream);
	/* An out-of-window segment of a verified connection has no ct: guard wants to see its mark.
	 */
	fprintf(stream, "\t\tct state invalid meta mark & 0x%08x == 0x%08x accept\n", marks->mask,
		marks->verified);
	for (size_t i = 0; i < 2; i++)
		fprintf(stream,
			"\t\tmeta mark & 0x%08x == 0x%08x ct mark set ct mark & 0x%08x | 0x%08x "
			"meta mark set meta mark & 0x%08x accept\n",
			marks->mask, states[i], ~marks->mask, states[i], ~marks->mask);
	fprintf(stream, "\t\tmeta mark set meta mark & 0x%08x\n\t}\n\n", ~marks->mask);
}

/* Where unauthorised packets of a service go. */
static void write_refusal_rules(FILE *stream, const struct service_config *service, uint16_t port,
				const struct marks *marks)
{
	if (service->reject == REJECT_DROP) {
		fputs("\t\tdrop\n", stream);
		return;
	}
	if (service->reject == REJECT_RESET) {
		fputs("\t\treject with tcp reset\n", stream);
		return;
	}
	fprintf(stream, "\t\tct state invalid goto decoy_%u_%u\n", port, service->decoy_port);
	fprintf(stream, "\t\tct status confirmed ct mark & 0x%08x == 0x%08x accept\n", marks->mask,
		marks->refused);
	fprintf(stream, "\t\tct status confirmed ct mark & 0x%08x != 0x00000000 drop\n",
		marks->mask);
	/* NAT was settled before this table saw the connection, so balance cannot refuse it. */
	fputs("\t\tct status dnat drop\n", stream);
	fprintf(stream, "\t\tct status confirmed goto decoy_%u_%u\n", port, service->decoy_port);
	fprintf(stream, "\t\tct mark set ct mark & 0x%08x | 0x%08x\n", ~marks->mask,
		marks->refused);
}

static void write_settle_chain(FILE *stream, const struct service_config *service, uint16_t port,
			       const struct marks *marks)
{
	char name[SETTLE_NAME_SIZE];

	fprintf(stream, "\tchain %s {\n", settle_name(name, service, port));
	/* Without ct nothing translates it for the backend. */
	if (service->backend_count > 0)
		fprintf(stream, "\t\tct state invalid meta mark & 0x%08x == 0x%08x drop\n",
			marks->mask, marks->verified);
	if (is_shut(service))
		fprintf(stream,
			"\t\ttcp flags & (fin | syn | rst | ack) != syn jump authorised\n"
			"\t\tmeta mark set meta mark & 0x%08x\n",
			~marks->mask);
	else
		fputs("\t\tjump authorised\n", stream);
	write_refusal_rules(stream, service, port, marks);
	fputs("\t}\n\n", stream);
}

static void write_settle_chains(FILE *stream, const struct config *config,
				const struct marks *marks)
{
	FOR_EACH_SERVICE(config, service)
	{
		for (size_t i = 0; i < service->endpoint_count; i++)
			if (!settle_seen_before(config, service, i))
				write_settle_chain(stream, service, service->endpoints[i].port,
						   marks);
	}
}

#define SYN_ONLY "tcp flags & (fin | syn | rst | ack) == syn"

/* The first look at a packet: what needs no question, and who is asked about the rest.
 * Without a daemon nobody knows whether an invalid segment belongs to a verified connection. An ACK
 * then waits, since the decoy's RST would end that connection; a FIN is also the first segment of a
 * scan and may go to the decoy, since its connection is ending anyway. */
static void write_protect(FILE *stream, const struct marks *marks)
{
	fprintf(stream,
		"\tchain ask_syn {\n"
		"\t\tiif != \"lo\" ct status confirmed meta mark set meta mark | 0x%08x\n"
		"\t\tgoto ask\n"
		"\t}\n\n",
		marks->refused);
	fprintf(stream,
		"\tchain gate {\n"
		"\t\tmeta mark set meta mark & 0x%08x\n"
		"\t\tct state invalid tcp flags & (fin | syn | rst | ack) == ack goto ask_firmly\n"
		"\t\tct state invalid tcp flags & (syn | rst | ack) == ack goto ask\n"
		"\t\tct state invalid return\n"
		"\t\t" SYN_ONLY " goto ask_syn\n"
		"\t\tct mark & 0x%08x == 0x%08x goto ask\n"
		"\t}\n\n",
		~marks->mask, marks->mask, marks->pending);
	fprintf(stream,
		"\tchain protect {\n"
		"\t\ttype filter hook prerouting priority mangle - 5; policy accept;\n"
		"\t\tct mark & 0x%08x == 0x%08x tcp flags & (fin | syn | rst | ack) != syn accept\n"
		"\t\tip daddr . tcp dport @services4 goto gate\n"
		"\t\tip6 daddr . tcp dport @services6 goto gate\n"
		"\t}\n\n",
		marks->mask, marks->verified);
}

static void write_settle(FILE *stream, const struct marks *marks)
{
	fprintf(stream,
		"\tchain settle {\n"
		"\t\ttype filter hook prerouting priority mangle - 4; policy accept;\n"
		"\t\tct mark & 0x%08x == 0x%08x tcp flags & (fin | syn | rst | ack) != syn accept\n"
		"\t\tip daddr . tcp dport vmap @settle4\n"
		"\t\tip6 daddr . tcp dport vmap @settle6\n"
		"\t}\n\n",
		marks->mask, marks->verified);
}

static void write_balance(FILE *stream, const struct marks *marks)
{
	static const struct {
		const char *chain;
		const char *map;
	} ways[] = {{"refused", "decoys"}, {"admitted", "backends"}};

	for (size_t i = 0; i < 2; i++) {
		fprintf(stream, "\tchain %s {\n", ways[i].chain);
		FOR_EACH_FAMILY(family)
		{
			fprintf(stream,
				"\t\tmeta l4proto tcp dnat %s to %s daddr . tcp dport map @%s%s\n",
				family->header, family->header, ways[i].map, family->digit);
		}
		fputs("\t}\n\n", stream);
	}
	/* Ahead of the administrator's own dstnat chains, which then see what is left. */
	fprintf(stream,
		"\tchain balance {\n"
		"\t\ttype nat hook prerouting priority dstnat - 5; policy accept;\n"
		"\t\tct mark & 0x%08x vmap { 0x%08x : goto admitted, 0x%08x : goto admitted, "
		"0x%08x : goto refused }\n"
		"\t}\n\n",
		marks->mask, marks->verified, marks->pending, marks->refused);
}

/* The last look: whatever other rules have done, only verified connections reach a service. */
static void write_guard(FILE *stream, const struct decoy_pairs *pairs, const struct marks *marks)
{
	fputs("\tchain guard_refused {\n", stream);
	for (size_t i = 0; i < pairs->count; i++)
		fprintf(stream, "\t\ttcp dport %u accept\n", pairs->list[i].decoy);
	fputs("\t\tdrop\n\t}\n\n", stream);
	fprintf(stream,
		"\tchain guard {\n"
		"\t\ttype filter hook prerouting priority dstnat + 5; policy accept;\n"
		"\t\tct mark & 0x%08x == 0x%08x accept\n"
		"\t\tct mark & 0x%08x == 0x%08x accept\n"
		"\t\tct mark & 0x%08x == 0x%08x ct direction original meta l4proto tcp "
		"goto guard_refused\n"
		"\t\tct state invalid meta mark & 0x%08x == 0x%08x meta mark set meta mark & "
		"0x%08x accept\n"
		"\t\tip daddr . tcp dport @services4 drop\n"
		"\t\tip6 daddr . tcp dport @services6 drop\n"
		"\t}\n\n",
		marks->mask, marks->verified, marks->mask, marks->pending, marks->mask,
		marks->refused, marks->mask, marks->verified, ~marks->mask);
}

/* What a server says in a pending connection tells how much of the held bytes it has got. What
 * comes from us has both bits in its mark, which no pending connection has. */
static void write_replies(FILE *stream, const struct config *config, const struct marks *marks)
{
	bool wanted = false;

	FOR_EACH_SERVICE(config, service)
	{
		wanted = wanted || service->service.reassemble;
	}
	fputs("\tchain replies {\n"
	      "\t\ttype filter hook postrouting priority srcnat + 50; policy accept;\n",
	      stream);
	if (wanted)
		fprintf(stream,
			"\t\tct direction reply ct mark & 0x%08x == 0x%08x meta mark & 0x%08x != "
			"0x%08x goto ask\n",
			marks->mask, marks->pending, marks->mask, marks->mask);
	fputs("\t}\n\n", stream);
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

static void write_protect_role(FILE *stream, const struct config *config, const struct marks *marks)
{
	struct decoy_pairs pairs = decoy_pairs_of(config);

	write_sets(stream, config);
	write_probe_sets(stream, &pairs);
	write_decoy_chains(stream, &pairs);
	write_authorised(stream, marks);
	write_settle_chains(stream, config, marks);
	FOR_EACH_FAMILY(family)
	{
		write_collection(stream, config, family, "map", "settle", "verdict", every_service,
				 write_refusal);
	}
	write_restore(stream, &pairs, marks);
	write_protect(stream, marks);
	write_settle(stream, marks);
	write_balance(stream, marks);
	write_guard(stream, &pairs, marks);
	write_replies(stream, config, marks);
	free(pairs.list);
}

void ruleset_write(FILE *stream, const struct config *config, bool native_queue)
{
	struct marks marks = marks_from_mask(config->mark);

	fputs("table inet " RULESET_TABLE " {\n", stream);
	write_queue_chains(stream, config, native_queue);
	if (config->service_count > 0)
		write_protect_role(stream, config, &marks);
	if (config->egress_count > 0)
		ruleset_write_egress(stream, config, &marks);
	fputs("}\n", stream);
}
