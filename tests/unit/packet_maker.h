/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes packets and computes checksums byte by byte, apart from the code under test. */
#ifndef KNOCKGW_TESTS_PACKET_MAKER_H
#define KNOCKGW_TESTS_PACKET_MAKER_H

#include <check.h>
#include <string.h>

#include "core/packet.h"

enum make_kind { MAKE_IPV4, MAKE_IPV4_OPTIONS, MAKE_IPV6, MAKE_IPV6_EXTENSION };

enum { MAKE_KINDS = 4, MADE_SIZE = 8192 };

static const enum make_kind make_families[MAKE_KINDS] = {MAKE_IPV4, MAKE_IPV4_OPTIONS, MAKE_IPV6,
							 MAKE_IPV6_EXTENSION};

enum {
	MADE_SEQUENCE = 0x7a0b0c0d,
	MADE_ACKNOWLEDGEMENT = 0x01fe02fd,
	MADE_WINDOW = 0x8123,
	MADE_SOURCE_PORT = 40001,
	MADE_DESTINATION_PORT = 22,
};

struct made {
	uint8_t bytes[MADE_SIZE];
	size_t length;
	size_t transport;
	uint8_t family;
};

/* xorshift64: the same numbers in every run. */
static inline uint32_t make_random(void)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16);
}

static inline uint64_t plain_sum(uint64_t sum, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		sum += (uint64_t)bytes[i] << (i % 2 == 0 ? 8 : 0);
	return sum;
}

static inline uint16_t plain_fold(uint64_t sum)
{
	while (sum >> 16 != 0)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* RFC 9293 section 3.1 and RFC 8200 section 8.1. */
static inline uint64_t plain_pseudo(const struct made *made)
{
	size_t size = family_address_length(made->family);
	size_t source = made->family == FAMILY_IPV4 ? 12 : 8;

	return plain_sum(PROTOCOL_TCP + made->length - made->transport, made->bytes + source,
			 2 * size);
}

/* The checksum that should stand in the TCP header. */
static inline uint16_t plain_tcp_checksum(const struct made *made)
{
	uint8_t copy[MADE_SIZE];

	memcpy(copy, made->bytes, made->length);
	store16(copy + made->transport + 16, 0);
	return (uint16_t)~plain_fold(plain_sum(plain_pseudo(made), copy + made->transport,
					       made->length - made->transport));
}

static inline uint16_t plain_ipv4_checksum(const struct made *made)
{
	uint8_t copy[60];
	size_t length = (size_t)(made->bytes[0] & 15) * 4;

	memcpy(copy, made->bytes, length);
	store16(copy + 10, 0);
	return (uint16_t)~plain_fold(plain_sum(0, copy, length));
}

/* Writes the lengths and checksums that fit. */
static inline void made_finish(struct made *made)
{
	if (made->family == FAMILY_IPV4) {
		store16(made->bytes + 2, (uint16_t)made->length);
		store16(made->bytes + 10, plain_ipv4_checksum(made));
	} else {
		store16(made->bytes + 4, (uint16_t)(made->length - 40));
	}
	store16(made->bytes + made->transport + 16, plain_tcp_checksum(made));
}

/* Puts an extension header behind the IPv6 header; its next header follows what was there. */
static inline void made_insert(struct made *made, uint8_t kind, const uint8_t *header,
			       size_t length)
{
	ck_assert_uint_le(made->length + length, MADE_SIZE);
	memmove(made->bytes + 40 + length, made->bytes + 40, made->length - 40);
	memcpy(made->bytes + 40, header, length);
	made->bytes[40] = made->bytes[6];
	made->bytes[6] = kind;
	made->length += length;
	made->transport += length;
	made_finish(made);
}

static inline void make_ip(struct made *made, enum make_kind kind)
{
	bool ipv4 = kind == MAKE_IPV4 || kind == MAKE_IPV4_OPTIONS;

	made->family = ipv4 ? FAMILY_IPV4 : FAMILY_IPV6;
	made->transport = ipv4 ? kind == MAKE_IPV4 ? 20 : 32 : 40;
	made->bytes[0] = ipv4 ? (uint8_t)(0x40 | made->transport / 4) : 0x60;
	made->bytes[ipv4 ? 9 : 6] = PROTOCOL_TCP;
	made->bytes[ipv4 ? 8 : 7] = 64;
	for (size_t i = ipv4 ? 12 : 8; i < (ipv4 ? 20 : 40); i++)
		made->bytes[i] = (uint8_t)make_random();
}

/* A segment with random addresses and payload. options_length is a multiple of four. */
static inline void make_packet(struct made *made, enum make_kind kind, const uint8_t *options,
			       size_t options_length, size_t payload_length)
{
	static const uint8_t destination_options[8] = {0, 0, 1, 4};

	memset(made, 0, sizeof(*made));
	make_ip(made, kind);
	uint8_t *tcp = made->bytes + made->transport;
	store16(tcp, MADE_SOURCE_PORT);
	store16(tcp + 2, MADE_DESTINATION_PORT);
	store32(tcp + 4, MADE_SEQUENCE);
	store32(tcp + 8, MADE_ACKNOWLEDGEMENT);
	tcp[12] = (uint8_t)((20 + options_length) / 4 << 4);
	tcp[13] = TCP_PSH | TCP_ACK;
	store16(tcp + 14, MADE_WINDOW);
	if (options_length > 0)
		memcpy(tcp + 20, options, options_length);
	for (size_t i = 0; i < payload_length; i++)
		tcp[20 + options_length + i] = (uint8_t)make_random();
	made->length = made->transport + 20 + options_length + payload_length;
	made_finish(made);
	if (kind == MAKE_IPV6_EXTENSION)
		made_insert(made, 60, destination_options, sizeof(destination_options));
}

#endif
