/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of the protect engine share. */
#ifndef KNOCKGW_CORE_PROTECT_INTERNAL_H
#define KNOCKGW_CORE_PROTECT_INTERNAL_H

#include "hold.h"
#include "protect.h"

/* A SYN may be sent again for 127 seconds (tcp_syn_retries = 6); a failed connection must outlive
 * every copy of its SYN. */
enum {
	VERIFIED_TIMEOUT = 130 * 1000,
	DEAD_TIMEOUT = 300 * 1000,
	DELIVERY_TIMEOUT = 30 * 1000, /* for the server to acknowledge the bytes of the check */
	DEAD_MAX = 4,                 /* ISNs that one tuple may spoil */
};

enum connection_phase {
	PHASE_PENDING = 1,
	PHASE_VERIFIED,
	PHASE_DEAD,
	PHASE_UNKNOWN, /* the kernel calls it verified, and its ISN is forgotten */
};

enum side { SIDE_CLIENT = 1, SIDE_SERVER = 2, BOTH_SIDES = SIDE_CLIENT | SIDE_SERVER };

/* What is remembered of a SYN. */
struct syn {
	uint32_t isn;
	uint32_t tsval;     /* of its first copy, which made the token */
	uint16_t integrity; /* bytes of its check: the service's when it came */
	bool present;
	uint8_t reserved;
};

struct connection {
	uint32_t isn;
	uint32_t tsval; /* of the SYN: the key is found again with it, so that a reload may revoke
			   it */
	uint32_t acknowledgement; /* the client's latest: an RST for it must stand there */
	uint32_t hold; /* number of its hold while there are bytes that the server lacks; 0: none */
	struct server_view server;
	uint8_t phase;
	uint8_t established; /* the client has acknowledged something */
	uint8_t dead_count;
	uint8_t ended;      /* which sides have sent a FIN: enum side */
	uint16_t integrity; /* bytes of its check: the service's when the SYN came */
	uint16_t reserved2;
	/* The latest SYN that came while the kernel had another connection on this tuple. It means
	 * nothing before the server has answered it. */
	struct syn candidate;
	/* ISNs whose payload was wrong. They outlive the SYNs that follow on this tuple: else two
	 * tokens in turn would give the 16-bit hash of either any number of tries. */
	uint32_t dead[DEAD_MAX];
};

struct hold_slot {
	struct hold hold;
	uint32_t next_free; /* slot + 1 */
	bool used;
};

/* Slots are handed out from the first on, so that those that no one ever needs cost no memory. */
struct hold_pool {
	struct hold_slot *slots;
	uint32_t count;
	uint32_t fresh; /* slots that were ever used */
	uint32_t free;  /* slot + 1 of the first one that was given back; 0: none */
	uint32_t used;
};

struct protect {
	struct table *connections;
	size_t size;
	uint32_t pending;
	struct guards *guards; /* shared; NULL: none */
	struct protect_output output;
	uint64_t began; /* what was before is not remembered */
	bool client_only;
	struct hold_pool held; /* bytes that were held back; numbers 1 to held.count */
	struct hold_pool kept; /* bytes that went on in one segment; numbers behind these */
	uint64_t due;          /* no hold has anything to do before */
};

static inline void decide(struct decision *decision, enum verdict verdict, enum reason reason)
{
	decision->verdict = verdict;
	decision->reason = reason;
}

/* protect.c */

void set_phase(struct protect *protect, struct connection *connection, enum connection_phase phase,
	       uint32_t timeout, uint64_t now);
/* FINs of these sides (enum side; 0: none). One that both have ended is remembered until nobody
 * speaks for the client any more: a server with SYN cookies may have begun another one with what
 * came. */
void note_end(struct protect *protect, struct connection *connection, unsigned int sides,
	      uint64_t now);
/* Gives up the ISN of a connection for good; its phase is dead then. */
void bury(struct connection *connection);
/* A wrong check ends it for both sides and for good: what the client sent becomes the RST that the
 * server gets (RFC 9293 3.10.7.4: it must stand exactly at what the server expects next). */
void kill_connection(struct segment *segment, uint32_t server_expects, enum reason reason,
		     struct decision *decision);

/* Multipath TCP says of each byte where in the stream it belongs. Then the bytes that are checked
 * need not be the first that the application sees. */
void blank_multipath(struct segment *segment, struct decision *decision);

/* protect_syn.c */

/* A SYN; tracked as for protect_judge. */
void judge_syn(struct protect *protect, struct segment *segment, bool tracked, struct moment now,
	       struct decision *decision);
/* The same SYN, now that conntrack has told the state of the connection that the tuple has. */
void resolve_syn(struct protect *protect, struct segment *segment, enum connection_state state,
		 struct moment now, struct decision *decision);
/* A server's segment with SYN, of a connection that may be NULL: it tells which of the client's
 * SYNs the server has taken. verified as for protect_reply. */
void judge_answer(struct protect *protect, struct connection *connection,
		  const struct segment *segment, bool verified, uint64_t now,
		  struct decision *decision);

/* protect_hold.c */

bool hold_pool_open(struct hold_pool *pool, uint32_t count);
void hold_pool_close(struct hold_pool *pool);
struct hold *hold_of(const struct protect *protect, const struct connection *connection);
/* For the first of several segments; with checked for one that has all bytes, and they were right.
 * Returns NULL when there is no room. */
struct hold *take_hold(struct protect *protect, struct connection *connection,
		       const struct segment *segment, bool checked);
/* Gives the slot of a connection back, when it has one. */
void release_hold(struct protect *protect, struct connection *connection);
/* Acknowledges and retransmits what is due. */
void tick_holds(struct protect *protect, uint64_t now);

/* protect_payload.c */

/* A segment of a connection whose payload check is still to come. */
void judge_pending(struct protect *protect, struct connection *connection, struct segment *segment,
		   struct moment now, struct decision *decision);
/* A connection that ran out of time: resets both sides. */
void give_up(struct protect *protect, const struct tuple *tuple, struct connection *connection,
	     uint64_t now);

#endif
