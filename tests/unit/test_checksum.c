/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/checksum.h"

#include <check.h>
#include <stdlib.h>

#include "runner.h"

static uint64_t random_state = 0x2545f4914f6cdd1d;

/* xorshift64: the same numbers in every run. */
static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* RFC 1071 section 4.1, as simple as can be. */
static uint16_t plain_checksum(uint64_t sum, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum += (uint64_t)bytes[i] << (i % 2 == 0 ? 8 : 0);
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

START_TEST(rfc_example)
{
	/* RFC 1071 section 3: the sum is ddf2. */
	const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	ck_assert_uint_eq(checksum_finish(checksum_add(0, bytes, sizeof(bytes))),
			  (uint16_t)~0xddf2);
	ck_assert_uint_eq(checksum_finish(0), 0xffff);
	ck_assert_uint_eq(checksum_finish(checksum_add(0, NULL, 0)), 0xffff);
	/* RFC 1624 section 4: the example that eqn. 2 gets wrong. */
	ck_assert_uint_eq(checksum_update16(0xdd2f, 0x5555, 0x3285), 0x0000);
}
END_TEST

START_TEST(every_length_and_alignment)
{
	uint8_t bytes[400];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)next_random();
	for (size_t start = 0; start < 16; start++)
		for (size_t length = 0; length <= sizeof(bytes) - start; length++)
			ck_assert_uint_eq(
				checksum_finish(checksum_add(length, bytes + start, length)),
				plain_checksum(length, bytes + start, length));
}
END_TEST

START_TEST(large_and_extreme)
{
	enum { SIZE = 65575 };
	uint8_t *bytes = malloc(SIZE);

	ck_assert_ptr_nonnull(bytes);
	memset(bytes, 0xff, SIZE);
	ck_assert_uint_eq(checksum_finish(checksum_add(0, bytes, SIZE)),
			  plain_checksum(0, bytes, SIZE));
	memset(bytes, 0, SIZE);
	ck_assert_uint_eq(checksum_finish(checksum_add(0, bytes, SIZE)), 0xffff);
	for (size_t i = 0; i < SIZE; i++)
		bytes[i] = (uint8_t)next_random();
	ck_assert_uint_eq(checksum_finish(checksum_add(0, bytes, SIZE)),
			  plain_checksum(0, bytes, SIZE));
	/* In two pieces, the first of even length. */
	uint64_t sum = checksum_add(0, bytes, 31338);
	ck_assert_uint_eq(checksum_finish(checksum_add(sum, bytes + 31338, SIZE - 31338)),
			  plain_checksum(0, bytes, SIZE));
	free(bytes);
}
END_TEST

START_TEST(pseudo_header)
{
	uint8_t source[ADDRESS_SIZE];
	uint8_t destination[ADDRESS_SIZE];
	uint8_t header[40] = {0};

	for (size_t i = 0; i < ADDRESS_SIZE; i++) {
		source[i] = (uint8_t)next_random();
		destination[i] = (uint8_t)next_random();
	}
	/* RFC 9293 section 3.1. */
	memcpy(header, source, 4);
	memcpy(header + 4, destination, 4);
	header[9] = 6;
	header[10] = 0xfe;
	header[11] = 0xdc;
	ck_assert_uint_eq(
		checksum_finish(checksum_pseudo(FAMILY_IPV4, source, destination, 6, 0xfedc)),
		plain_checksum(0, header, 12));
	/* RFC 8200 section 8.1. */
	memset(header, 0, sizeof(header));
	memcpy(header, source, 16);
	memcpy(header + 16, destination, 16);
	header[33] = 0x12;
	header[34] = 0xfe;
	header[35] = 0xdc;
	header[39] = 58;
	ck_assert_uint_eq(
		checksum_finish(checksum_pseudo(FAMILY_IPV6, source, destination, 58, 0x12fedc)),
		plain_checksum(0, header, 40));
}
END_TEST

/* 0000 and ffff are where incremental updates go wrong, so take them often. */
static uint16_t tricky16(void)
{
	static const uint16_t tricky[] = {0x0000, 0xffff, 0x0001, 0xfffe, 0x8000, 0x7fff};
	uint64_t number = next_random();

	return number % 2 != 0 ? tricky[(number >> 8) % 6] : (uint16_t)(number >> 16);
}

static void store(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* As in a real packet, something that does not change is not zero. */
START_TEST(updates_equal_the_whole)
{
	uint8_t bytes[12];

	for (unsigned int round = 0; round < 200000; round++) {
		for (size_t i = 0; i < sizeof(bytes); i += 2)
			store(bytes + i, tricky16());
		bytes[10] |= 1;
		uint16_t checksum = plain_checksum(0, bytes, sizeof(bytes));
		size_t at = 2 * (next_random() % 4);
		uint16_t before[2] = {(uint16_t)(bytes[at] << 8 | bytes[at + 1]),
				      (uint16_t)(bytes[at + 2] << 8 | bytes[at + 3])};
		uint16_t after[2] = {tricky16(), tricky16()};
		store(bytes + at, after[0]);
		ck_assert_uint_eq(checksum_update16(checksum, before[0], after[0]),
				  plain_checksum(0, bytes, sizeof(bytes)));
		store(bytes + at + 2, after[1]);
		ck_assert_uint_eq(checksum_update32(checksum, (uint32_t)before[0] << 16 | before[1],
						    (uint32_t)after[0] << 16 | after[1]),
				  plain_checksum(0, bytes, sizeof(bytes)));
	}
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("checksum");

	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, rfc_example);
	tcase_add_test(tcase, every_length_and_alignment);
	tcase_add_test(tcase, large_and_extreme);
	tcase_add_test(tcase, pseudo_header);
	tcase_add_test(tcase, updates_equal_the_whole);
	return run_tcase("checksum", tcase);
}
