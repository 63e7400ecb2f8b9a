/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checksum.h"

#include <endian.h>
#include <string.h>

/* Four 32-bit lanes: one vector register of any machine, or plain code where there is none. */
typedef uint32_t lanes __attribute__((vector_size(16)));

enum {
	STEP = 4 * sizeof(lanes),
	/* A lane takes up 2 * 65535 with each vector: so many bytes fit before it overflows. */
	BLOCK = 512 * STEP,
};

/* The two 16-bit words in each lane of a vector's worth of bytes. */
static inline lanes load_words(const uint8_t *bytes)
{
	lanes words;

	memcpy(&words, bytes, sizeof(words));
	return (words & 0xffff) + (words >> 16);
}

/* Sums 16-bit words in the order of the machine: RFC 1071 section 2 (B) shows that the order only
 * turns the bytes of the result. length is a multiple of STEP and no more than BLOCK. Sums that do
 * not wait for each other keep the processor busy. */
static uint64_t sum_block(const uint8_t *bytes, size_t length)
{
	lanes first = {0}, second = {0}, third = {0}, fourth = {0};
	uint64_t sum = 0;

	for (; length > 0; bytes += STEP, length -= STEP) {
		first += load_words(bytes);
		second += load_words(bytes + sizeof(lanes));
		third += load_words(bytes + 2 * sizeof(lanes));
		fourth += load_words(bytes + 3 * sizeof(lanes));
	}
	for (size_t i = 0; i < 4; i++)
		sum += (uint64_t)first[i] + second[i] + third[i] + fourth[i];
	return sum;
}

static uint64_t sum_native(const uint8_t *bytes, size_t length)
{
	uint64_t sum = 0;

	while (length >= STEP) {
		size_t block = length / STEP * STEP;
		if (block > BLOCK)
			block = BLOCK;
		sum += sum_block(bytes, block);
		bytes += block;
		length -= block;
	}
	for (; length >= 2; bytes += 2, length -= 2) {
		uint16_t word;

		memcpy(&word, bytes, sizeof(word));
		sum += word;
	}
	if (length == 1) {
		uint8_t padded[2] = {bytes[0], 0};
		uint16_t word;

		memcpy(&word, padded, sizeof(word));
		sum += word;
	}
	return sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length)
{
	return sum + be16toh(fold(sum_native(bytes, length)));
}

uint16_t checksum_finish(uint64_t sum)
{
	return (uint16_t)~fold(sum);
}

uint64_t checksum_pseudo(uint8_t family, const uint8_t *source, const uint8_t *destination,
			 uint8_t protocol, uint32_t length)
{
	size_t size = family_address_length(family);
	uint64_t sum = checksum_add(0, source, size);

	return checksum_add(sum, destination, size) + protocol + (length >> 16) + (length & 0xffff);
}

uint16_t checksum_update16(uint16_t checksum, uint16_t before, uint16_t after)
{
	/* HC' = ~(~HC + ~m + m') */
	return checksum_finish((uint64_t)(uint16_t)~checksum + (uint16_t)~before + after);
}

uint16_t checksum_update32(uint16_t checksum, uint32_t before, uint32_t after)
{
	uint64_t sum = (uint16_t)~checksum;

	sum += (uint16_t) ~(before >> 16);
	sum += (uint16_t)~before;
	sum += (after >> 16) + (after & 0xffff);
	return checksum_finish(sum);
}
