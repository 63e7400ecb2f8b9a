/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small, strict TCP for tests: one end of one connection. Whatever a real TCP would be entitled
 * to complain about is reported through peer_fail. */
#ifndef KNOCKGW_TESTS_SPLICE_PEER_H
#define KNOCKGW_TESTS_SPLICE_PEER_H

#include "core/packet.h"
#include "core/service.h"

enum { PEER_STREAM_MAX = 16384, PEER_TSVALS_MAX = 4096, PEER_PACKET_MAX = 4096 };

enum peer_state {
	PEER_CLOSED,
	PEER_LISTEN,
	PEER_SYN_SENT,
	PEER_SYN_RECEIVED,
	PEER_ESTABLISHED,
	PEER_RESET,
};

struct peer_settings {
	bool window_scale;
	bool sack;
	bool timestamps;
	bool nagle;
	bool waits; /* starts its stream only when it got something */
	uint8_t shift;
	uint16_t mss;        /* that it announces */
	uint32_t window;     /* receive window in bytes */
	uint32_t write_size; /* bytes that the application writes at once */
	uint32_t stream_length;
};

struct peer {
	const char *name;
	struct peer_settings settings;
	struct tuple tuple; /* of its own packets */
	enum peer_state state;
	/* Knock's server logic; key NULL: none */
	const struct key *key;
	uint16_t integrity;
	bool judged;
	bool plain; /* expects a token of authentication mode */
	uint32_t syn_tsval;
	/* negotiated */
	bool scaling, sacking, stamping;
	uint8_t peer_shift;
	uint16_t peer_mss;
	/* sending; offsets of the stream: 0 is the first byte */
	uint32_t iss, una, nxt, max;
	uint32_t written; /* by the application */
	uint64_t peer_window;
	uint8_t out[PEER_STREAM_MAX];
	bool fin_acknowledged;
	/* receiving */
	uint32_t irs;
	uint32_t received; /* bytes in order */
	bool fin_received;
	bool has_fin;
	uint32_t fin_at;
	uint32_t right_edge; /* offset, largest announced */
	uint8_t in[PEER_STREAM_MAX];
	bool got[PEER_STREAM_MAX];
	/* timestamps */
	uint32_t clock_base;
	uint32_t recent;
	uint32_t tsvals[PEER_TSVALS_MAX];
	uint32_t tsval_count;
	/* timers */
	uint64_t retransmit_at;
	uint32_t interval;
	uint64_t write_at;
	uint32_t first_payload; /* length of the first data segment that a server took */
	void (*send)(void *context, struct peer *peer, const uint8_t *bytes, size_t length);
	void *context;
};

extern void peer_fail(const struct peer *peer, const char *what);

void peer_connect(struct peer *peer, uint64_t now);
void peer_receive(struct peer *peer, struct segment *segment, uint64_t now);
void peer_timer(struct peer *peer, uint64_t now);
void peer_abort(struct peer *peer, uint64_t now);
bool peer_done(const struct peer *peer);

#endif
