/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edits of a segment, see packet.h. */
#include "checksum.h"
#include "packet.h"

enum { TCP_HEADER = 20 };

static uint8_t *tcp_header(const struct segment *segment)
{
	return segment->packet->bytes + segment->packet->transport;
}

static uint32_t transport_length(const struct packet *packet)
{
	return (uint32_t)(packet->length - packet->transport);
}

static uint64_t pseudo_header(const struct segment *segment, uint32_t length)
{
	return checksum_pseudo(segment->packet->family, segment->tuple.source.address,
			       segment->tuple.destination.address, PROTOCOL_TCP, length);
}

bool segment_checksum_valid(const struct segment *segment)
{
	const struct packet *packet = segment->packet;

	if (!packet->checksum_ready)
		return true;
	if (packet->captured < packet->length)
		return false;
	uint32_t length = transport_length(packet);
	return checksum_finish(checksum_add(pseudo_header(segment, length), tcp_header(segment),
					    length)) == 0;
}

bool segment_checksum_is_partial(const struct segment *segment)
{
	uint64_t sum = pseudo_header(segment, transport_length(segment->packet));

	return (load16(tcp_header(segment) + 16) ^ checksum_finish(sum)) == 0xffff;
}

void segment_complete_checksum(struct segment *segment)
{
	struct packet *packet = segment->packet;
	uint8_t *field = tcp_header(segment) + 16;
	uint32_t length = transport_length(packet);

	store16(field, 0);
	store16(field, checksum_finish(checksum_add(pseudo_header(segment, length),
						    tcp_header(segment), length)));
	packet->checksum_ready = true;
}

/* A field that the TCP checksum covers, at an even or odd offset from its start. */
static void edit16(struct segment *segment, size_t offset, uint16_t value)
{
	uint8_t *at = segment->packet->bytes + offset;
	uint8_t *field = tcp_header(segment) + 16;
	uint16_t before = load16(at);

	store16(at, value);
	if (!segment->packet->checksum_ready)
		return;
	/* At an odd offset its bytes stand in two words, each in the other half. */
	if ((offset - segment->packet->transport) % 2 != 0) {
		before = (uint16_t)(before << 8 | before >> 8);
		value = (uint16_t)(value << 8 | value >> 8);
	}
	store16(field, checksum_update16(load16(field), before, value));
}

void segment_edit32(struct segment *segment, size_t offset, uint32_t value)
{
	edit16(segment, offset, (uint16_t)(value >> 16));
	edit16(segment, offset + 2, (uint16_t)value);
}

void segment_set_sequence(struct segment *segment, uint32_t sequence)
{
	segment->sequence = sequence;
	segment_edit32(segment, segment->packet->transport + 4, sequence);
}

void segment_set_acknowledgement(struct segment *segment, uint32_t acknowledgement)
{
	segment->acknowledgement = acknowledgement;
	segment_edit32(segment, segment->packet->transport + 8, acknowledgement);
}

void segment_set_window(struct segment *segment, uint16_t window)
{
	segment->window = window;
	edit16(segment, segment->packet->transport + 14, window);
}

void segment_set_tsval(struct segment *segment, uint32_t tsval)
{
	if (segment->timestamp == 0)
		return;
	segment->tsval = tsval;
	segment_edit32(segment, segment->timestamp, tsval);
}

void segment_set_tsecr(struct segment *segment, uint32_t tsecr)
{
	if (segment->timestamp == 0)
		return;
	segment->tsecr = tsecr;
	segment_edit32(segment, segment->timestamp + 4, tsecr);
}

static void edit8(struct segment *segment, size_t offset, uint8_t value)
{
	size_t even = offset - (offset - segment->packet->transport) % 2;
	const uint8_t *at = segment->packet->bytes + even;

	if (even == offset)
		edit16(segment, even, (uint16_t)(value << 8 | at[1]));
	else
		edit16(segment, even, (uint16_t)(at[0] << 8 | value));
}

void segment_blank_option(struct segment *segment, const struct tcp_option *option)
{
	bool was_timestamp = segment->timestamp == option->offset + 2;

	for (size_t i = 0; i < option->length; i++)
		edit8(segment, option->offset + i, TCP_OPTION_NOP);
	/* There may be a second one, which now counts. */
	if (was_timestamp)
		segment_read_timestamp(segment);
}

void segment_blank_timestamps(struct segment *segment)
{
	while (segment->timestamp != 0) {
		const struct tcp_option option = {
			.kind = TCP_OPTION_TIMESTAMP,
			.length = 10,
			.offset = segment->timestamp - 2,
		};
		segment_blank_option(segment, &option);
	}
}

static void set_packet_length(struct packet *packet, size_t length)
{
	uint8_t *bytes = packet->bytes;

	packet->length = length;
	if (packet->captured > length)
		packet->captured = length;
	if (packet->family == FAMILY_IPV4) {
		uint16_t before = load16(bytes + 2);
		store16(bytes + 2, (uint16_t)length);
		store16(bytes + 10,
			checksum_update16(load16(bytes + 10), before, (uint16_t)length));
	} else {
		store16(bytes + 4, (uint16_t)(length - 40));
	}
}

bool segment_insert_timestamp(struct segment *segment, uint32_t tsval, uint8_t *room, size_t size)
{
	struct packet *packet = segment->packet;
	const size_t inserted = 12;
	uint8_t option[12] = {TCP_OPTION_NOP, TCP_OPTION_NOP, TCP_OPTION_TIMESTAMP, 10};

	if (segment->options_length + inserted > 40 || packet->captured < packet->length ||
	    packet->length + inserted > size || packet->length + inserted > UINT16_MAX)
		return false;
	store32(option + 4, tsval);
	memcpy(room, packet->bytes, segment->options);
	memcpy(room + segment->options, option, inserted);
	memcpy(room + segment->options + inserted, packet->bytes + segment->options,
	       packet->length - segment->options);
	packet->bytes = room;
	set_packet_length(packet, packet->length + inserted);
	packet->captured = packet->length;
	segment->options_length += inserted;
	segment->payload += inserted;
	tcp_header(segment)[12] += (uint8_t)(inserted / 4 << 4);
	segment_read_timestamp(segment);
	segment_complete_checksum(segment);
	return true;
}

void segment_strip_payload(struct segment *segment)
{
	struct packet *packet = segment->packet;
	uint8_t *field = tcp_header(segment) + 16;
	uint32_t before = transport_length(packet);

	set_packet_length(packet, segment->payload);
	tcp_header(segment)[13] &= (uint8_t)~TCP_FIN;
	segment->flags &= (uint8_t)~TCP_FIN;
	segment->payload_length = 0;
	if (packet->checksum_ready) {
		segment_complete_checksum(segment);
		return;
	}
	/* What stands there is the sum of the pseudo header, not complemented. */
	uint16_t sum = checksum_update16((uint16_t)~load16(field), (uint16_t)before,
					 (uint16_t)transport_length(packet));
	store16(field, (uint16_t)~sum);
}

static void become_bare(struct segment *segment, uint8_t flags, uint32_t sequence)
{
	struct packet *packet = segment->packet;
	uint8_t *tcp = tcp_header(segment);

	set_packet_length(packet, packet->transport + TCP_HEADER);
	store32(tcp + 4, sequence);
	store32(tcp + 8, 0);
	tcp[12] = TCP_HEADER / 4 << 4;
	tcp[13] = flags;
	store16(tcp + 14, 0);
	store16(tcp + 18, 0);
	segment->sequence = sequence;
	segment->acknowledgement = 0;
	segment->flags = flags;
	segment->window = 0;
	segment->options_length = 0;
	segment->payload = packet->length;
	segment->payload_length = 0;
	segment_read_timestamp(segment);
	segment_complete_checksum(segment);
}

void segment_become_reset(struct segment *segment, uint32_t sequence)
{
	become_bare(segment, TCP_RST, sequence);
}

void segment_become_question(struct segment *segment)
{
	/* Behind what was received, wherever in its window, of 2^30 at most, it stood. */
	become_bare(segment, TCP_ACK, segment->sequence - 0x60000000);
}
