/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parsing: what is accepted, what is refused, and that no byte outside the packet is touched (run
 * with --enable-sanitizers for the last one: every packet lies in an allocation of its length). */
#include "core/packet.h"

#include <check.h>
#include <stdlib.h>

#include "packet_maker.h"
#include "runner.h"

static const uint8_t timestamp_option[] = {8, 10, 0x11, 0x22, 0x33, 0x44, 5, 6, 7, 8, 1, 1};

/* Parses a copy that ends where the allocation ends. */
static enum reason parse_exactly(const uint8_t *bytes, size_t captured, struct segment *segment,
				 struct packet *packet)
{
	uint8_t *copy = malloc(captured + (captured == 0));
	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, captured);
	enum reason reason = packet_parse(packet, copy, captured);
	if (reason == REASON_NONE)
		reason = segment_parse(segment, packet);
	if (reason == REASON_NONE) {
		ck_assert_uint_le(packet->captured, captured);
		ck_assert_uint_le(packet->captured, packet->length);
		ck_assert_uint_le(segment->payload, packet->captured);
		ck_assert_uint_eq(segment->payload + segment->payload_length, packet->length);
		segment_checksum_valid(segment);
	}
	free(copy);
	packet->bytes = NULL;
	return reason;
}

static enum reason parse_made(const struct made *made, struct segment *segment,
			      struct packet *packet)
{
	return parse_exactly(made->bytes, made->length, segment, packet);
}

START_TEST(fields)
{
	struct made made;
	struct packet packet;
	struct segment segment;

	make_packet(&made, make_families[_i], timestamp_option, sizeof(timestamp_option), 9);
	ck_assert_int_eq(packet_parse(&packet, made.bytes, made.length), REASON_NONE);
	ck_assert_int_eq(segment_parse(&segment, &packet), REASON_NONE);
	ck_assert(packet.checksum_ready);
	ck_assert_uint_eq(packet.family, made.family);
	ck_assert_uint_eq(packet.protocol, PROTOCOL_TCP);
	ck_assert_uint_eq(packet.length, made.length);
	ck_assert_uint_eq(packet.captured, made.length);
	ck_assert_uint_eq(packet.transport, made.transport);
	ck_assert_uint_eq(segment.sequence, MADE_SEQUENCE);
	ck_assert_uint_eq(segment.acknowledgement, MADE_ACKNOWLEDGEMENT);
	ck_assert_uint_eq(segment.window, MADE_WINDOW);
	ck_assert_uint_eq(segment.flags, TCP_PSH | TCP_ACK);
	ck_assert_uint_eq(segment.options, made.transport + 20);
	ck_assert_uint_eq(segment.options_length, 12);
	ck_assert_uint_eq(segment.payload, made.transport + 32);
	ck_assert_uint_eq(segment.payload_length, 9);
	ck_assert_uint_eq(segment_payload_captured(&segment), 9);
	ck_assert_uint_eq(segment.timestamp, made.transport + 22);
	ck_assert_uint_eq(segment.tsval, 0x11223344);
	ck_assert_uint_eq(segment.tsecr, 0x05060708);
	ck_assert_uint_eq(segment.tuple.source.port, MADE_SOURCE_PORT);
	ck_assert_uint_eq(segment.tuple.destination.port, MADE_DESTINATION_PORT);
	ck_assert_uint_eq(segment.tuple.source.family, made.family);
	ck_assert_uint_eq(segment.tuple.destination.reserved, 0);
	size_t size = family_address_length(made.family);
	size_t source = made.family == FAMILY_IPV4 ? 12 : 8;
	ck_assert_mem_eq(segment.tuple.source.address, made.bytes + source, size);
	ck_assert_mem_eq(segment.tuple.destination.address, made.bytes + source + size, size);
	for (size_t i = size; i < ADDRESS_SIZE; i++)
		ck_assert_uint_eq(segment.tuple.source.address[i], 0);
	ck_assert(segment_checksum_valid(&segment));
	made.bytes[made.length - 1] ^= 1;
	ck_assert(!segment_checksum_valid(&segment));
	packet.checksum_ready = false;
	ck_assert(segment_checksum_valid(&segment));
}
END_TEST

/* Cut short anywhere, a packet is refused as long as its headers are not whole. */
START_TEST(truncated_anywhere)
{
	struct made made;
	struct packet packet;
	struct segment segment;

	make_packet(&made, make_families[_i], timestamp_option, sizeof(timestamp_option), 9);
	size_t headers = made.transport + 32;
	for (size_t captured = 0; captured < made.length; captured++) {
		enum reason reason = parse_exactly(made.bytes, captured, &segment, &packet);
		ck_assert_int_eq(reason, captured < headers ? REASON_MALFORMED : REASON_NONE);
		if (reason != REASON_NONE)
			continue;
		ck_assert_uint_eq(packet.length, made.length);
		ck_assert_uint_eq(segment.payload_length, 9);
		ck_assert_uint_eq(segment_payload_captured(&segment), captured - headers);
		ck_assert(!segment_checksum_valid(&segment));
	}
}
END_TEST

/* The IP header says that the packet ends anywhere: nothing behind that end may be looked at. */
START_TEST(length_field_lies)
{
	struct made made;
	struct packet packet;
	struct segment segment;

	make_packet(&made, make_families[_i], timestamp_option, sizeof(timestamp_option), 9);
	size_t whole = made.length;
	for (size_t length = 0; length <= whole + 50; length++) {
		bool ipv4 = made.family == FAMILY_IPV4;
		if (!ipv4 && length < 40)
			continue;
		store16(made.bytes + (ipv4 ? 2 : 4), (uint16_t)(length - (ipv4 ? 0 : 40)));
		enum reason reason = parse_made(&made, &segment, &packet);
		ck_assert_int_eq(reason,
				 length < made.transport + 32 ? REASON_MALFORMED : REASON_NONE);
		if (reason == REASON_NONE)
			ck_assert_uint_eq(segment.payload_length, length - made.transport - 32);
	}
}
END_TEST

START_TEST(padding_is_no_payload)
{
	struct made made;
	struct packet packet;
	struct segment segment;

	make_packet(&made, make_families[_i], NULL, 0, 0);
	memset(made.bytes + made.length, 0x55, 26);
	ck_assert_int_eq(packet_parse(&packet, made.bytes, made.length + 26), REASON_NONE);
	ck_assert_int_eq(segment_parse(&segment, &packet), REASON_NONE);
	ck_assert_uint_eq(packet.captured, made.length);
	ck_assert_uint_eq(segment.payload_length, 0);
	ck_assert(segment_checksum_valid(&segment));
}
END_TEST

START_TEST(random_bytes)
{
	uint8_t bytes[120];
	struct packet packet;
	struct segment segment;
	unsigned int parsed = 0;

	for (unsigned int round = 0; round < 100000; round++) {
		struct made made;
		make_packet(&made, make_families[round % MAKE_KINDS], timestamp_option,
			    sizeof(timestamp_option), 3);
		memcpy(bytes, made.bytes, made.length);
		for (unsigned int i = 0; i < 1 + make_random() % 8; i++)
			bytes[make_random() % made.length] = (uint8_t)make_random();
		size_t captured = make_random() % (made.length + 1);
		parsed += parse_exactly(bytes, captured, &segment, &packet) == REASON_NONE;
	}
	ck_assert_uint_gt(parsed, 1000);
}
END_TEST

START_TEST(ipv4_headers)
{
	const struct {
		size_t at;
		uint8_t value;
		enum reason reason;
	} changes[] = {
		{0, 0x35, REASON_MALFORMED}, /* versions */
		{0, 0x55, REASON_MALFORMED}, {0, 0x05, REASON_MALFORMED},
		{0, 0x44, REASON_MALFORMED}, /* header lengths */
		{0, 0x40, REASON_MALFORMED}, {0, 0x4f, REASON_MALFORMED},
		{6, 0x20, REASON_FRAGMENT},                          /* more fragments */
		{6, 0x01, REASON_FRAGMENT},                          /* offsets */
		{7, 0x01, REASON_FRAGMENT},  {6, 0x40, REASON_NONE}, /* do not fragment */
		{6, 0x80, REASON_NONE},                              /* the reserved bit */
		{9, 17, REASON_NOT_TCP},     {9, 1, REASON_NOT_TCP},
		{9, 59, REASON_NOT_TCP},
	};
	struct made made;
	struct packet packet;
	struct segment segment;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		make_packet(&made, MAKE_IPV4, NULL, 0, 0);
		made.bytes[changes[i].at] = changes[i].value;
		ck_assert_msg(parse_made(&made, &segment, &packet) == changes[i].reason,
			      "change %zu", i);
	}
}
END_TEST

START_TEST(ipv6_headers)
{
	struct made made;
	struct packet packet;
	struct segment segment;

	/* A jumbogram, or nothing behind the header. */
	make_packet(&made, MAKE_IPV6, NULL, 0, 0);
	store16(made.bytes + 4, 0);
	ck_assert_int_eq(parse_made(&made, &segment, &packet), REASON_MALFORMED);
	/* 59: no next header. 135: mobility, which carries no TCP for us. */
	const uint8_t others[] = {59, 17, 58, 50, 135, 253, 4, 41};
	for (size_t i = 0; i < sizeof(others); i++) {
		make_packet(&made, MAKE_IPV6, NULL, 0, 0);
		made.bytes[6] = others[i];
		ck_assert_int_eq(parse_made(&made, &segment, &packet), REASON_NOT_TCP);
	}
}
END_TEST

/* Puts one extension header in front of TCP and parses. */
static enum reason parse_extension(uint8_t kind, const uint8_t *header, size_t length,
				   struct segment *segment)
{
	struct made made;
	struct packet packet;

	make_packet(&made, MAKE_IPV6, timestamp_option, sizeof(timestamp_option), 4);
	made_insert(&made, kind, header, length);
	enum reason reason = parse_made(&made, segment, &packet);
	if (reason == REASON_NONE) {
		ck_assert_uint_eq(packet.transport, 40 + length);
		ck_assert_uint_eq(segment->tsval, 0x11223344);
		ck_assert_uint_eq(segment->payload_length, 4);
	}
	return reason;
}

START_TEST(ipv6_extensions)
{
	const uint8_t kinds[] = {0, 43, 60};
	uint8_t header[2048] = {PROTOCOL_TCP};
	struct segment segment;

	for (size_t i = 0; i < sizeof(kinds); i++) {
		for (unsigned int units = 0; units < 256; units += 5) {
			header[1] = (uint8_t)units;
			ck_assert_int_eq(
				parse_extension(kinds[i], header, 8 * (units + 1), &segment),
				REASON_NONE);
			/* One unit more than there is room for in all that follows. */
			header[1] = (uint8_t)(units + 6);
			if (units + 6 <= 255)
				ck_assert_int_eq(parse_extension(kinds[i], header, 8 * (units + 1),
								 &segment),
						 REASON_MALFORMED);
		}
	}
	/* The authentication header counts in words, less two. */
	header[1] = 4;
	ck_assert_int_eq(parse_extension(51, header, 24, &segment), REASON_NONE);
	header[1] = 0;
	ck_assert_int_eq(parse_extension(51, header, 8, &segment), REASON_NONE);
}
END_TEST

START_TEST(ipv6_fragments)
{
	uint8_t header[8] = {PROTOCOL_TCP, 0xff, 0, 0, 1, 2, 3, 4};
	struct segment segment;

	/* RFC 6946: an atomic fragment is the whole datagram; reserved bits mean nothing. */
	ck_assert_int_eq(parse_extension(44, header, 8, &segment), REASON_NONE);
	header[3] = 0x06;
	ck_assert_int_eq(parse_extension(44, header, 8, &segment), REASON_NONE);
	header[3] = 0x01;
	ck_assert_int_eq(parse_extension(44, header, 8, &segment), REASON_FRAGMENT);
	header[3] = 0x08;
	ck_assert_int_eq(parse_extension(44, header, 8, &segment), REASON_FRAGMENT);
	header[2] = 0x80;
	header[3] = 0;
	ck_assert_int_eq(parse_extension(44, header, 8, &segment), REASON_FRAGMENT);
}
END_TEST

START_TEST(ipv6_long_chain)
{
	const uint8_t header[8] = {0};
	struct made made;
	struct packet packet;
	struct segment segment;

	for (unsigned int count = 0; count < 40; count++) {
		make_packet(&made, MAKE_IPV6, NULL, 0, 0);
		for (unsigned int i = 0; i < count; i++)
			made_insert(&made, 60, header, sizeof(header));
		ck_assert_int_eq(parse_made(&made, &segment, &packet),
				 count <= 16 ? REASON_NONE : REASON_MALFORMED);
	}
}
END_TEST

START_TEST(tcp_header_length)
{
	struct made made;
	struct packet packet;
	struct segment segment;

	for (unsigned int words = 0; words < 16; words++) {
		make_packet(&made, make_families[_i], NULL, 0, 12);
		made.bytes[made.transport + 12] = (uint8_t)(words << 4 | 0x0f);
		ck_assert_int_eq(parse_made(&made, &segment, &packet),
				 words < 5 || words > 8 ? REASON_MALFORMED : REASON_NONE);
		if (words >= 5 && words <= 8)
			ck_assert_uint_eq(segment.payload_length, 12 - 4 * (words - 5));
	}
}
END_TEST

static const struct {
	uint8_t options[40];
	size_t length;
	size_t timestamp; /* offset of the TSval in the options; 0: none */
	uint32_t tsval;
	unsigned int walked; /* options that the walk yields */
} option_cases[] = {
	{{0}, 0, 0, 0, 0},
	{{1, 1, 1, 1}, 4, 0, 0, 4},
	{{0, 1, 1, 1}, 4, 0, 0, 1},
	{{1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0}, 12, 4, 0x01020304, 3},
	{{8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 1}, 12, 2, 0x01020304, 3},
	{{1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 0}, 12, 3, 0x01020304, 3},
	/* behind end-of-options */
	{{0, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0}, 12, 0, 0, 1},
	/* two: the first counts */
	{{8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 8, 10, 5, 6, 7, 8, 0, 0, 0, 0}, 20, 2, 0x01020304, 2},
	/* wrong lengths: no timestamp, the next one is */
	{{8, 8, 1, 2, 3, 4, 0, 0, 8, 10, 5, 6, 7, 8, 0, 0, 0, 0, 1, 1}, 20, 10, 0x05060708, 4},
	{{8, 12, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0}, 12, 0, 0, 1},
	{{8, 2, 8, 10, 5, 6, 7, 8, 0, 0, 0, 0}, 12, 4, 0x05060708, 2},
	/* lengths that lie end the walk */
	{{8, 0, 1, 2, 3, 4, 0, 0, 0, 0, 1, 1}, 12, 0, 0, 0},
	{{8, 1, 1, 2, 3, 4, 0, 0, 0, 0, 1, 1}, 12, 0, 0, 0},
	{{1, 8, 12, 2, 3, 4, 0, 0, 0, 0, 1, 1}, 12, 0, 0, 1},
	{{1, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0}, 12, 0, 0, 3},
	{{99, 0, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0}, 12, 0, 0, 0},
	{{99, 255, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0}, 12, 0, 0, 0},
	/* the kind is the last byte */
	{{1, 1, 1, 8}, 4, 0, 0, 3},
	/* unknown ones are stepped over */
	{{99, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0}, 12, 4, 0x01020304, 2},
	{{254, 6, 8, 10, 8, 10, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0}, 16, 8, 0x01020304, 2},
	/* a full header */
	{{2,  4,  5, 0xb4, 4, 2, 3,  3, 7, 34, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9,
	  10, 30, 4, 1,    0, 8, 10, 9, 8, 7,  6,  0, 0, 0, 0, 1, 1, 1, 1, 1},
	 40,
	 27,
	 0x09080706,
	 11},
};

START_TEST(option_walk)
{
	struct made made;
	struct packet packet;
	struct segment segment;
	struct tcp_option option;
	unsigned int walked = 0;

	make_packet(&made, make_families[(size_t)_i % MAKE_KINDS], option_cases[_i].options,
		    option_cases[_i].length, 5);
	ck_assert_int_eq(packet_parse(&packet, made.bytes, made.length), REASON_NONE);
	ck_assert_int_eq(segment_parse(&segment, &packet), REASON_NONE);
	size_t timestamp = option_cases[_i].timestamp;
	ck_assert_uint_eq(segment.timestamp, timestamp == 0 ? 0 : segment.options + timestamp);
	ck_assert_uint_eq(segment.tsval, option_cases[_i].tsval);
	struct tcp_option_iterator iterator = tcp_option_begin(&segment);
	for (; tcp_option_next(&iterator, &option); walked++) {
		ck_assert_uint_eq(option.kind, made.bytes[option.offset]);
		ck_assert_uint_le(option.offset + option.length, segment.payload);
		ck_assert(option.kind <= TCP_OPTION_NOP
				  ? option.data == NULL && option.length == 1
				  : option.data == made.bytes + option.offset + 2);
	}
	ck_assert_uint_eq(walked, option_cases[_i].walked);
	ck_assert(!tcp_option_next(&iterator, &option));
}
END_TEST

START_TEST(find_option)
{
	const uint8_t options[] = {2, 4, 5, 0xb4, 3, 3, 7, 2, 4, 1, 1, 0};
	struct made made;
	struct packet packet;
	struct segment segment;
	struct tcp_option option;

	make_packet(&made, MAKE_IPV4, options, sizeof(options), 0);
	ck_assert_int_eq(packet_parse(&packet, made.bytes, made.length), REASON_NONE);
	ck_assert_int_eq(segment_parse(&segment, &packet), REASON_NONE);
	ck_assert(tcp_option_find(&segment, TCP_OPTION_MSS, &option));
	ck_assert_uint_eq(load16(option.data), 0x05b4);
	ck_assert(tcp_option_find(&segment, TCP_OPTION_WINDOW_SCALE, &option));
	ck_assert_uint_eq(option.data[0], 7);
	ck_assert(!tcp_option_find(&segment, TCP_OPTION_TIMESTAMP, &option));
}
END_TEST

START_TEST(initial_syn_and_sequence_length)
{
	struct segment segment = {.payload_length = 10};
	unsigned int initial = 0;

	for (unsigned int flags = 0; flags < 256; flags++) {
		segment.flags = (uint8_t)flags;
		bool expected = (flags & 0x02) != 0 && (flags & 0x15) == 0;
		ck_assert_int_eq(segment_is_initial_syn(&segment), expected);
		initial += expected;
		ck_assert_uint_eq(segment_sequence_length(&segment),
				  10 + (flags & 1) + (flags >> 1 & 1));
	}
	ck_assert_uint_eq(initial, 16);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("packet");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, fields, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, truncated_anywhere, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, length_field_lies, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, padding_is_no_payload, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, tcp_header_length, 0, MAKE_KINDS);
	tcase_add_test(tcase, random_bytes);
	tcase_add_test(tcase, ipv4_headers);
	tcase_add_test(tcase, ipv6_headers);
	tcase_add_test(tcase, ipv6_extensions);
	tcase_add_test(tcase, ipv6_fragments);
	tcase_add_test(tcase, ipv6_long_chain);
	tcase_add_loop_test(tcase, option_walk, 0, sizeof(option_cases) / sizeof(option_cases[0]));
	tcase_add_test(tcase, find_option);
	tcase_add_test(tcase, initial_syn_and_sequence_length);
	return run_tcase("packet", tcase);
}
