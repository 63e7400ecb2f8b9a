/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integrity mode for unmodified clients: the token in the SYN needs a hash over the first payload
 * bytes, so the client's handshake is answered for the server, the bytes are collected, and only
 * then the real SYN leaves. Afterwards both halves are joined by translating every segment.
 *
 *   client             splice                      server
 *     | --- SYN --------> | (held)                    |
 *     | <-- SYN+ACK ----- |                           |
 *     | --- ACK, data --> | until N bytes are there   |
 *     | <-- ACK --------- | --- SYN (token) --------> |  the held packet, released
 *     |                   | <-- SYN+ACK ------------- |
 *     |                   | --- >= N bytes ---------> |  one segment, again until acknowledged
 *     | <================ | <-- ACK ----------------- |
 *     | <== translated ==>| <== translated =========> |
 *
 * Sits on the client's side of conntrack and NAT: both tuples are client and server as the client
 * wrote them. What the client is promised (MSS, window scale, SACK, timestamps) is what this server
 * negotiated last time. Window scale and SACK need no luck: the real SYN offers them whenever the
 * client did, and what the client was not promised is translated away. Timestamps and MSS can
 * disappoint: then both sides are reset, the cache has learnt, the next attempt works.
 *
 * Pure: no I/O, no clock; one instance per worker, which share nothing but that cache. now is in
 * milliseconds of a steady clock. Everything is allocated at creation. */
#ifndef KNOCKGW_CORE_SPLICE_H
#define KNOCKGW_CORE_SPLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "destination.h"
#include "packet.h"
#include "promise.h"
#include "table.h"
#include "verdict.h"

/* What is promised to clients of a server that is not known yet. */
struct splice_defaults {
	uint16_t mss_ipv4;
	uint16_t mss_ipv6;
	bool window_scale;
	uint8_t window_shift; /* the scale promised for the server's windows */
	bool sack;
	bool timestamps; /* a server without them costs the first connection; without the promise
			    no SYN offers them, so they are never learnt */
};

struct splice_limits {
	uint32_t half_made;            /* connections between the client's SYN and delivery */
	uint32_t half_made_per_client; /* of them from one client address */
	uint32_t buffer_size;     /* bytes collected per connection: the longest N and a segment */
	uint32_t collect_timeout; /* ms from the client's SYN until N bytes are there */
	uint32_t connect_timeout; /* ms until the server answered; again until it took the bytes */
	bool plain_after_timeout; /* collect_timeout: try in authentication mode; else reset */
	struct splice_defaults defaults;
};

/* Conservative values for destinations with up to longest_integrity bytes. */
struct splice_limits splice_limits_default(uint16_t longest_integrity);

enum splice_stage {
	SPLICE_COLLECTING = 1, /* the client talks to us, its SYN is held */
	SPLICE_CONNECTING,     /* the real SYN is on its way */
	SPLICE_DELIVERING,     /* the server answered; N bytes are on their way, nothing else */
	SPLICE_DRAINING,       /* the server has the N bytes; more were collected */
	SPLICE_JOINED,         /* translation only */
	SPLICE_BROKEN,         /* half-made when its process ended: both sides are reset */
};

enum splice_flag {
	SPLICE_TIMESTAMPS = 0x01,     /* in use: the server's are translated */
	SPLICE_SACK_TO_CLIENT = 0x02, /* the client was promised SACK */
	SPLICE_SACK_TO_SERVER = 0x04, /* the server negotiated SACK */
};

enum splice_closing {
	SPLICE_CLIENT_FIN = 0x01,
	SPLICE_SERVER_FIN = 0x02,
	SPLICE_RESET = 0x04,
	SPLICE_TSECR_SETTLED = 0x08, /* the client echoes the server's clock only */
};

/* The value in the table, keyed by the tuple client -> server. All numbers in host byte order. */
struct splice_flow {
	/* fixed once inserted (sealed by the table) */
	uint32_t client_isn;
	uint32_t token;         /* ISN towards the server; 0: the SYN has not left yet */
	uint32_t iss;           /* our ISN towards the client */
	uint32_t server_isn;    /* 0 before the server answered */
	uint32_t tsval_delta;   /* TSval for the client = server's + this */
	uint32_t server_tsval;  /* of the server's SYN+ACK: no smaller TSecr for the server */
	uint32_t destination;   /* its index */
	uint8_t server_shift;   /* window scale the server uses */
	uint8_t promised_shift; /* window scale the client believes it uses */
	uint8_t client_shift; /* the server takes the client's windows unscaled: to be shifted here
			       */
	uint8_t flags;        /* enum splice_flag */
	/* changing */
	uint32_t client_sent; /* end of what the server may have got, in the client's numbers */
	uint32_t server_sent; /* end of what the client may have got, in the server's numbers */
	uint32_t half;        /* slot of the half-made connection + 1; 0: none */
	uint8_t stage;        /* enum splice_stage */
	uint8_t closing;      /* enum splice_closing */
	uint8_t reserved[2];
};

/* The layout of the table that splice_new wants. */
struct table_layout splice_table_layout(uint32_t capacity);

/* Packets of our own and the fate of held ones. bytes belong to the engine and are valid during the
 * call only. Segments to the server have the hop limit that the client's SYN had when it came. */
struct emission {
	enum emission_kind {
		EMIT_TO_CLIENT,    /* a packet from the server's address to the client */
		EMIT_TO_SERVER,    /* a packet from the client's address to the server */
		EMIT_RELEASE_HELD, /* let the held packet go with these bytes instead of its own */
		EMIT_DROP_HELD,    /* drop the held packet; no bytes */
	} kind;
	uint32_t packet_id;   /* of the held packet */
	enum reason reason;   /* why: for counters and logs */
	struct tuple tuple;   /* client -> server, whatever the direction */
	const uint8_t *bytes; /* a whole IP packet, all checksums right */
	size_t length;
};

/* Takes emissions, in order. Must not call the engine. */
struct splice_output {
	void (*emit)(void *context, const struct emission *emission);
	void *context;
};

struct splice_result {
	struct decision decision; /* VERDICT_PASS or VERDICT_DROP */
	bool hold; /* no verdict now: an EMIT_RELEASE_HELD or EMIT_DROP_HELD follows some day */
};

struct splice;

/* flows: a table of splice_table_layout, maybe with flows of an earlier process: those whose bytes
 * were not delivered yet are lost, and the first splice_tick resets both sides; the others go on.
 * promises: what servers negotiated last time, shared by all instances; must outlive this one.
 * key: random bytes. NULL: memory is short. */
struct splice *splice_new(struct table *flows, struct promise_cache *promises,
			  const struct splice_limits *limits, const uint8_t key[static 16],
			  uint64_t now);

/* Held packets get no emission; the kernel drops them with the queue. */
void splice_free(struct splice *splice);

/* Goes over to other limits, except that the numbers of connections stay, and buffers
 * never shrink. Returns false when memory is short: then destinations that need longer buffers
 * get no new connections. */
bool splice_use_limits(struct splice *splice, const struct splice_limits *limits);

/* A segment from a client. destination (for segment->tuple.destination) is NULL or without
 * integrity when it left the configuration, or changed: flows that are joined go on. A half-made
 * one is reset if its token is not made yet, and its key or N is another one by now. packet_id
 * names the packet in emissions. The segment may be edited: decision.modified. Segments of no known
 * flow pass untouched, REASON_FLOW_UNKNOWN. */
void splice_from_client(struct splice *splice, const struct destination *destination,
			struct segment *segment, uint32_t packet_id, uint64_t now,
			const struct splice_output *output, struct splice_result *result);

/* A segment from a server to a client, after conntrack and NAT. */
void splice_from_server(struct splice *splice, struct segment *segment, uint64_t now,
			const struct splice_output *output, struct splice_result *result);

/* An ICMP error about a client's segment says that it does not get through. sequence: the quoted
 * one, as the server would see it. Ends an attempt to connect whose SYN it is, with an RST for the
 * client, which believes to be connected. Returns whether there was one. */
bool splice_unreachable(struct splice *splice, const struct tuple *tuple, uint32_t sequence,
			uint64_t now, const struct splice_output *output);

/* Timers: retransmissions, time-outs, expiry of flows. Call every 100 ms or so. Returns when the
 * next timer of a half-made connection is due; UINT64_MAX: none. */
uint64_t splice_tick(struct splice *splice, uint64_t now, const struct splice_output *output);

/* Gives up all half-made connections, with an RST for everybody who knows of them: before the end
 * of the process. Joined ones stay. */
void splice_end_halves(struct splice *splice, uint64_t now, const struct splice_output *output);

/* How sequence numbers differ: for quotes in ICMP errors, and for knockctl. */
struct splice_deltas {
	uint32_t client; /* server's view of a client's sequence number = client's view + this */
	uint32_t server; /* client's view of a server's sequence number = server's view + this */
	uint32_t tsval;  /* client's view of a server's TSval = server's view + this */
};

/* Looks up by the tuple client -> server. False when the halves are not joined (yet); while the SYN
 * is on its way *deltas holds the client's delta, the others are 0, and true is returned. */
bool splice_deltas(struct splice *splice, const struct tuple *tuple, struct splice_deltas *deltas);

/* Connections that are half-made. */
uint32_t splice_half_made(const struct splice *splice);

/* Its state as a number of enum flow_state. flow: a struct splice_flow. */
unsigned int splice_state_number(const void *flow);

/* "collecting", "connecting", "delivering", "established", "fin-wait", "time-wait", "closed",
 * "broken". */
const char *splice_state_word(const struct splice_flow *flow);

#endif
