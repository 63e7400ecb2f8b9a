/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the splice engine share. */
#ifndef KNOCKGW_CORE_SPLICE_INTERNAL_H
#define KNOCKGW_CORE_SPLICE_INTERNAL_H

#include "segment_build.h"
#include "splice.h"

enum {
	SPLICE_RETRANSMIT_FIRST = 1000, /* ms, RFC 6298 2.1 */
	SPLICE_RETRANSMIT_LEAST = 200,  /* ms, as Linux */
	SPLICE_RETRANSMIT_MOST = 60000,
	SPLICE_FRAGMENT_AFTER = 3, /* transmissions without an answer until DF is left out */
	/* Headers and payload of what we send ourselves, as far as N allows: this passes every path
	 * (RFC 8200 5), and there is no path MTU discovery for it. */
	SPLICE_PACKET_MOST = 1280,
	/* How far from what its sender sent last an RST or FIN may lie and still count here: more
	 * than is ever in flight, and a blind guess hits it once in 512 times. */
	SPLICE_REACH = 1 << 22,
};

/* What a SYN offers or answers. */
struct handshake_options {
	bool mss;
	bool window_scale;
	bool sack_permitted;
	bool timestamps;
	bool signed_segment; /* TCP-MD5 or TCP-AO */
	uint16_t mss_value;
	uint8_t window_shift;
};

/* A connection from the client's SYN until the server has all that was collected. */
struct half {
	uint32_t slot;
	uint32_t next_free; /* slot + 1 */
	bool used;
	bool held;          /* the SYN waits in the kernel's queue */
	uint32_t packet_id; /* of the held SYN */
	struct tuple tuple; /* client -> server */
	struct splice_flow *flow;
	uint8_t *buffer; /* what was collected */
	/* the client's SYN */
	struct handshake_options offered;
	uint32_t syn_tsval;
	uint16_t syn_window;
	uint8_t hop_limit;
	uint8_t traffic_class;
	uint32_t flow_label;
	bool dont_fragment;
	/* our handshake with the client */
	struct handshake_options promised;
	uint32_t clock_base; /* TSval for the client = now + this */
	/* the client since then */
	uint32_t tsval;    /* latest in-order TSval of the client */
	uint16_t window;   /* latest window field of the client */
	bool fin;          /* a FIN follows the collected bytes */
	uint32_t required; /* bytes for the token; 0 in authentication mode */
	uint32_t collected;
	uint32_t promised_next; /* what the client knows to be acknowledged, once the halves join */
	uint32_t auth_token;    /* for plain_after_timeout, and to know the key again */
	bool plain_after_timeout;
	/* the server */
	uint32_t first_length; /* bytes of the segment that the server will judge */
	uint32_t segment_size; /* most payload in a segment for the server */
	uint32_t acknowledged; /* bytes (with FIN) that the server acknowledged */
	uint32_t server_next;  /* first sequence number that the server has not sent yet */
	uint32_t server_acknowledgement; /* what the client acknowledged, in the server's numbers */
	uint32_t server_tsval;           /* latest from the server */
	/* timers */
	uint64_t deadline;      /* give up */
	uint64_t retransmit_at; /* UINT64_MAX: off */
	uint64_t sent_at;
	uint32_t interval; /* between retransmissions, doubling */
	uint32_t transmissions;
};

struct splice {
	struct table *flows;
	struct splice_limits limits;
	uint8_t key[16];
	struct promise_cache *promises;
	struct half *halves;
	uint8_t *buffers;
	uint8_t *scratch; /* the packet being emitted */
	size_t scratch_size;
	uint16_t *clients; /* half-made connections by hash of the client's address */
	uint32_t clients_mask;
	uint32_t free; /* slot + 1 of the first free half */
	uint32_t count;
	uint64_t counter;  /* of ISNs */
	uint64_t next_due; /* no timer of a half-made connection is due before */
	bool has_broken;   /* flows that nobody was told of yet */
};

/* One call into the engine. */
struct splice_call {
	struct splice *splice;
	const struct splice_output *output;
	uint64_t now;
};

static inline uint32_t splice_client_delta(const struct splice_flow *flow)
{
	return flow->token - flow->client_isn;
}

static inline uint32_t splice_server_delta(const struct splice_flow *flow)
{
	return flow->iss - flow->server_isn;
}

/* Neither reset nor closed by both sides. */
static inline bool splice_lives(const struct splice_flow *flow)
{
	const uint8_t both = SPLICE_CLIENT_FIN | SPLICE_SERVER_FIN;

	return (flow->closing & SPLICE_RESET) == 0 && (flow->closing & both) != both;
}

/* The client's next sequence number that we wait for, in its own numbers. */
static inline uint32_t half_client_next(const struct half *half)
{
	return half->flow->client_isn + 1 + half->collected;
}

/* splice.c */

/* A half-made connection for the client's tuple with its entry in the table; NULL: no room. */
struct half *half_take(struct splice_call *call, const struct tuple *tuple,
		       const struct splice_flow *flow);
/* Gives the slot back; the flow stays. A SYN that is still held is dropped. */
void half_release(struct splice_call *call, struct half *half, enum reason reason);
/* Gives the slot back and removes the flow. */
void half_abandon(struct splice_call *call, struct half *half, enum reason reason);
struct half *half_of(struct splice *splice, const struct splice_flow *flow);
/* Puts the deadline timeout ms and the retransmission interval ms from now. */
void half_set_timers(struct splice_call *call, struct half *half, uint32_t timeout,
		     uint32_t interval);
/* Another value for the tuple of half: the sealed part of an entry cannot be changed in place. */
bool half_replace_flow(struct splice_call *call, struct half *half, const struct splice_flow *flow);
/* Gives up on both sides. */
void half_reset_both(struct splice_call *call, struct half *half, enum reason reason);
/* Sends the real SYN for the first time; token is its ISN. */
void half_connect(struct splice_call *call, struct half *half, uint32_t token);
/* Follows FIN and RST, and moves the deadline of the flow. sent: &flow->client_sent or
 * &flow->server_sent; sequence: the segment's, before its translation. */
void splice_follow(struct splice_call *call, struct splice_flow *flow, uint32_t *sent,
		   uint32_t sequence, const struct segment *segment, enum splice_closing fin);
uint32_t splice_hash32(struct splice *splice, const void *bytes, size_t length, uint64_t salt);
void handshake_options_read(struct handshake_options *options, const struct segment *segment);
uint16_t handshake_default_mss(uint8_t family);

/* splice_emit.c */

void emit_syn_ack(struct splice_call *call, const struct half *half);
void emit_client_ack(struct splice_call *call, const struct half *half);
void emit_client_reset(struct splice_call *call, const struct half *half, enum reason reason);
void emit_syn(struct splice_call *call, struct half *half);
/* Sends what the server may have by now and has not acknowledged. */
void emit_collected(struct splice_call *call, struct half *half);
/* A bare RST to the server; sequence is offset bytes behind the first payload byte. */
void emit_server_reset(struct splice_call *call, const struct half *half, uint32_t offset,
		       enum reason reason);
/* Answers a segment with the RST that a closed port would send (RFC 9293 3.10.7.1). */
void emit_reset_answer(struct splice_call *call, const struct segment *segment, bool to_client,
		       enum reason reason);
/* A bare RST behind all that this side of a flow may have got. */
void emit_bare_reset(struct splice_call *call, const struct tuple *tuple,
		     const struct splice_flow *flow, bool to_client);
/* Asks a client that seems to begin anew whether its connection is really gone, as the server would
 * (RFC 9293 3.10.7.4): a client that lives on ignores it, one that does not answers with an RST. */
void emit_challenge(struct splice_call *call, const struct tuple *tuple,
		    const struct splice_flow *flow);
void emit_drop_held(struct splice_call *call, const struct half *half, enum reason reason);
/* A window of the client as the server understands it. */
uint16_t window_for_server(const struct splice_flow *flow, uint16_t window);

/* splice_translate.c */

void translate_to_server(struct splice_flow *flow, struct segment *segment);
/* half may be NULL. */
void translate_to_client(const struct splice *splice, const struct splice_flow *flow,
			 const struct half *half, struct segment *segment);
uint32_t translate_tsecr_to_server(struct splice_flow *flow, uint32_t tsecr);

#endif
