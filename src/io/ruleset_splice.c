/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ruleset_splice.h"

#include "ruleset_egress.h"

static bool has_integrity(const struct egress_config *egress)
{
	return egress->destination.integrity > 0;
}

bool ruleset_splice_wanted(const struct config *config)
{
	for (size_t i = 0; i < config->egress_count; i++)
		if (has_integrity(&config->egress[i]))
			return true;
	return false;
}

/* On this side of conntrack and NAT there is one mark that says where a packet comes from. */
static void write_gates(FILE *stream, const struct marks *marks)
{
	fprintf(stream,
		"\tchain splice_client {\n"
		"\t\tmeta mark set meta mark & 0x%08x\n"
		"\t\tgoto splice_sport\n"
		"\t}\n\n"
		"\tchain splice_server {\n"
		"\t\tmeta mark set meta mark & 0x%08x | 0x%08x\n"
		"\t\tgoto splice_dport\n"
		"\t}\n\n"
		"\tchain splice_client_errors {\n"
		"\t\tmeta mark set meta mark & 0x%08x\n"
		"\t\tgoto splice_errors\n"
		"\t}\n\n"
		"\tchain splice_server_errors {\n"
		"\t\tmeta mark set meta mark & 0x%08x | 0x%08x\n"
		"\t\tgoto splice_errors\n"
		"\t}\n\n",
		~marks->mask, ~marks->mask, marks->pending, ~marks->mask, ~marks->mask,
		marks->pending);
}

/* Clients behind this host, before conntrack: it sees the numbers that the server sees. Then what
 * the servers say, behind conntrack and NAT: with the addresses that the client knows. */
static void write_forwarded(FILE *stream, const struct config *config, bool held)
{
	fputs("\tchain splice_in {\n"
	      "\t\ttype filter hook prerouting priority raw; policy accept;\n",
	      stream);
	/* The way back is held in "egress_in". */
	if (held)
		ruleset_write_hold(stream, config, "daddr", "dport");
	fputs("\t\tiif \"lo\" accept\n", stream);
	ruleset_write_branch(stream, config, "splice", "daddr", "dport", "goto splice_client");
	ruleset_write_errors(stream, "splice_client_errors");
	fputs("\t}\n\n"
	      "\tchain splice_back {\n"
	      "\t\ttype filter hook prerouting priority dstnat + 50; policy accept;\n"
	      "\t\tiif \"lo\" accept\n",
	      stream);
	ruleset_write_branch(stream, config, "splice", "saddr", "sport", "goto splice_server");
	ruleset_write_errors(stream, "splice_server_errors");
	fputs("\t}\n\n", stream);
}

/* What leaves this host: programs that are clients, a firewall that refuses in the server's name,
 * and what the daemon sends. What it sends to clients is about a connection that conntrack does not
 * know (yet). What it sends to servers must belong to one that conntrack knows: its SYN has passed
 * all filters. */
static void write_local(FILE *stream, const struct config *config, const struct marks *marks)
{
	const char *kind = ruleset_set_kind(config);

	fputs("\tchain splice_own {\n", stream);
	ruleset_write_branch(stream, config, "splice", "saddr", "sport", "notrack");
	fprintf(stream,
		"\t}\n\n"
		"\tchain splice_known {\n"
		"\t\tmeta mark set meta mark & 0x%08x\n"
		"\t\tct state untracked accept\n"
		"\t\tct status confirmed accept\n"
		"\t\tdrop\n"
		"\t}\n\n"
		"\tchain splice_out {\n"
		"\t\ttype filter hook output priority raw; policy accept;\n"
		"\t\tmeta mark & 0x%08x == 0x%08x goto splice_own\n",
		~marks->mask, marks->mask, marks->verified);
	ruleset_write_branch(stream, config, "splice", "daddr", "dport", "goto splice_client");
	ruleset_write_branch(stream, config, "splice", "saddr", "sport", "goto splice_server");
	ruleset_write_errors(stream, "splice_client_errors");
	fprintf(stream,
		"\t}\n\n"
		"\tchain splice_sent {\n"
		"\t\ttype filter hook output priority mangle - 5; policy accept;\n"
		"\t\tmeta mark & 0x%08x == 0x%08x ip daddr . tcp dport @splice%s4 goto "
		"splice_known\n"
		"\t\tmeta mark & 0x%08x == 0x%08x ip6 daddr . tcp dport @splice%s6 goto "
		"splice_known\n"
		"\t}\n\n",
		marks->mask, marks->verified, kind, marks->mask, marks->verified, kind);
}

void ruleset_write_splice(FILE *stream, const struct config *config, const struct marks *marks,
			  bool held)
{
	unsigned int count = ruleset_splice_queues(config);

	ruleset_write_prefix_set(stream, config, FAMILY_IPV4, "splice", has_integrity);
	ruleset_write_prefix_set(stream, config, FAMILY_IPV6, "splice", has_integrity);
	ruleset_write_share(stream, "splice", "sport", count);
	ruleset_write_share(stream, "splice", "dport", count);
	write_gates(stream, marks);
	write_forwarded(stream, config, held);
	write_local(stream, config, marks);
}
