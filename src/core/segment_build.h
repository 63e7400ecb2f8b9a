/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Builds TCP segments of our own, whole packets with every checksum right. */
#ifndef KNOCKGW_CORE_SEGMENT_BUILD_H
#define KNOCKGW_CORE_SEGMENT_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

/* Room for an IPv6 header and a TCP header with all its options. */
enum { SEGMENT_HEADERS_MAX = 40 + 60 };

/* TCP options of a segment; what is not there is left out. */
struct segment_options {
	bool mss;
	bool window_scale;
	bool sack_permitted;
	bool timestamp;
	uint16_t mss_value;
	uint8_t window_shift;
	uint32_t tsval;
	uint32_t tsecr;
};

/* Everything that a segment says. Numbers in host byte order. */
struct segment_plan {
	struct tuple tuple; /* as it shall stand on the wire */
	uint32_t sequence;
	uint32_t acknowledgement;
	uint16_t window;
	uint8_t flags;           /* enum tcp_flag */
	uint8_t hop_limit;       /* TTL */
	uint8_t traffic_class;   /* TOS */
	bool dont_fragment;      /* IPv4 only */
	uint16_t identification; /* IPv4 only; matters without dont_fragment */
	uint32_t flow_label;     /* IPv6 only, 20 bits */
	struct segment_options options;
	const uint8_t *payload;
	size_t payload_length;
};

/* Bytes that the options take up in the TCP header, padding included. */
size_t segment_options_length(const struct segment_options *options);

/* Writes the packet into bytes. Returns its length, or 0 when it does not fit into size bytes or
 * into one IP packet. */
size_t segment_build(const struct segment_plan *plan, uint8_t *bytes, size_t size);

#endif
