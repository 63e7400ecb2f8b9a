/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as a packet: views stay inside, edits do what they say and nothing else, a checksum
 * that was right stays right. */
#include "core/packet.h"

#include "fuzz.h"

enum { ROOM = 65536 + 64 };

static uint8_t bytes[ROOM];
static uint8_t before[ROOM];

static void check_view(const struct segment *segment, size_t size)
{
	const struct packet *packet = segment->packet;

	MUST(packet->captured <= size && packet->captured <= packet->length);
	MUST(packet->transport >= 20 && packet->transport + 20 <= packet->captured);
	MUST(segment->options + segment->options_length == segment->payload);
	MUST(segment->options_length <= 40 && segment->payload <= packet->captured);
	MUST(segment->payload + segment->payload_length == packet->length);
	MUST(segment_payload_captured(segment) <= segment->payload_length);
	MUST(segment->timestamp == 0 || (segment->timestamp >= segment->options + 2 &&
					 segment->timestamp + 8 <= segment->payload));
}

static void walk_options(const struct segment *segment)
{
	struct tcp_option_iterator iterator = tcp_option_begin(segment);
	struct tcp_option option;
	size_t expected = segment->options;

	while (tcp_option_next(&iterator, &option)) {
		MUST(option.offset == expected && option.length > 0);
		expected += option.length;
		MUST(expected <= segment->payload);
		MUST(option.kind <= TCP_OPTION_NOP ||
		     option.data == segment->packet->bytes + option.offset + 2);
		if (option.kind == TCP_OPTION_END)
			break;
	}
	MUST(!tcp_option_next(&iterator, &option));
}

/* Only these four bytes and the checksum may have changed. */
static void check_only(const struct segment *segment, size_t field, uint32_t value)
{
	const struct packet *packet = segment->packet;
	size_t checksum = packet->transport + 16;

	MUST(load32(packet->bytes + field) == value);
	for (size_t i = 0; i < packet->captured; i++)
		MUST(bytes[i] == before[i] || (i >= field && i < field + 4) ||
		     (i >= checksum && i < checksum + 2));
}

static void edit_numbers(struct segment *segment, struct input *input)
{
	const struct packet *packet = segment->packet;
	bool valid = segment_checksum_valid(segment);
	size_t header = packet->transport;
	uint32_t value = take32(input);
	uint32_t sequence = segment->sequence;
	uint32_t acknowledgement = segment->acknowledgement;

	memcpy(before, bytes, packet->captured);
	segment_set_sequence(segment, value);
	check_only(segment, header + 4, value);
	segment_set_sequence(segment, sequence);
	check_only(segment, header + 4, sequence);
	segment_set_acknowledgement(segment, value);
	check_only(segment, header + 8, value);
	segment_set_acknowledgement(segment, acknowledgement);
	MUST(segment_checksum_valid(segment) == valid);
	if (segment->timestamp != 0) {
		memcpy(before, bytes, packet->captured);
		segment_set_tsval(segment, value);
		check_only(segment, segment->timestamp, value);
	}
	if (segment->options_length >= 4) {
		size_t at = segment->options + take8(input) % (segment->options_length - 3);
		memcpy(before, bytes, packet->captured);
		segment_edit32(segment, at, value);
		check_only(segment, at, value);
		segment_read_timestamp(segment);
	}
	MUST(segment_checksum_valid(segment) == valid);
}

static void check_again(const struct segment *segment, bool valid)
{
	struct packet packet;
	struct segment again;

	MUST(packet_parse(&packet, segment->packet->bytes, segment->packet->captured) ==
	     REASON_NONE);
	MUST(segment_parse(&again, &packet) == REASON_NONE);
	MUST(packet.length == segment->packet->length);
	MUST(tuple_equal(&again.tuple, &segment->tuple));
	MUST(again.sequence == segment->sequence && again.tsval == segment->tsval);
	MUST(again.payload_length == segment->payload_length && again.flags == segment->flags);
	if (valid)
		MUST(segment_checksum_valid(&again));
}

static void edit_shape(struct segment *segment, struct input *input)
{
	static uint8_t room[2048];
	bool valid = segment_checksum_valid(segment);
	uint32_t value = take32(input);

	switch (take8(input) % 4) {
	case 0:
		segment_strip_payload(segment);
		MUST(segment->payload_length == 0);
		break;
	case 1:
		segment_become_reset(segment, value);
		MUST(segment->flags == TCP_RST && segment->sequence == value);
		MUST(segment->payload_length == 0 && segment->options_length == 0);
		valid = true;
		break;
	case 2:
		if (!segment_insert_timestamp(segment, value, room, sizeof(room)))
			break;
		MUST(segment->tsval == value && segment->packet->bytes == room);
		break;
	default:
		segment_blank_timestamps(segment);
		MUST(segment->timestamp == 0 && segment->tsval == 0);
	}
	check_again(segment, valid);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	struct packet packet;
	struct segment segment;
	uint8_t choice = take8(&input);
	size_t length = input.left;

	if (length > 65535)
		return -1;
	memcpy(bytes, input.at, length);
	if (packet_parse(&packet, bytes, length) != REASON_NONE ||
	    segment_parse(&segment, &packet) != REASON_NONE)
		return 0;
	check_view(&segment, length);
	walk_options(&segment);
	if ((choice & 1) != 0 && packet.captured == packet.length) {
		segment_complete_checksum(&segment);
		MUST(segment_checksum_valid(&segment));
	}
	input.left = choice & 0x3f;
	if (input.left > length)
		input.left = length;
	input.at = data + size - input.left;
	if ((choice & 2) != 0) {
		edit_numbers(&segment, &input);
		check_view(&segment, length);
		walk_options(&segment);
	}
	edit_shape(&segment, &input);
	return 0;
}
