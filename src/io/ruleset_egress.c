/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ruleset_egress.h"

#include <string.h>

#include "ruleset_internal.h"
#include "ruleset_splice.h"

#define ICMP_ERRORS \
	"icmp type { destination-unreachable, source-quench, time-exceeded, parameter-problem }"
#define ICMPV6_ERRORS                                                                              \
	"icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem " \
	"}"

/* A flood of errors must not keep the queue from translating; what is beyond goes on untranslated,
 * which TCP takes for an error about something else. */
#define ERROR_LIMIT " limit rate 1000/second burst 1000 packets"

/* Untranslated connections that were opened while the daemon was away; only then the set is used.
 */
#define UNTRANSLATED_TIMEOUT "5d"
#define UNTRANSLATED_LIMIT   65536

static void write_prefix(FILE *stream, const struct prefix *prefix)
{
	char text[ENDPOINT_TEXT_SIZE];

	endpoint_format_address(&prefix->base, text);
	if (prefix_is_address(prefix))
		fprintf(stream, "%s . %u", text, prefix->base.port);
	else
		fprintf(stream, "%s/%u . %u", text, prefix->length, prefix->base.port);
}

bool ruleset_egress_may_pass(const struct config *config)
{
	for (size_t i = 0; i < config->egress_count; i++)
		if (config->egress[i].on_failure == ON_FAILURE_PASS)
			return true;
	return false;
}

/* The kernel finds whole addresses by hash, which is faster than prefixes. */
static bool has_prefixes(const struct config *config)
{
	for (size_t i = 0; i < config->egress_count; i++) {
		const struct egress_config *egress = &config->egress[i];
		for (size_t k = 0; k < egress->prefix_count; k++)
			if (!prefix_is_address(&egress->prefixes[k]))
				return true;
	}
	return false;
}

const char *ruleset_set_kind(const struct config *config)
{
	return has_prefixes(config) ? "_prefixes" : "";
}

bool ruleset_egress_needs_hold(const struct config *config, const char *installed)
{
	if (!has_prefixes(config))
		return false;
	return installed == NULL || strstr(installed, "\tset egress_prefixes4 {\n") == NULL ||
	       (ruleset_splice_wanted(config) &&
		strstr(installed, "\tset splice_prefixes4 {\n") == NULL);
}

/* Destinations of authentication mode, and those of them whose new connections may pass. */
static bool is_plain(const struct egress_config *egress)
{
	return egress->destination.integrity == 0;
}

static bool is_passing(const struct egress_config *egress)
{
	return egress->on_failure == ON_FAILURE_PASS;
}

void ruleset_write_prefix_set(FILE *stream, const struct config *config, uint8_t number,
			      const char *name, bool (*wanted)(const struct egress_config *egress))
{
	const struct ip_family *family = &ip_families[number == FAMILY_IPV6];
	bool first = true;

	fprintf(stream, "\tset %s%s%s {\n\t\ttype %s . inet_service\n%s", name,
		ruleset_set_kind(config), family->digit, family->type,
		has_prefixes(config) ? "\t\tflags interval\n" : "");
	for (size_t i = 0; i < config->egress_count; i++) {
		const struct egress_config *egress = &config->egress[i];

		if (!wanted(egress))
			continue;
		for (size_t k = 0; k < egress->prefix_count; k++) {
			if (egress->prefixes[k].base.family != family->family)
				continue;
			fputs(first ? "\t\telements = { " : ",\n\t\t\t     ", stream);
			write_prefix(stream, &egress->prefixes[k]);
			first = false;
		}
	}
	fputs(first ? "\t}\n\n" : " }\n\t}\n\n", stream);
}

/* What tells translated connections from others while the daemon is away. */
static void write_pass_sets(FILE *stream, const struct config *config)
{
	FOR_EACH_FAMILY(family)
	{
		ruleset_write_prefix_set(stream, config, family->family, "pass", is_passing);
		fprintf(stream,
			"\tset untranslated%s {\n"
			"\t\ttype %s . inet_service . %s . inet_service\n"
			"\t\tsize %d\n"
			"\t\tflags dynamic,timeout\n"
			"\t\ttimeout " UNTRANSLATED_TIMEOUT "\n"
			"\t}\n\n",
			family->digit, family->type, family->type, UNTRANSLATED_LIMIT);
	}
}

/* A connection stays with one worker: the client's port says with which. The lowest bit is left out
 * because Linux clients prefer even ports (see flow_shard). */
void ruleset_write_share(FILE *stream, const char *chain, const char *port, unsigned int count)
{
	fprintf(stream, "\tchain %s_%s {\n", chain, port);
	if (count == 1) {
		fprintf(stream, "\t\tgoto %s_0\n\t}\n\n", chain);
		return;
	}
	fprintf(stream, "\t\ttcp %s & 0x007e vmap { ", port);
	for (unsigned int bits = 0; bits < FLOW_SHARDS; bits++)
		fprintf(stream, "%s0x%04x : goto %s_%u", bits > 0 ? ", " : "", bits << 1, chain,
			flow_shard((uint16_t)(bits << 1), count));
	fputs(" }\n\t}\n\n", stream);
}

void ruleset_write_hold(FILE *stream, const struct config *config, const char *address,
			const char *port)
{
	char text[ENDPOINT_TEXT_SIZE];

	for (size_t i = 0; i < config->egress_count; i++) {
		const struct egress_config *egress = &config->egress[i];
		for (size_t k = 0; k < egress->prefix_count; k++) {
			const struct prefix *prefix = &egress->prefixes[k];
			endpoint_format_address(&prefix->base, text);
			fprintf(stream, "\t\t%s %s %s/%u tcp %s %u drop\n",
				prefix->base.family == FAMILY_IPV4 ? "ip" : "ip6", address, text,
				prefix->length, port, prefix->base.port);
		}
	}
}

void ruleset_write_branch(FILE *stream, const struct config *config, const char *set,
			  const char *address, const char *port, const char *statement)
{
	const char *kind = ruleset_set_kind(config);

	FOR_EACH_FAMILY(family)
	{
		fprintf(stream, "\t\t%s %s . tcp %s @%s%s%s %s\n", family->header, address, port,
			set, kind, family->digit, statement);
	}
}

/* An error about a packet that opens a connection, from this host itself: a filter that rejects it,
 * or no route. Newer kernels (seen on 6.18) drop such errors when they are queued, since the
 * connection's entry is not confirmed yet. There is no flow for them to be about. */
#define ERROR_ABOUT_NEW " ct status & confirmed == 0 accept"

void ruleset_write_errors(FILE *stream, const char *target)
{
	fprintf(stream,
		"\t\t" ICMP_ERRORS ERROR_ABOUT_NEW "\n"
		"\t\t" ICMPV6_ERRORS ERROR_ABOUT_NEW "\n"
		"\t\t" ICMP_ERRORS ERROR_LIMIT " goto %s\n"
		"\t\t" ICMPV6_ERRORS ERROR_LIMIT " goto %s\n",
		target, target);
}

static void write_hook(FILE *stream, const struct config *config, bool held, const char *hook,
		       const char *address, const char *port, const char *target)
{
	fprintf(stream, "\tchain %s; policy accept;\n", hook);
	if (held)
		ruleset_write_hold(stream, config, address, port);
	ruleset_write_branch(stream, config, "egress", address, port, target);
	ruleset_write_errors(stream, "translate_or_pass_0");
	fputs("\t}\n\n", stream);
}

/* The two chains that see what leaves for a server and what comes from one. Behind SNAT on the way
 * out, before conntrack on the way in: so the addresses are those of the wire, and conntrack sees
 * the client's numbers only. */
static void write_hooks(FILE *stream, const struct config *config, bool held, const char *outgoing,
			const char *incoming)
{
	write_hook(stream, config, held,
		   "egress_out {\n\t\ttype filter hook postrouting priority srcnat + 50", "daddr",
		   "dport", outgoing);
	write_hook(stream, config, held,
		   "egress_in {\n\t\ttype filter hook prerouting priority raw", "saddr", "sport",
		   incoming);
}

/* Where some new connections may pass without a daemon, translated ones must be known by their ct
 * mark, so that they wait for it. So does what conntrack cannot assign: it may be about one. */
static void write_gate(FILE *stream, const struct config *config, const struct marks *marks)
{
	const char *kind = ruleset_set_kind(config);

	fprintf(stream,
		"\tchain egress_gate {\n"
		"\t\tmeta mark set meta mark & 0x%08x\n"
		"\t\tct mark & 0x%08x == 0x%08x goto translate_sport\n"
		"\t\tct state invalid goto translate_sport\n"
		"\t\tip daddr . tcp dport @pass%s4 goto translate_or_pass_sport\n"
		"\t\tip6 daddr . tcp dport @pass%s6 goto translate_or_pass_sport\n"
		"\t\tgoto translate_sport\n"
		"\t}\n\n"
		"\tchain egress_back {\n"
		"\t\tip saddr . tcp sport . ip daddr . tcp dport @untranslated4 "
		"goto translate_or_pass_dport\n"
		"\t\tip6 saddr . tcp sport . ip6 daddr . tcp dport @untranslated6 "
		"goto translate_or_pass_dport\n"
		"\t\tgoto translate_dport\n"
		"\t}\n\n",
		~marks->mask, marks->mask, marks->verified, kind, kind);
}

/* The mark moves to the connection, if conntrack knows one. A connection that went out untranslated
 * is remembered, since it must not be held up on its way back, where no ct mark is known yet. */
static void write_keep(FILE *stream, const struct config *config, const struct marks *marks)
{
	const char *kind = ruleset_set_kind(config);

	fprintf(stream,
		"\tchain egress_translated {\n"
		"\t\tmeta mark set meta mark & 0x%08x\n"
		"\t\tct mark set ct mark & 0x%08x | 0x%08x\n"
		"\t}\n\n"
		"\tchain egress_mark {\n"
		"\t\tmeta mark & 0x%08x == 0x%08x goto egress_translated\n"
		"\t\tmeta mark set meta mark & 0x%08x\n"
		"\t\tct mark & 0x%08x == 0x%08x accept\n"
		"\t\tip daddr . tcp dport @pass%s4 update @untranslated4 { ip daddr . tcp dport . "
		"ip saddr . tcp sport }\n"
		"\t\tip6 daddr . tcp dport @pass%s6 update @untranslated6 { ip6 daddr . tcp dport "
		". "
		"ip6 saddr . tcp sport }\n"
		"\t}\n\n"
		"\tchain egress_keep {\n"
		"\t\ttype filter hook postrouting priority srcnat + 51; policy accept;\n"
		"\t\tip daddr . tcp dport @egress%s4 goto egress_mark\n"
		"\t\tip6 daddr . tcp dport @egress%s6 goto egress_mark\n"
		"\t}\n\n",
		~marks->mask, ~marks->mask, marks->verified, marks->mask, marks->verified,
		~marks->mask, marks->mask, marks->verified, kind, kind, kind, kind);
}

void ruleset_write_egress(FILE *stream, const struct config *config, const struct marks *marks,
			  bool held)
{
	unsigned int count = ruleset_egress_queues(config);
	bool may_pass = ruleset_egress_may_pass(config);

	FOR_EACH_FAMILY(family)
	{
		ruleset_write_prefix_set(stream, config, family->family, "egress", is_plain);
	}
	ruleset_write_share(stream, "translate", "sport", count);
	ruleset_write_share(stream, "translate", "dport", count);
	if (!may_pass) {
		write_hooks(stream, config, held, "goto translate_sport", "goto translate_dport");
		return;
	}
	write_pass_sets(stream, config);
	ruleset_write_share(stream, "translate_or_pass", "sport", count);
	ruleset_write_share(stream, "translate_or_pass", "dport", count);
	write_gate(stream, config, marks);
	write_hooks(stream, config, held, "goto egress_gate", "goto egress_back");
	write_keep(stream, config, marks);
}
