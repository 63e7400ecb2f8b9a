/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is asked about a packet, and what comes of the answer. */
#include <stdlib.h>
#include <string.h>

#include "ruleset_internal.h"

enum { SETTLE_NAME_SIZE = 48 };

/* The chain that settles the fate of packets to a port of a service: services with the same fates
 * share it, so that it rarely changes. */
static const char *settle_name(char name[static SETTLE_NAME_SIZE],
			       const struct service_config *service,
			       const struct endpoint *endpoint)
{
	static const char *const words[] = {
		[REJECT_CLOSED] = "closed", [REJECT_RESET] = "reset", [REJECT_DROP] = "drop"};
	char ports[16] = "";

	if (service->reject == REJECT_CLOSED)
		snprintf(ports, sizeof(ports), "_%u_%u", endpoint->port, service->decoy_port);
	snprintf(name, SETTLE_NAME_SIZE, "settle_%s%s%s%s", words[service->reject], ports,
		 ruleset_has_backends(service, endpoint->family) ? "_backend" : "",
		 ruleset_is_shut(service, endpoint->family) ? "_shut" : "");
	return name;
}

static void write_refusal(FILE *stream, const struct service_config *service,
			  const struct endpoint *endpoint)
{
	char name[SETTLE_NAME_SIZE];

	ruleset_write_endpoint(stream, service, endpoint);
	fprintf(stream, " : goto %s", settle_name(name, service, endpoint));
}

/* Whether an earlier endpoint, of this service or another, has the same settle chain. */
static bool settle_seen_before(const struct config *config, const struct service_config *last,
			       size_t index)
{
	char wanted[SETTLE_NAME_SIZE];
	char name[SETTLE_NAME_SIZE];

	settle_name(wanted, last, &last->endpoints[index]);
	FOR_EACH_SERVICE(config, service)
	{
		size_t count = service == last ? index : service->endpoint_count;
		for (size_t i = 0; i < count; i++)
			if (strcmp(settle_name(name, service, &service->endpoints[i]), wanted) == 0)
				return true;
		if (service == last)
			break;
	}
	return false;
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
	if (service->reject != REJECT_CLOSED) {
		/* An RST in answer to a forged SYN would end an authorised connection for
		 * conntrack. */
		fprintf(stream,
			"\t\tct state established,related ct mark & 0x%08x == 0x%08x goto kicked\n"
			"\t\tct status confirmed ct mark & 0x%08x vmap { 0x%08x : drop, "
			"0x%08x : drop }\n"
			"\t\t%s\n",
			marks->mask, marks->refused, marks->mask, marks->verified, marks->pending,
			service->reject == REJECT_DROP ? "drop" : "reject with tcp reset");
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

static void write_settle_chain(FILE *stream, const struct service_config *service,
			       const struct endpoint *endpoint, const struct marks *marks)
{
	char name[SETTLE_NAME_SIZE];

	fprintf(stream, "\tchain %s {\n", settle_name(name, service, endpoint));
	/* Without ct nothing translates it for the backend. */
	if (ruleset_has_backends(service, endpoint->family))
		fprintf(stream, "\t\tct state invalid meta mark & 0x%08x == 0x%08x drop\n",
			marks->mask, marks->verified);
	if (ruleset_is_shut(service, endpoint->family))
		fprintf(stream,
			"\t\ttcp flags & (fin | syn | rst | ack) != syn jump authorised\n"
			"\t\tmeta mark set meta mark & 0x%08x\n",
			~marks->mask);
	else
		fputs("\t\tjump authorised\n", stream);
	write_refusal_rules(stream, service, endpoint->port, marks);
	fputs("\t}\n\n", stream);
}

static void write_settle_chains(FILE *stream, const struct config *config,
				const struct marks *marks)
{
	FOR_EACH_SERVICE(config, service)
	{
		for (size_t i = 0; i < service->endpoint_count; i++)
			if (!settle_seen_before(config, service, i))
				write_settle_chain(stream, service, &service->endpoints[i], marks);
	}
}

static bool is_checked(const struct service_config *service, uint8_t family)
{
	(void)family;
	return service->service.integrity > 0;
}

static bool wants_replies(const struct config *config)
{
	FOR_EACH_SERVICE(config, service)
	{
		if (is_checked(service, 0))
			return true;
	}
	return false;
}

/* What the server has acknowledged verifies a connection, its SYN+ACK begins another one, and its
 * FIN and RST end it, so nobody else may be able to say it in the server's name: a packet that
 * comes from where no route leads to the server is forged. */
static void write_forged_replies(FILE *stream, const struct marks *marks)
{
	fprintf(stream,
		"\t\tmeta l4proto tcp iif != \"lo\" ct direction reply ct mark & 0x%08x == 0x%08x "
		"fib saddr . iif oif missing drop\n"
		"\t\ttcp flags & (fin | syn | rst) != 0 iif != \"lo\" ct direction reply "
		"ct mark & 0x%08x == 0x%08x fib saddr . iif oif missing goto forged\n",
		marks->mask, marks->pending, marks->mask, marks->verified);
}

/* Which service a forged segment is about. Connections to others are not checked, and their servers
 * may answer by any way. */
static void write_forged(FILE *stream)
{
	fputs("\tchain forged {\n", stream);
	FOR_EACH_FAMILY(family)
	{
		fprintf(stream,
			"\t\tmeta l4proto tcp ct original %s daddr . ct original proto-dst "
			"@checked%s drop\n",
			family->header, family->digit);
	}
	fputs("\t}\n\n", stream);
}

/* Where servers answer from, learned while the first bytes are checked: NAT of others may lie in
 * between. */
static void write_server_sets(FILE *stream)
{
	FOR_EACH_FAMILY(family)
	{
		fprintf(stream,
			"\tset servers%s {\n"
			"\t\ttype %s . inet_service\n"
			"\t\tsize 65536\n"
			"\t\tflags dynamic,timeout\n"
			"\t\ttimeout 5m\n"
			"\t}\n\n",
			family->digit, family->type);
	}
}

static void write_learn_server(FILE *stream, const struct marks *marks)
{
	FOR_EACH_FAMILY(family)
	{
		fprintf(stream,
			"\t\tct direction reply ct mark & 0x%08x == 0x%08x "
			"update @servers%s { %s saddr . tcp sport }\n",
			marks->mask, marks->pending, family->digit, family->header);
	}
}

/* conntrack calls an RST invalid that stands before what the client has acknowledged
 * (nf_conntrack_tcp_packet), but the server may send one: when the client has closed its window and
 * the server has not got that acknowledgement. Then it must end the connection all the same, and
 * the daemon finds out which. The packet mark tells it from a client's. One without ACK, or at 0,
 * answers a segment that anybody may have sent, maybe for a decoy (RFC 9293 3.10.7.1). */
static void write_lost(FILE *stream, const struct marks *marks)
{
	fprintf(stream,
		"\tchain ask_lost {\n"
		"\t\tmeta mark set meta mark & 0x%08x | 0x%08x\n"
		"\t\tgoto ask\n"
		"\t}\n\n"
		"\tchain lost {\n"
		"\t\tip saddr . tcp sport @servers4 goto ask_lost\n"
		"\t\tip6 saddr . tcp sport @servers6 goto ask_lost\n"
		"\t}\n\n"
		"\tchain lost_local {\n"
		"\t\ttype filter hook output priority mangle; policy accept;\n",
		~marks->mask, marks->verified);
	write_learn_server(stream, marks);
	fprintf(stream,
		"\t\ttcp flags & (syn | rst | ack) == rst | ack tcp sequence != 0 ct state invalid "
		"meta mark & 0x%08x != 0x%08x goto lost\n"
		"\t}\n\n",
		marks->mask, marks->mask);
}

/* A server with SYN cookies takes the ACK of a handshake once more when the connection is gone.
 * What follows it must not pass on the old mark, so the daemon asks whether it has ended. conntrack
 * keeps such entries for two minutes at most, but five where it does not take an RST for the end
 * and has seen bytes sent again. */
static void write_ending(FILE *stream, const struct marks *marks)
{
	fprintf(stream,
		"\tchain ask_ending {\n"
		"\t\tmeta mark set meta mark & 0x%08x\n"
		"\t\tgoto ask_firmly\n"
		"\t}\n\n"
		"\tchain ending {\n"
		"\t\tip daddr . tcp dport @checked4 goto ask_ending\n"
		"\t\tip6 daddr . tcp dport @checked6 goto ask_ending\n"
		"\t}\n\n",
		~marks->mask);
}

/* Who is asked about a packet to a service.
 * Without a daemon nobody knows whether an invalid segment belongs to a verified connection. An ACK
 * then waits, since the decoy's RST would end that connection; a FIN is also the first segment of a
 * scan and may go to the decoy, since its connection is ending anyway. So may a SYN+ACK. With a
 * daemon it is asked about: anybody can send one in a client's name, and choose with it where that
 * RST stands. */
static void write_gate(FILE *stream, const struct marks *marks)
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
		"\t\tct state invalid tcp flags & (rst | ack) == ack goto ask\n"
		"\t\tct state invalid return\n"
		"\t\t" SYN_ONLY " goto ask_syn\n"
		"\t\tct mark & 0x%08x == 0x%08x goto ask\n"
		"\t}\n\n",
		~marks->mask, marks->mask, marks->pending);
}

/* The first look at a packet: what needs no question. */
static void write_protect(FILE *stream, const struct config *config, const struct marks *marks)
{
	write_gate(stream, marks);
	if (wants_replies(config)) {
		write_ending(stream, marks);
		write_forged(stream);
		write_lost(stream, marks);
	}
	fputs("\tchain protect {\n"
	      "\t\ttype filter hook prerouting priority mangle - 5; policy accept;\n",
	      stream);
	if (wants_replies(config)) {
		write_forged_replies(stream, marks);
		fprintf(stream,
			"\t\tct mark & 0x%08x == 0x%08x ct direction original "
			"tcp flags & syn == 0 ct expiration < 5m goto ending\n"
			"\t\tct mark & 0x%08x == 0x%08x ct direction original "
			"tcp flags & (syn | rst) == rst goto ending\n",
			marks->mask, marks->verified, marks->mask, marks->verified);
	}
	fprintf(stream,
		"\t\tct mark & 0x%08x == 0x%08x tcp flags & (fin | syn | rst | ack) != syn "
		"accept\n",
		marks->mask, marks->verified);
	if (wants_replies(config)) {
		write_learn_server(stream, marks);
		/* Where clients and servers share an interface anybody there could forge it. */
		fputs("\t\ttcp flags & (syn | rst | ack) == rst | ack tcp sequence != 0 "
		      "ct state invalid iif != \"lo\" "
		      "fib saddr . iif oif exists fib daddr . iif oif missing jump lost\n",
		      stream);
	}
	fputs("\t\tip daddr . tcp dport @services4 goto gate\n"
	      "\t\tip6 daddr . tcp dport @services6 goto gate\n"
	      "\t}\n\n",
	      stream);
}

/* While a segment waited for its verdict the server may have acknowledged the first bytes, or reset
 * the connection: that counts then. */
static void write_settle(FILE *stream, const struct config *config, const struct marks *marks)
{
	const uint32_t settled[] = {marks->verified, marks->refused};

	fputs("\tchain settle {\n"
	      "\t\ttype filter hook prerouting priority mangle - 4; policy accept;\n",
	      stream);
	for (size_t i = 0; wants_replies(config) && i < 2; i++)
		fprintf(stream,
			"\t\tct mark & 0x%08x == 0x%08x tcp flags & syn == 0 meta mark & 0x%08x != "
			"0x00000000 meta mark set meta mark & 0x%08x\n",
			marks->mask, settled[i], marks->mask, ~marks->mask);
	fprintf(stream,
		"\t\tct mark & 0x%08x == 0x%08x tcp flags & (fin | syn | rst | ack) != syn accept\n"
		"\t\tip daddr . tcp dport vmap @settle4\n"
		"\t\tip6 daddr . tcp dport vmap @settle6\n"
		"\t}\n\n",
		marks->mask, marks->verified);
}

/* Refused connections that are established are those that were verified until somebody ended them
 * (kick.h). An RST of either side, or of ours (related), may pass, so that the other side learns of
 * it, and whatever else comes is answered with one. */
static void write_kicked(FILE *stream)
{
	fputs("\tchain kicked {\n"
	      "\t\ttcp flags & rst == rst accept\n"
	      "\t\treject with tcp reset\n"
	      "\t}\n\n",
	      stream);
}

/* What belongs to a decoy may pass. */
static void write_guard_refused(FILE *stream, const struct decoy_pairs *pairs,
				const struct marks *marks)
{
	fputs("\tchain guard_refused {\n", stream);
	for (size_t i = 0; i < pairs->count; i++)
		fprintf(stream, "\t\ttcp dport %u accept\n", pairs->list[i].decoy);
	fputs("\t\tct state established,related goto kicked\n"
	      "\t\tdrop\n"
	      "\t}\n\n"
	      "\tchain guard_replies {\n",
	      stream);
	for (size_t i = 0; i < pairs->count; i++)
		fprintf(stream, "\t\ttcp sport %u accept\n", pairs->list[i].decoy);
	fprintf(stream,
		"\t\tct state established,related goto kicked\n"
		"\t}\n\n"
		"\tchain guard_local {\n"
		"\t\ttype filter hook output priority mangle; policy accept;\n"
		"\t\tct mark & 0x%08x == 0x%08x ct direction reply meta l4proto tcp "
		"goto guard_replies\n"
		"\t}\n\n",
		marks->mask, marks->refused);
}

/* The last look: whatever other rules have done, only verified connections reach a service. */
static void write_guard(FILE *stream, const struct decoy_pairs *pairs, const struct marks *marks)
{
	write_guard_refused(stream, pairs, marks);
	fprintf(stream,
		"\tchain guard {\n"
		"\t\ttype filter hook prerouting priority dstnat + 5; policy accept;\n"
		"\t\tct mark & 0x%08x == 0x%08x accept\n"
		"\t\tct mark & 0x%08x == 0x%08x accept\n"
		"\t\tct mark & 0x%08x == 0x%08x ct direction original meta l4proto tcp "
		"goto guard_refused\n"
		"\t\tct mark & 0x%08x == 0x%08x ct direction reply meta l4proto tcp "
		"goto guard_replies\n"
		"\t\tct state invalid meta mark & 0x%08x == 0x%08x meta mark set meta mark & "
		"0x%08x accept\n"
		"\t\tip daddr . tcp dport @services4 drop\n"
		"\t\tip6 daddr . tcp dport @services6 drop\n"
		"\t}\n\n",
		marks->mask, marks->verified, marks->mask, marks->pending, marks->mask,
		marks->refused, marks->mask, marks->refused, marks->mask, marks->verified,
		~marks->mask);
}

/* What a server says in a pending connection tells how much of the first bytes it has got. What
 * comes from us has both bits in its mark, which no pending connection has. A SYN+ACK on the tuple
 * of a verified connection begins another one, which must be checked, so it must not pass unseen;
 * the packet mark tells the daemon which of both it is. It hears of a FIN, too: to conntrack one
 * that comes twice looks like those of both sides. Behind an RST there is no connection, also where
 * conntrack keeps calling it established because the RST does not stand where it expects it.
 */
static void write_replies(FILE *stream, const struct config *config, const struct marks *marks)
{
	if (wants_replies(config))
		fprintf(stream,
			"\tchain replies_checked {\n"
			"\t\ttcp flags & rst == rst ct mark set ct mark & 0x%08x | 0x%08x accept\n"
			"\t\tmeta mark set meta mark & 0x%08x | 0x%08x\n"
			"\t\ttcp flags & syn == 0 goto ask\n"
			"\t\tgoto ask_firmly\n"
			"\t}\n\n"
			"\tchain replies_verified {\n"
			"\t\tip saddr . tcp sport @checked4 goto replies_checked\n"
			"\t\tip6 saddr . tcp sport @checked6 goto replies_checked\n"
			"\t}\n\n",
			~marks->mask, marks->refused, ~marks->mask, marks->verified);
	fputs("\tchain replies {\n"
	      "\t\ttype filter hook postrouting priority srcnat + 50; policy accept;\n",
	      stream);
	if (wants_replies(config))
		fprintf(stream,
			"\t\tmeta l4proto tcp ct direction reply ct mark & 0x%08x == 0x%08x "
			"meta mark & 0x%08x != 0x%08x goto ask\n"
			"\t\ttcp flags & (fin | syn | rst) != 0 ct direction reply "
			"ct mark & 0x%08x == 0x%08x meta mark & 0x%08x != 0x%08x goto "
			"replies_verified\n",
			marks->mask, marks->pending, marks->mask, marks->mask, marks->mask,
			marks->verified, marks->mask, marks->mask);
	fputs("\t}\n\n", stream);
}

static void write_services(FILE *stream, const struct config *config)
{
	FOR_EACH_FAMILY(family)
	{
		ruleset_write_collection(stream, config, family, "set", "services", "",
					 ruleset_every_service, ruleset_write_endpoint);
		if (wants_replies(config))
			ruleset_write_collection(stream, config, family, "set", "checked", "",
						 is_checked, ruleset_write_endpoint);
	}
	if (wants_replies(config))
		write_server_sets(stream);
}

void ruleset_write_protect(FILE *stream, const struct config *config, const struct marks *marks)
{
	struct decoy_pairs pairs = ruleset_decoy_pairs(config);

	write_services(stream, config);
	ruleset_write_decoys(stream, config, &pairs);
	write_authorised(stream, marks);
	write_kicked(stream);
	write_settle_chains(stream, config, marks);
	FOR_EACH_FAMILY(family)
	{
		ruleset_write_collection(stream, config, family, "map", "settle", "verdict",
					 ruleset_every_service, write_refusal);
	}
	ruleset_write_answers(stream, &pairs, marks);
	write_protect(stream, config, marks);
	write_settle(stream, config, marks);
	ruleset_write_backends(stream, config, marks);
	write_guard(stream, &pairs, marks);
	write_replies(stream, config, marks);
	free(pairs.list);
}
