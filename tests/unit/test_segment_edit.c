/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Edits against the whole checksum, computed byte by byte by packet_maker.h. */
#include <check.h>
#include <stdlib.h>

#include "core/packet.h"
#include "packet_maker.h"
#include "runner.h"

enum { ROUNDS = 20000, OPTIONS = 40 };

/* Timestamp, MSS and two SACK blocks, all values at odd offsets, then the end. */
static const uint8_t odd_options[OPTIONS] = {1, 8,    10, 9,  8, 7, 6, 5, 4, 3, 2, 2, 4,
					     5, 0xb4, 5,  18, 1, 2, 3, 4, 5, 6, 7, 8};

struct edited {
	struct made made;
	struct packet packet;
	struct segment segment;
};

static void parse(struct edited *edited)
{
	ck_assert_int_eq(packet_parse(&edited->packet, edited->made.bytes, edited->made.length),
			 REASON_NONE);
	ck_assert_int_eq(segment_parse(&edited->segment, &edited->packet), REASON_NONE);
}

static void make(struct edited *edited, enum make_kind kind, size_t payload)
{
	make_packet(&edited->made, kind, odd_options, sizeof(odd_options), payload);
	parse(edited);
}

static uint16_t checksum_field(const struct edited *edited)
{
	return load16(edited->made.bytes + edited->made.transport + 16);
}

/* 0000 and ffff are where incremental updates go wrong, so take them often. */
static uint32_t tricky32(void)
{
	static const uint32_t tricky[] = {0, 0xffffffff, 0xffff, 0xffff0000, 1, 0xff00ff};

	return make_random() % 2 != 0 ? tricky[make_random() % 6] : make_random();
}

static void edit_something(struct edited *edited)
{
	struct segment *segment = &edited->segment;
	uint32_t value = tricky32();

	switch (make_random() % 6) {
	case 0:
		segment_set_sequence(segment, value);
		break;
	case 1:
		segment_set_acknowledgement(segment, value);
		break;
	case 2:
		segment_set_window(segment, (uint16_t)value);
		break;
	case 3:
		segment_set_tsval(segment, value);
		break;
	case 4:
		segment_set_tsecr(segment, value);
		break;
	default:
		/* The SACK edges and whatever follows, at even and odd offsets. */
		segment_edit32(segment, segment->options + 17 + make_random() % 20, value);
		break;
	}
}

/* What the view says must be what a second look at the bytes finds. */
static void assert_view(struct edited *edited)
{
	struct packet packet;
	struct segment again;
	const struct segment *segment = &edited->segment;

	ck_assert_int_eq(packet_parse(&packet, edited->made.bytes, edited->packet.captured),
			 REASON_NONE);
	ck_assert_int_eq(segment_parse(&again, &packet), REASON_NONE);
	ck_assert_uint_eq(segment->packet->length, packet.length);
	ck_assert_uint_eq(segment->sequence, again.sequence);
	ck_assert_uint_eq(segment->acknowledgement, again.acknowledgement);
	ck_assert_uint_eq(segment->window, again.window);
	ck_assert_uint_eq(segment->flags, again.flags);
	ck_assert_uint_eq(segment->options, again.options);
	ck_assert_uint_eq(segment->options_length, again.options_length);
	ck_assert_uint_eq(segment->payload, again.payload);
	ck_assert_uint_eq(segment->payload_length, again.payload_length);
	ck_assert_uint_eq(segment->timestamp, again.timestamp);
	ck_assert_uint_eq(segment->tsval, again.tsval);
	ck_assert_uint_eq(segment->tsecr, again.tsecr);
}

START_TEST(random_edits)
{
	struct edited edited;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		make(&edited, make_families[_i], make_random() % 8);
		for (unsigned int i = 0; i < 6; i++) {
			edit_something(&edited);
			ck_assert_uint_eq(checksum_field(&edited),
					  plain_tcp_checksum(&edited.made));
		}
		ck_assert(segment_checksum_valid(&edited.segment));
		assert_view(&edited);
	}
}
END_TEST

START_TEST(checksum_of_the_device_is_left_alone)
{
	struct edited edited;
	struct tcp_option option;

	for (unsigned int round = 0; round < ROUNDS / 10; round++) {
		make(&edited, make_families[_i], make_random() % 8);
		uint16_t partial = plain_fold(plain_pseudo(&edited.made));
		store16(edited.made.bytes + edited.made.transport + 16, partial);
		ck_assert(segment_checksum_is_partial(&edited.segment));
		edited.packet.checksum_ready = false;
		for (unsigned int i = 0; i < 6; i++)
			edit_something(&edited);
		ck_assert(tcp_option_find(&edited.segment, TCP_OPTION_MSS, &option));
		segment_blank_option(&edited.segment, &option);
		ck_assert_uint_eq(checksum_field(&edited), partial);
		ck_assert(!edited.packet.checksum_ready);
		segment_complete_checksum(&edited.segment);
		ck_assert(edited.packet.checksum_ready);
		ck_assert_uint_eq(checksum_field(&edited), plain_tcp_checksum(&edited.made));
		assert_view(&edited);
	}
}
END_TEST

/* A wrong checksum must stay wrong: an edit is no absolution. */
START_TEST(edits_keep_a_wrong_checksum_wrong)
{
	struct edited edited;

	make(&edited, make_families[_i], 5);
	uint16_t wrong = checksum_field(&edited) ^ 0x0100;
	store16(edited.made.bytes + edited.made.transport + 16, wrong);
	ck_assert(!segment_checksum_valid(&edited.segment));
	for (unsigned int i = 0; i < 1000; i++) {
		edit_something(&edited);
		ck_assert(!segment_checksum_valid(&edited.segment));
	}
}
END_TEST

START_TEST(nothing_to_edit_without_timestamp)
{
	struct edited edited;
	struct made before;

	make_packet(&edited.made, make_families[_i], NULL, 0, 3);
	parse(&edited);
	before = edited.made;
	segment_set_tsval(&edited.segment, 1);
	segment_set_tsecr(&edited.segment, 1);
	ck_assert_mem_eq(before.bytes, edited.made.bytes, before.length);
	ck_assert_uint_eq(edited.segment.tsval, 0);
	ck_assert_uint_eq(edited.segment.tsecr, 0);
}
END_TEST

START_TEST(blank_option)
{
	const uint8_t kinds[] = {TCP_OPTION_TIMESTAMP, TCP_OPTION_MSS, TCP_OPTION_SACK};
	struct edited edited;
	struct tcp_option option;

	for (size_t i = 0; i < sizeof(kinds); i++) {
		make(&edited, make_families[_i], 3);
		struct made before = edited.made;
		ck_assert(tcp_option_find(&edited.segment, kinds[i], &option));
		segment_blank_option(&edited.segment, &option);
		memset(before.bytes + option.offset, TCP_OPTION_NOP, option.length);
		store16(before.bytes + before.transport + 16, checksum_field(&edited));
		ck_assert_mem_eq(before.bytes, edited.made.bytes, before.length);
		ck_assert_uint_eq(checksum_field(&edited), plain_tcp_checksum(&edited.made));
		ck_assert(!tcp_option_find(&edited.segment, kinds[i], &option));
		assert_view(&edited);
	}
}
END_TEST

/* With the first timestamp gone, the second is the first. */
START_TEST(blank_first_of_two_timestamps)
{
	const uint8_t options[] = {8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 8, 10, 5, 6, 7, 8, 0, 0, 0, 9};
	struct edited edited;
	struct tcp_option option;

	make_packet(&edited.made, make_families[_i], options, sizeof(options), 0);
	parse(&edited);
	ck_assert_uint_eq(edited.segment.tsval, 0x01020304);
	ck_assert(tcp_option_find(&edited.segment, TCP_OPTION_TIMESTAMP, &option));
	segment_blank_option(&edited.segment, &option);
	ck_assert_uint_eq(edited.segment.tsval, 0x05060708);
	assert_view(&edited);
}
END_TEST

/* All that a receiver would read, wherever they stand; not what only looks alike. */
START_TEST(blank_timestamps)
{
	const uint8_t options[] = {8, 6, 1, 2,  3, 4, 8, 10, 5, 6, 7, 8, 0, 0,
				   0, 9, 8, 10, 1, 1, 1, 1,  2, 2, 2, 2, 1, 0};
	struct edited edited;

	make_packet(&edited.made, make_families[_i], options, sizeof(options), 5);
	parse(&edited);
	struct made before = edited.made;
	segment_blank_timestamps(&edited.segment);
	ck_assert_uint_eq(edited.segment.timestamp, 0);
	memset(before.bytes + edited.segment.options + 6, TCP_OPTION_NOP, 20);
	store16(before.bytes + before.transport + 16, plain_tcp_checksum(&before));
	ck_assert_mem_eq(before.bytes, edited.made.bytes, before.length);
	assert_view(&edited);
}
END_TEST

static void assert_ip_right(struct edited *edited, size_t length)
{
	ck_assert_uint_eq(edited->packet.length, length);
	ck_assert_uint_eq(edited->packet.captured, length);
	edited->made.length = length;
	if (edited->made.family == FAMILY_IPV4) {
		ck_assert_uint_eq(load16(edited->made.bytes + 2), length);
		ck_assert_uint_eq(load16(edited->made.bytes + 10),
				  plain_ipv4_checksum(&edited->made));
	} else {
		ck_assert_uint_eq(load16(edited->made.bytes + 4), length - 40);
	}
	assert_view(edited);
}

START_TEST(strip_payload)
{
	struct edited edited;

	for (unsigned int round = 0; round < ROUNDS / 10; round++) {
		make(&edited, make_families[_i], make_random() % 4000);
		uint8_t *flags = edited.made.bytes + edited.made.transport + 13;
		uint8_t before = *flags;
		segment_strip_payload(&edited.segment);
		assert_ip_right(&edited, edited.made.transport + 20 + OPTIONS);
		ck_assert_uint_eq(edited.segment.payload_length, 0);
		ck_assert_uint_eq(*flags, (uint8_t)(before & ~TCP_FIN));
		ck_assert_uint_eq(edited.segment.flags, *flags);
		ck_assert_uint_eq(checksum_field(&edited), plain_tcp_checksum(&edited.made));
	}
}
END_TEST

START_TEST(strip_payload_before_the_device)
{
	struct edited edited;

	for (unsigned int round = 0; round < ROUNDS / 10; round++) {
		make(&edited, make_families[_i], make_random() % 4000);
		store16(edited.made.bytes + edited.made.transport + 16,
			plain_fold(plain_pseudo(&edited.made)));
		edited.packet.checksum_ready = false;
		segment_strip_payload(&edited.segment);
		assert_ip_right(&edited, edited.made.transport + 20 + OPTIONS);
		ck_assert(!edited.packet.checksum_ready);
		ck_assert_uint_eq(checksum_field(&edited), plain_fold(plain_pseudo(&edited.made)));
		ck_assert(segment_checksum_is_partial(&edited.segment));
	}
}
END_TEST

/* Only the headers were copied, as the queue does it. */
START_TEST(strip_payload_of_a_short_copy)
{
	struct edited edited;

	make_packet(&edited.made, make_families[_i], odd_options, OPTIONS, 1000);
	size_t headers = edited.made.transport + 20 + OPTIONS;
	ck_assert_int_eq(packet_parse(&edited.packet, edited.made.bytes, headers + 7), REASON_NONE);
	ck_assert_int_eq(segment_parse(&edited.segment, &edited.packet), REASON_NONE);
	segment_strip_payload(&edited.segment);
	assert_ip_right(&edited, headers);
	ck_assert_uint_eq(checksum_field(&edited), plain_tcp_checksum(&edited.made));
}
END_TEST

START_TEST(become_reset)
{
	struct edited edited;

	for (unsigned int round = 0; round < ROUNDS / 10; round++) {
		make(&edited, make_families[_i], make_random() % 2000);
		struct made before = edited.made;
		uint32_t sequence = tricky32();
		uint8_t *tcp = edited.made.bytes + edited.made.transport;
		edited.packet.checksum_ready = round % 2 != 0;
		tcp[12] |= 0x0f;
		store16(tcp + 18, 0x1234);
		segment_become_reset(&edited.segment, sequence);
		assert_ip_right(&edited, edited.made.transport + 20);
		ck_assert(edited.packet.checksum_ready);
		ck_assert_uint_eq(checksum_field(&edited), plain_tcp_checksum(&edited.made));
		ck_assert_uint_eq(load32(tcp + 4), sequence);
		ck_assert_uint_eq(load32(tcp + 8), 0);
		ck_assert_uint_eq(load16(tcp + 12), 0x5000 | TCP_RST);
		ck_assert_uint_eq(load16(tcp + 14), 0);
		ck_assert_uint_eq(load16(tcp + 18), 0);
		/* Ports and addresses stay. */
		ck_assert_mem_eq(tcp, before.bytes + before.transport, 4);
		size_t source = before.family == FAMILY_IPV4 ? 12 : 6;
		ck_assert_mem_eq(edited.made.bytes + source, before.bytes + source,
				 before.transport - source);
	}
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("segment_edit");

	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, random_edits, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, checksum_of_the_device_is_left_alone, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, edits_keep_a_wrong_checksum_wrong, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, nothing_to_edit_without_timestamp, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, blank_option, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, blank_first_of_two_timestamps, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, blank_timestamps, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, strip_payload, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, strip_payload_before_the_device, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, strip_payload_of_a_short_copy, 0, MAKE_KINDS);
	tcase_add_loop_test(tcase, become_reset, 0, MAKE_KINDS);
	return run_tcase("segment_edit", tcase);
}
