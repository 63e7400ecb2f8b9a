/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bounds-checked views of IPv4, IPv6, TCP and ICMP, and edits that keep checksums right.
 * Nothing here trusts a length that stands in the packet; nothing copies the packet. */
#ifndef KNOCKGW_CORE_PACKET_H
#define KNOCKGW_CORE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"
#include "tuple.h"

enum { PROTOCOL_ICMP = 1, PROTOCOL_TCP = 6, PROTOCOL_ICMPV6 = 58 };

enum tcp_flag {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_URG = 0x20,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,
};

enum tcp_option_kind {
	TCP_OPTION_END = 0,
	TCP_OPTION_NOP = 1,
	TCP_OPTION_MSS = 2,
	TCP_OPTION_WINDOW_SCALE = 3,
	TCP_OPTION_SACK_PERMITTED = 4,
	TCP_OPTION_SACK = 5,
	TCP_OPTION_TIMESTAMP = 8,
	TCP_OPTION_MD5 = 19,
	TCP_OPTION_AO = 29,
	TCP_OPTION_MPTCP = 30,
	TCP_OPTION_FAST_OPEN = 34,
};

/* An IP packet. Offsets count from bytes; every offset and length has been checked. */
struct packet {
	uint8_t *bytes;   /* the IP header */
	size_t captured;  /* bytes that are there; less than length when the copy was cut short */
	size_t length;    /* what the IP header says (IPv6 jumbograms are refused) */
	size_t transport; /* offset of the transport header, behind options and extension headers */
	uint8_t family;   /* FAMILY_IPV4 or FAMILY_IPV6 */
	uint8_t protocol; /* of the transport header */
	bool checksum_ready; /* false: the kernel left the TCP checksum to the device; edits then
				leave it alone and segment_complete_checksum makes it whole */
	bool checksum_later; /* its segments get new checksums when it is split up: no need for one
			      */
};

/* A TCP segment in a packet. Numbers in host byte order. */
struct segment {
	struct packet *packet;
	struct tuple tuple;
	uint32_t sequence;
	uint32_t acknowledgement;
	uint16_t window;
	uint8_t flags;         /* enum tcp_flag; without NS */
	size_t options;        /* offset of the options in the packet */
	size_t options_length; /* in bytes, up to 40 */
	size_t payload;        /* offset of the payload in the packet */
	size_t payload_length; /* by the IP header; the copy may hold less, see
				  segment_payload_captured */
	size_t timestamp;      /* offset of the TSval of the first timestamp option; 0: none */
	uint32_t tsval;        /* 0 without timestamp option */
	uint32_t tsecr;
};

/* One TCP option. For END and NOP length is 1 and there is no data. */
struct tcp_option {
	uint8_t kind;
	uint8_t length; /* of the whole option, checked */
	size_t offset;  /* of the kind byte in the packet */
	uint8_t *data;  /* length - 2 bytes behind kind and length */
};

struct tcp_option_iterator {
	struct packet *packet;
	size_t next;
	size_t end;
};

/* Takes bytes (captured of them are there) as an IP packet: IPv4 with options, or IPv6 with
 * extension headers (RFC 8200: hop-by-hop, routing, destination, fragment, AH, stepped over by
 * their length). checksum_ready is set to true; the caller knows better if not.
 * Returns REASON_NONE, or why it is no packet that we could look into (REASON_MALFORMED,
 * REASON_FRAGMENT for anything but the whole of a datagram). */
enum reason packet_parse(struct packet *packet, uint8_t *bytes, size_t captured);

/* The addresses (ports 0) of bytes that packet_parse may have refused. Returns false when there is
 * no whole IP header. */
bool packet_addresses(struct tuple *tuple, const uint8_t *bytes, size_t captured);

/* Looks at the TCP segment of a parsed packet. Returns REASON_NONE, REASON_NOT_TCP, or
 * REASON_MALFORMED when the header with its options is not completely there or impossible. */
enum reason segment_parse(struct segment *segment, struct packet *packet);

/* Payload bytes that the copy really holds. */
size_t segment_payload_captured(const struct segment *segment);

/* The sequence space that the segment takes up: payload plus one for SYN and one for FIN. */
uint32_t segment_sequence_length(const struct segment *segment);

/* SYN set; ACK, FIN and RST clear (the only segment that a token can be in). */
bool segment_is_initial_syn(const struct segment *segment);

/* Whether the TCP checksum is right. True as well when the kernel left it to the device. False when
 * the copy was cut short, since then nobody can tell. */
bool segment_checksum_valid(const struct segment *segment);

/* Whether the checksum field holds only the sum of the pseudo header: a packet that was captured on
 * its way to a device that fills in the rest. */
bool segment_checksum_is_partial(const struct segment *segment);

/* Walks the options: behind END, or at an option whose length is impossible, the walk is over. */
struct tcp_option_iterator tcp_option_begin(const struct segment *segment);
bool tcp_option_next(struct tcp_option_iterator *iterator, struct tcp_option *option);

/* Finds the first option of a kind. */
bool tcp_option_find(const struct segment *segment, uint8_t kind, struct tcp_option *option);

/* Brings timestamp, tsval and tsecr of the view up to date with the first timestamp option of the
 * right length. Parsing and the edits below do it by themselves. */
void segment_read_timestamp(struct segment *segment);

/* Edits. Each changes the field in the packet, the view, and the TCP checksum (RFC 1624) unless the
 * checksum is not ready. */
void segment_set_sequence(struct segment *segment, uint32_t sequence);
void segment_set_acknowledgement(struct segment *segment, uint32_t acknowledgement);
void segment_set_window(struct segment *segment, uint16_t window);
void segment_set_tsval(struct segment *segment, uint32_t tsval);
void segment_set_tsecr(struct segment *segment, uint32_t tsecr);

/* Writes a 32-bit value in host order at any offset inside the TCP header (SACK edges may stand at
 * an odd offset) and keeps the checksum. */
void segment_edit32(struct segment *segment, size_t offset, uint32_t value);

/* Replaces an option of the segment by NOPs and keeps the checksum. */
void segment_blank_option(struct segment *segment, const struct tcp_option *option);

/* Leaves no timestamp option that a receiver would take for one: each that segment_read_timestamp
 * finds, one after the other. */
void segment_blank_timestamps(struct segment *segment);

/* Puts a timestamp option with TSecr 0 in front of the other options. The packet moves into room
 * (size bytes), which packet->bytes points to afterwards. Returns false, with nothing changed, when
 * the options or the room are full or the packet is not captured whole. */
bool segment_insert_timestamp(struct segment *segment, uint32_t tsval, uint8_t *room, size_t size);

/* Cuts the payload off: IP length, IPv4 header checksum and TCP checksum follow (a TCP checksum
 * that is not ready gets the new pseudo header). The packet then ends behind the TCP header. A FIN
 * goes, too: it stood behind the payload, and would now stand in its place. */
void segment_strip_payload(struct segment *segment);

/* Computes the whole TCP checksum and says that it is ready. Needs the whole packet captured. */
void segment_complete_checksum(struct segment *segment);

/* Turns the segment into a bare RST at that sequence number: no options, no payload, all lengths
 * and checksums right. */
void segment_become_reset(struct segment *segment, uint32_t sequence);

/* Turns a segment in the window of its receiver into an acknowledgement far outside, which makes it
 * say where it is (RFC 9293 3.10.7.4). */
void segment_become_question(struct segment *segment);

/* Byte order helpers for unaligned fields. */
static inline uint16_t load16(const uint8_t *at)
{
	return (uint16_t)((uint16_t)(at[0] << 8) | at[1]);
}
static inline uint32_t load32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
static inline void store16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}
static inline void store32(uint8_t *at, uint32_t value)
{
	store16(at, (uint16_t)(value >> 16));
	store16(at + 2, (uint16_t)value);
}

#endif
