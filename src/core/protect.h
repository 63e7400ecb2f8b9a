/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The protect role: judges what clients send to a protected service (design: verify the SYN, then
 * in integrity mode the first payload). Pure: no I/O, no clock; one instance per worker, no locks.
 */
#ifndef KNOCKGW_CORE_PROTECT_H
#define KNOCKGW_CORE_PROTECT_H

#include <stdint.h>

#include "guards.h"
#include "moment.h"
#include "packet.h"
#include "protect_action.h"
#include "service.h"
#include "table.h"
#include "verdict.h"

struct protect;

struct protect_options {
	uint32_t capacity; /* connections that are remembered between SYN and payload check, and for
			      retransmitted SYNs */
	uint32_t holds;    /* of these, how many may have bytes held back at a time */
	bool client_only;  /* there will be no protect_reply: acknowledgements are taken on trust */
	struct protect_output output;
};

/* hash_key: random bytes. Returns NULL when memory is short. */
struct protect *protect_new(const struct protect_options *options,
			    const uint8_t hash_key[static 16], uint64_t now);
void protect_free(struct protect *protect);

/* Shares guards against guessing and replay, which must outlive it, with other instances. Without
 * them there are none. */
void protect_use_guards(struct protect *protect, struct guards *guards);

/* Judges one segment of a client. It may be edited: see decision->modified; packet->length then
 * tells how much of it is left. tracked: conntrack has known its tuple before (matters for a SYN
 * only). */
void protect_judge(struct protect *protect, const struct service_table *services,
		   struct segment *segment, bool tracked, struct moment now,
		   struct decision *decision);

/* What conntrack answered after VERDICT_LOOKUP. */
enum connection_state {
	CONNECTION_UNKNOWN,
	CONNECTION_PENDING,
	CONNECTION_VERIFIED,
	CONNECTION_ENDING, /* it was verified, and two FINs were seen, or one of them twice */
	CONNECTION_ENDED,  /* it was verified, and was reset */
};

/* Finishes a decision that asked for VERDICT_LOOKUP. */
void protect_resolve(struct protect *protect, struct segment *segment, enum connection_state state,
		     struct moment now, struct decision *decision);

/* Looks at a segment of a server on its way to the client of a pending connection, or with verified
 * at a SYN+ACK or FIN to the client of a connection that the kernel calls verified.
 * VERDICT_PENDING: the kernel must call the connection pending before it goes on. VERDICT_RESET:
 * nobody knows the connection any more. */
void protect_reply(struct protect *protect, const struct service_table *services,
		   struct segment *segment, bool verified, uint64_t now, struct decision *decision);

/* Forgets what has expired, and acknowledges and retransmits what is held back. Returns when it is
 * to be called next; UINT64_MAX: within a second or so. */
uint64_t protect_tick(struct protect *protect, uint64_t now);

/* Connections whose payload check is still to come. */
uint32_t protect_pending(const struct protect *protect);

/* Of these, connections with bytes held back. */
uint32_t protect_held(const struct protect *protect);

#endif
