/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "packet.h"

#include "checksum.h"

enum {
	IPV4_HEADER = 20,
	IPV6_HEADER = 40,
	TCP_HEADER = 20,
	EXTENSION_HOP_BY_HOP = 0,
	EXTENSION_ROUTING = 43,
	EXTENSION_FRAGMENT = 44,
	EXTENSION_AUTHENTICATION = 51,
	EXTENSION_DESTINATION = 60,
	EXTENSIONS_MAX = 16,
};

static enum reason parse_ipv4(struct packet *packet)
{
	const uint8_t *bytes = packet->bytes;

	if (packet->captured < IPV4_HEADER)
		return REASON_MALFORMED;
	size_t header = (size_t)(bytes[0] & 0x0f) * 4;
	packet->length = load16(bytes + 2);
	if (header < IPV4_HEADER || header > packet->captured || packet->length < header)
		return REASON_MALFORMED;
	/* More fragments, or an offset: no telling what stands in the others. */
	if ((load16(bytes + 6) & 0x3fff) != 0)
		return REASON_FRAGMENT;
	packet->family = FAMILY_IPV4;
	packet->protocol = bytes[9];
	packet->transport = header;
	return REASON_NONE;
}

static bool is_extension(uint8_t protocol)
{
	return protocol == EXTENSION_HOP_BY_HOP || protocol == EXTENSION_ROUTING ||
	       protocol == EXTENSION_FRAGMENT || protocol == EXTENSION_AUTHENTICATION ||
	       protocol == EXTENSION_DESTINATION;
}

/* Steps over one extension header (RFC 8200 section 4, RFC 4302 for the authentication header). */
static enum reason skip_extension(struct packet *packet)
{
	const uint8_t *header = packet->bytes + packet->transport;

	if (packet->captured - packet->transport < 8)
		return REASON_MALFORMED;
	size_t length = ((size_t)header[1] + 1) * 8;
	if (packet->protocol == EXTENSION_FRAGMENT) {
		if ((load16(header + 2) & 0xfff9) != 0)
			return REASON_FRAGMENT;
		length = 8;
	} else if (packet->protocol == EXTENSION_AUTHENTICATION) {
		length = ((size_t)header[1] + 2) * 4;
	}
	packet->protocol = header[0];
	packet->transport += length;
	if (packet->transport > packet->captured || packet->transport > packet->length)
		return REASON_MALFORMED;
	return REASON_NONE;
}

static enum reason parse_ipv6(struct packet *packet)
{
	if (packet->captured < IPV6_HEADER)
		return REASON_MALFORMED;
	size_t payload = load16(packet->bytes + 4);
	packet->family = FAMILY_IPV6;
	packet->protocol = packet->bytes[6];
	packet->transport = IPV6_HEADER;
	packet->length = IPV6_HEADER + payload;
	/* Zero is a jumbogram or no payload at all: neither can be a TCP segment for us. */
	if (payload == 0)
		return REASON_MALFORMED;
	for (unsigned int i = 0; is_extension(packet->protocol); i++) {
		enum reason reason = i < EXTENSIONS_MAX ? skip_extension(packet) : REASON_MALFORMED;
		if (reason != REASON_NONE)
			return reason;
	}
	return REASON_NONE;
}

enum reason packet_parse(struct packet *packet, uint8_t *bytes, size_t captured)
{
	enum reason reason = REASON_MALFORMED;

	*packet = (struct packet){.bytes = bytes, .captured = captured, .checksum_ready = true};
	if (captured > 0 && bytes[0] >> 4 == 4)
		reason = parse_ipv4(packet);
	else if (captured > 0 && bytes[0] >> 4 == 6)
		reason = parse_ipv6(packet);
	if (reason != REASON_NONE)
		return reason;
	/* Bytes behind the datagram are padding of a lower layer. */
	if (packet->captured > packet->length)
		packet->captured = packet->length;
	return packet->transport <= packet->captured ? REASON_NONE : REASON_MALFORMED;
}

/* bytes: a whole IP header. */
static void read_addresses(struct tuple *tuple, const uint8_t *bytes, uint8_t family)
{
	size_t length = family_address_length(family);
	size_t source = family == FAMILY_IPV4 ? 12 : 8;

	tuple->source.family = family;
	tuple->destination.family = family;
	memcpy(tuple->source.address, bytes + source, length);
	memcpy(tuple->destination.address, bytes + source + length, length);
}

bool packet_addresses(struct tuple *tuple, const uint8_t *bytes, size_t captured)
{
	*tuple = (struct tuple){0};
	if (captured >= IPV4_HEADER && bytes[0] >> 4 == 4)
		read_addresses(tuple, bytes, FAMILY_IPV4);
	else if (captured >= IPV6_HEADER && bytes[0] >> 4 == 6)
		read_addresses(tuple, bytes, FAMILY_IPV6);
	return tuple->source.family != 0;
}

static void read_tuple(struct segment *segment)
{
	const struct packet *packet = segment->packet;
	const uint8_t *tcp = packet->bytes + packet->transport;

	read_addresses(&segment->tuple, packet->bytes, packet->family);
	segment->tuple.source.port = load16(tcp);
	segment->tuple.destination.port = load16(tcp + 2);
}

void segment_read_timestamp(struct segment *segment)
{
	struct tcp_option_iterator iterator = tcp_option_begin(segment);
	struct tcp_option option;

	segment->timestamp = 0;
	segment->tsval = 0;
	segment->tsecr = 0;
	while (tcp_option_next(&iterator, &option)) {
		if (option.kind != TCP_OPTION_TIMESTAMP || option.length != 10)
			continue;
		segment->timestamp = option.offset + 2;
		segment->tsval = load32(option.data);
		segment->tsecr = load32(option.data + 4);
		return;
	}
}

enum reason segment_parse(struct segment *segment, struct packet *packet)
{
	*segment = (struct segment){.packet = packet};
	if (packet->protocol != PROTOCOL_TCP)
		return REASON_NOT_TCP;
	if (packet->captured - packet->transport < TCP_HEADER)
		return REASON_MALFORMED;
	const uint8_t *tcp = packet->bytes + packet->transport;
	size_t header = (size_t)(tcp[12] >> 4) * 4;
	if (header < TCP_HEADER || header > packet->captured - packet->transport)
		return REASON_MALFORMED;
	segment->sequence = load32(tcp + 4);
	segment->acknowledgement = load32(tcp + 8);
	segment->flags = tcp[13];
	segment->window = load16(tcp + 14);
	segment->options = packet->transport + TCP_HEADER;
	segment->options_length = header - TCP_HEADER;
	segment->payload = packet->transport + header;
	segment->payload_length = packet->length - segment->payload;
	read_tuple(segment);
	segment_read_timestamp(segment);
	return REASON_NONE;
}

size_t segment_payload_captured(const struct segment *segment)
{
	return segment->packet->captured - segment->payload;
}

uint32_t segment_sequence_length(const struct segment *segment)
{
	return (uint32_t)segment->payload_length + ((segment->flags & TCP_SYN) != 0) +
	       ((segment->flags & TCP_FIN) != 0);
}

bool segment_is_initial_syn(const struct segment *segment)
{
	return (segment->flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST)) == TCP_SYN;
}

struct tcp_option_iterator tcp_option_begin(const struct segment *segment)
{
	return (struct tcp_option_iterator){
		.packet = segment->packet,
		.next = segment->options,
		.end = segment->options + segment->options_length,
	};
}

bool tcp_option_next(struct tcp_option_iterator *iterator, struct tcp_option *option)
{
	uint8_t *at = iterator->packet->bytes + iterator->next;
	size_t left = iterator->end - iterator->next;

	if (left == 0)
		return false;
	option->kind = at[0];
	option->length = 1;
	option->offset = iterator->next;
	option->data = NULL;
	if (option->kind > TCP_OPTION_NOP) {
		if (left < 2 || at[1] < 2 || at[1] > left) {
			iterator->next = iterator->end;
			return false;
		}
		option->length = at[1];
		option->data = at + 2;
	}
	iterator->next =
		option->kind == TCP_OPTION_END ? iterator->end : iterator->next + option->length;
	return true;
}

bool tcp_option_find(const struct segment *segment, uint8_t kind, struct tcp_option *option)
{
	struct tcp_option_iterator iterator = tcp_option_begin(segment);

	while (tcp_option_next(&iterator, option))
		if (option->kind == kind)
			return true;
	return false;
}
