/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/icmp_quote.h"

#include "packet_maker.h"
#include "support.h"

enum { BEFORE = MADE_SEQUENCE, AFTER = 0x01020304 };

static uint8_t bytes[2048];
static struct packet packet;

/* What the ICMP checksum should be. */
static uint16_t plain_checksum(bool ipv6, size_t header, size_t length)
{
	uint64_t sum = 0;

	if (ipv6)
		sum = plain_sum(PROTOCOL_ICMPV6 + length - header, bytes + 8, 32);
	return (uint16_t)~plain_fold(plain_sum(sum, bytes + header, length - header));
}

/* An error of that type about the first quoted bytes of a made packet. */
static size_t make_error(const struct made *made, uint8_t type, size_t quoted)
{
	bool ipv6 = made->family == FAMILY_IPV6;
	size_t header = ipv6 ? 40 : 20;
	size_t length = header + 8 + quoted;

	memset(bytes, 0, sizeof(bytes));
	bytes[0] = ipv6 ? 0x60 : 0x45;
	bytes[ipv6 ? 6 : 9] = ipv6 ? PROTOCOL_ICMPV6 : PROTOCOL_ICMP;
	bytes[ipv6 ? 7 : 8] = 64;
	store16(bytes + (ipv6 ? 4 : 2), (uint16_t)(ipv6 ? length - 40 : length));
	memset(bytes + (ipv6 ? 8 : 12), 0x2a, ipv6 ? 32 : 8);
	bytes[header] = type;
	memcpy(bytes + header + 8, made->bytes, quoted);
	store16(bytes + header + 2, plain_checksum(ipv6, header, length));
	return length;
}

static enum reason parse(struct icmp_quote *quote, size_t length)
{
	ck_assert_int_eq(packet_parse(&packet, bytes, length), REASON_NONE);
	return icmp_quote_parse(quote, &packet);
}

static bool checksum_right(size_t length)
{
	return plain_checksum(packet.family == FAMILY_IPV6, packet.transport, length) == 0;
}

/* Every length of a quote, each kind of packet: numbers are changed where they are, and nothing
 * else. */
START_TEST(quotes_of_any_length)
{
	struct made made;
	struct icmp_quote quote;
	uint8_t type = make_families[_i] <= MAKE_IPV4_OPTIONS ? 3 : 2;

	make_packet(&made, make_families[_i], NULL, 0, 100);
	for (size_t quoted = made.transport + 8; quoted <= made.length; quoted++) {
		size_t length = make_error(&made, type, quoted);
		ck_assert_int_eq(parse(&quote, length), REASON_NONE);
		ck_assert_uint_eq(quote.sequence, BEFORE);
		ck_assert_uint_eq(quote.tuple.source.port, MADE_SOURCE_PORT);
		ck_assert_uint_eq(quote.tuple.destination.port, MADE_DESTINATION_PORT);
		ck_assert_uint_eq(quote.tuple.source.family, made.family);
		icmp_quote_set_sequence(&quote, AFTER);
		ck_assert(checksum_right(length));
		icmp_quote_set_acknowledgement(&quote, AFTER);
		ck_assert(checksum_right(length));
		struct made changed = made;
		store32(changed.bytes + made.transport + 4, AFTER);
		if (quoted >= made.transport + 12)
			store32(changed.bytes + made.transport + 8, AFTER);
		made_finish(&changed);
		/* Half a checksum is left as it is. */
		if (quoted < made.transport + 18)
			changed.bytes[made.transport + 16] = made.bytes[made.transport + 16];
		ck_assert_mem_eq(bytes + packet.transport + 8, changed.bytes, quoted);
	}
}
END_TEST

START_TEST(what_is_no_quote)
{
	struct made made;
	struct icmp_quote quote;

	make_packet(&made, MAKE_IPV4, NULL, 0, 0);
	ck_assert_int_eq(parse(&quote, make_error(&made, 8, 40)), REASON_QUOTE_FOREIGN);
	ck_assert_int_eq(parse(&quote, make_error(&made, 3, 27)), REASON_MALFORMED);
	ck_assert_int_eq(parse(&quote, make_error(&made, 3, 0)), REASON_MALFORMED);
	size_t length = make_error(&made, 3, 40);
	bytes[22] ^= 1;
	ck_assert_int_eq(parse(&quote, length), REASON_CHECKSUM_WRONG);
	length = make_error(&made, 3, 40);
	ck_assert_int_eq(parse(&quote, length - 1), REASON_TRUNCATED);
	made.bytes[9] = 17;
	ck_assert_int_eq(parse(&quote, make_error(&made, 3, 40)), REASON_QUOTE_FOREIGN);
	made.bytes[9] = PROTOCOL_TCP;
	store16(made.bytes + 6, 100);
	ck_assert_int_eq(parse(&quote, make_error(&made, 3, 40)), REASON_FRAGMENT);
	/* An ICMP header that is cut off. */
	make_error(&made, 3, 40);
	store16(bytes + 2, 24);
	ck_assert_int_eq(packet_parse(&packet, bytes, 24), REASON_NONE);
	ck_assert_int_eq(icmp_quote_parse(&quote, &packet), REASON_MALFORMED);
}
END_TEST

START_TEST(random_bytes)
{
	struct made made;
	struct icmp_quote quote;
	unsigned int taken = 0;

	for (unsigned int i = 0; i < 50000; i++) {
		make_packet(&made, make_families[i % MAKE_KINDS], NULL, 0, 20);
		for (unsigned int k = 0; k < 3; k++)
			made.bytes[make_random() % made.length] = (uint8_t)make_random();
		size_t length = make_error(&made, i % MAKE_KINDS < 2 ? 3 : 1,
					   make_random() % (made.length + 1));
		if (parse(&quote, length) != REASON_NONE)
			continue;
		taken++;
		icmp_quote_set_sequence(&quote, AFTER);
		icmp_quote_set_acknowledgement(&quote, AFTER);
		ck_assert(checksum_right(length));
	}
	ck_assert_uint_gt(taken, 1000);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("icmp_quote");

	tcase_set_timeout(tcase, 120);

	tcase_add_loop_test(tcase, quotes_of_any_length, 0, MAKE_KINDS);
	tcase_add_test(tcase, what_is_no_quote);
	tcase_add_test(tcase, random_bytes);
	return run_tcase("icmp_quote", tcase);
}
