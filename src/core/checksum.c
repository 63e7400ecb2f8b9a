/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checksum.h"

#include <endian.h>
#include <string.h>

/* Sums 32-bit words in the order of the machine: RFC 1071 section 2 (B) shows that the order only
 * turns the bytes of the result. Eight independent sums let the compiler use vector registers. */
static uint64_t sum_native(const uint8_t *bytes, size_t length)
{
	uint64_t lanes[8] = {0};
	uint64_t sum = 0;

	for (; length >= 32; bytes += 32, length -= 32) {
		uint32_t words[8];

		memcpy(words, bytes, sizeof(words));
		for (size_t i = 0; i < 8; i++)
			lanes[i] += words[i];
	}
	for (size_t i = 0; i < 8; i++)
		sum += lanes[i];
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
