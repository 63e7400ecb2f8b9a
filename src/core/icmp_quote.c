/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "icmp_quote.h"

#include "checksum.h"

enum {
	ICMP_HEADER = 8,
	QUOTE_MINIMUM = 8, /* ports and sequence number (RFC 792) */
	TCP_ACKNOWLEDGEMENT = 8,
	TCP_CHECKSUM = 16,
	ICMP_UNREACHABLE = 3,
	ICMP_QUENCH = 4,
	ICMP_FRAGMENTATION_NEEDED = 4, /* a code of ICMP_UNREACHABLE */
	ICMP_TIME_EXCEEDED = 11,
	ICMP_PARAMETER_PROBLEM = 12,
	ICMPV6_UNREACHABLE = 1,
	ICMPV6_TOO_BIG = 2,
	ICMPV6_PARAMETER_PROBLEM = 4,
};

static bool is_error(const struct packet *packet)
{
	uint8_t type = packet->bytes[packet->transport];

	if (packet->protocol == PROTOCOL_ICMPV6)
		return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM;
	return type == ICMP_UNREACHABLE || type == ICMP_QUENCH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETER_PROBLEM;
}

/* The sum over the message, 0 when its checksum is right. ICMPv6 covers a pseudo header, too. */
static uint16_t message_checksum(const struct packet *packet)
{
	uint32_t length = (uint32_t)(packet->length - packet->transport);
	uint64_t sum = 0;

	if (packet->protocol == PROTOCOL_ICMPV6)
		sum = checksum_pseudo(FAMILY_IPV6, packet->bytes + 8, packet->bytes + 24,
				      PROTOCOL_ICMPV6, length);
	return checksum_finish(checksum_add(sum, packet->bytes + packet->transport, length));
}

static void read_quote(struct icmp_quote *quote, const struct packet *inner, size_t offset)
{
	const uint8_t *tcp = inner->bytes + inner->transport;
	size_t length = family_address_length(inner->family);
	const uint8_t *addresses = inner->bytes + (inner->family == FAMILY_IPV4 ? 12 : 8);

	quote->tuple = (struct tuple){{.family = inner->family, .port = load16(tcp)},
				      {.family = inner->family, .port = load16(tcp + 2)}};
	memcpy(quote->tuple.source.address, addresses, length);
	memcpy(quote->tuple.destination.address, addresses + length, length);
	quote->segment = offset + inner->transport;
	quote->quoted = inner->captured - inner->transport;
	quote->sequence = load32(tcp + 4);
	if (quote->quoted >= TCP_ACKNOWLEDGEMENT + 4)
		quote->acknowledgement = load32(tcp + TCP_ACKNOWLEDGEMENT);
}

enum reason icmp_quote_parse(struct icmp_quote *quote, struct packet *packet)
{
	size_t offset = packet->transport + ICMP_HEADER;
	struct packet inner;

	*quote = (struct icmp_quote){.packet = packet};
	if (packet->captured < packet->length)
		return REASON_TRUNCATED;
	if (packet->captured < offset)
		return REASON_MALFORMED;
	if (!is_error(packet))
		return REASON_QUOTE_FOREIGN;
	if (message_checksum(packet) != 0)
		return REASON_CHECKSUM_WRONG;
	enum reason reason =
		packet_parse(&inner, packet->bytes + offset, packet->captured - offset);
	if (reason != REASON_NONE)
		return reason;
	if (inner.protocol != PROTOCOL_TCP)
		return REASON_QUOTE_FOREIGN;
	if (inner.captured - inner.transport < QUOTE_MINIMUM)
		return REASON_MALFORMED;
	read_quote(quote, &inner, offset);
	return REASON_NONE;
}

bool icmp_quote_ends_attempt(const struct icmp_quote *quote)
{
	const uint8_t *error = quote->packet->bytes + quote->packet->transport;

	if (quote->packet->protocol == PROTOCOL_ICMPV6)
		return error[0] != ICMPV6_TOO_BIG;
	return error[0] != ICMP_QUENCH &&
	       !(error[0] == ICMP_UNREACHABLE && error[1] == ICMP_FRAGMENTATION_NEEDED);
}

/* The quoted TCP checksum follows the number, and the ICMP checksum follows both. */
static void edit(struct icmp_quote *quote, size_t field, uint32_t before, uint32_t value)
{
	uint8_t *tcp = quote->packet->bytes + quote->segment;
	uint8_t *checksum = quote->packet->bytes + quote->packet->transport + 2;

	store32(tcp + field, value);
	if (quote->quoted >= TCP_CHECKSUM + 2)
		store16(tcp + TCP_CHECKSUM,
			checksum_update32(load16(tcp + TCP_CHECKSUM), before, value));
	store16(checksum, 0);
	store16(checksum, message_checksum(quote->packet));
}

void icmp_quote_set_sequence(struct icmp_quote *quote, uint32_t sequence)
{
	edit(quote, 4, quote->sequence, sequence);
	quote->sequence = sequence;
}

void icmp_quote_set_acknowledgement(struct icmp_quote *quote, uint32_t acknowledgement)
{
	if (quote->quoted < TCP_ACKNOWLEDGEMENT + 4)
		return;
	edit(quote, TCP_ACKNOWLEDGEMENT, quote->acknowledgement, acknowledgement);
	quote->acknowledgement = acknowledgement;
}
