/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TCP segment that an ICMP or ICMPv6 error quotes (RFC 792, RFC 4443): its start, maybe no more
 * than eight bytes. */
#ifndef KNOCKGW_CORE_ICMP_QUOTE_H
#define KNOCKGW_CORE_ICMP_QUOTE_H

#include "packet.h"

/* Numbers in host byte order. */
struct icmp_quote {
	struct packet *packet; /* the error */
	struct tuple tuple;    /* of the quoted segment */
	size_t segment;        /* offset of the quoted TCP header in the packet */
	size_t quoted;         /* bytes of it that are there, at least 8 */
	uint32_t sequence;
	uint32_t acknowledgement; /* 0 when it is not quoted */
};

/* Looks into a parsed packet of PROTOCOL_ICMP or PROTOCOL_ICMPV6. Returns REASON_NONE, or
 * REASON_QUOTE_FOREIGN when it is no error about a TCP segment, REASON_MALFORMED or
 * REASON_TRUNCATED when it cannot be read, REASON_CHECKSUM_WRONG. */
enum reason icmp_quote_parse(struct icmp_quote *quote, struct packet *packet);

/* Whether a connection attempt ends with it (RFC 1122 4.2.3.9, tcp_v4_err()): all but source quench
 * and packets that are too big. */
bool icmp_quote_ends_attempt(const struct icmp_quote *quote);

/* Change a number in the quote, its TCP checksum if that is quoted, and the ICMP checksum. */
void icmp_quote_set_sequence(struct icmp_quote *quote, uint32_t sequence);
void icmp_quote_set_acknowledgement(struct icmp_quote *quote, uint32_t acknowledgement);

#endif
