/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "segment_build.h"

#include <string.h>

#include "checksum.h"
#include "packet.h"

enum { IPV4_HEADER = 20, IPV6_HEADER = 40, TCP_HEADER = 20 };

/* Writes the options in the order that Linux uses, so that nothing looks unusual on the wire. */
static size_t write_options(const struct segment_options *options, uint8_t *at)
{
	uint8_t *start = at;

	if (options->mss) {
		*at++ = TCP_OPTION_MSS;
		*at++ = 4;
		store16(at, options->mss_value);
		at += 2;
	}
	if (options->sack_permitted || options->timestamp) {
		*at++ = options->sack_permitted ? TCP_OPTION_SACK_PERMITTED : TCP_OPTION_NOP;
		*at++ = options->sack_permitted ? 2 : TCP_OPTION_NOP;
		if (!options->timestamp) {
			*at++ = TCP_OPTION_NOP;
			*at++ = TCP_OPTION_NOP;
		}
	}
	if (options->timestamp) {
		*at++ = TCP_OPTION_TIMESTAMP;
		*at++ = 10;
		store32(at, options->tsval);
		store32(at + 4, options->tsecr);
		at += 8;
	}
	if (options->window_scale) {
		*at++ = TCP_OPTION_NOP;
		*at++ = TCP_OPTION_WINDOW_SCALE;
		*at++ = 3;
		*at++ = options->window_shift;
	}
	return (size_t)(at - start);
}

size_t segment_options_length(const struct segment_options *options)
{
	uint8_t scratch[40];

	return write_options(options, scratch);
}

static void write_ipv4(const struct segment_plan *plan, uint8_t *bytes, size_t length)
{
	memset(bytes, 0, IPV4_HEADER);
	bytes[0] = 0x45;
	bytes[1] = plan->traffic_class;
	store16(bytes + 2, (uint16_t)length);
	store16(bytes + 4, plan->dont_fragment ? 0 : plan->identification);
	store16(bytes + 6, plan->dont_fragment ? 0x4000 : 0);
	bytes[8] = plan->hop_limit;
	bytes[9] = PROTOCOL_TCP;
	memcpy(bytes + 12, plan->tuple.source.address, 4);
	memcpy(bytes + 16, plan->tuple.destination.address, 4);
	store16(bytes + 10, checksum_finish(checksum_add(0, bytes, IPV4_HEADER)));
}

static void write_ipv6(const struct segment_plan *plan, uint8_t *bytes, size_t length)
{
	store32(bytes,
		0x60000000U | (uint32_t)plan->traffic_class << 20 | (plan->flow_label & 0xfffffU));
	store16(bytes + 4, (uint16_t)(length - IPV6_HEADER));
	bytes[6] = PROTOCOL_TCP;
	bytes[7] = plan->hop_limit;
	memcpy(bytes + 8, plan->tuple.source.address, ADDRESS_SIZE);
	memcpy(bytes + 24, plan->tuple.destination.address, ADDRESS_SIZE);
}

static void write_tcp(const struct segment_plan *plan, uint8_t *tcp, size_t header)
{
	size_t length = header + plan->payload_length;
	uint64_t sum;

	store16(tcp, plan->tuple.source.port);
	store16(tcp + 2, plan->tuple.destination.port);
	store32(tcp + 4, plan->sequence);
	store32(tcp + 8, plan->acknowledgement);
	tcp[12] = (uint8_t)(header / 4 << 4);
	tcp[13] = plan->flags;
	store16(tcp + 14, plan->window);
	store32(tcp + 16, 0); /* checksum and urgent pointer */
	if (plan->payload_length != 0)
		memcpy(tcp + header, plan->payload, plan->payload_length);
	sum = checksum_pseudo(plan->tuple.source.family, plan->tuple.source.address,
			      plan->tuple.destination.address, PROTOCOL_TCP, (uint32_t)length);
	store16(tcp + 16, checksum_finish(checksum_add(sum, tcp, length)));
}

size_t segment_build(const struct segment_plan *plan, uint8_t *bytes, size_t size)
{
	bool ipv4 = plan->tuple.source.family == FAMILY_IPV4;
	size_t ip = ipv4 ? IPV4_HEADER : IPV6_HEADER;
	size_t header = TCP_HEADER + segment_options_length(&plan->options);
	size_t length = ip + header + plan->payload_length;

	if (plan->payload_length > UINT16_MAX || length > size || length > UINT16_MAX)
		return 0;
	if (ipv4)
		write_ipv4(plan, bytes, length);
	else
		write_ipv6(plan, bytes, length);
	write_options(&plan->options, bytes + ip + TCP_HEADER);
	write_tcp(plan, bytes + ip, header);
	return length;
}
