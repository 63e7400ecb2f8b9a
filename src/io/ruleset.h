/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The nftables table "inet knockgw" as text, made from the configuration. Pure text: io/nft.h
 * installs it. docs/architecture.md tells the way of a packet through these chains. */
#ifndef KNOCKGW_IO_RULESET_H
#define KNOCKGW_IO_RULESET_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "config.h"
#include "core/flow.h"

#define RULESET_TABLE "knockgw"

/* The states of a connection, in those bits of its ct mark that are ours. In the packet mark, whose
 * same bits carry a verdict from the daemon to the next chain, refused tells the daemon that
 * conntrack has known this tuple before this SYN, and verified that a SYN+ACK belongs to an entry
 * that is verified. */
struct marks {
	uint32_t mask;
	uint32_t verified; /* egress: translated */
	uint32_t pending;
	uint32_t refused;
};

/* The lowest bit of the mask means verified, the next one pending, both refused. */
struct marks marks_from_mask(uint32_t mask);

/* A chain that only holds a queue statement. */
struct queue_chain {
	char name[32];
	uint16_t first;
	uint16_t count;
	bool bypass; /* with nobody listening: go on to the next base chain instead of dropping */
	bool drop;   /* until there is a queue statement: drop. Else: go on */
};

enum { QUEUE_CHAINS_MAX = 3 + 3 * FLOW_SHARDS };

/* Fills in the queue chains of a ruleset and returns how many there are. */
size_t ruleset_queue_chains(const struct config *config,
			    struct queue_chain chains[static QUEUE_CHAINS_MAX]);

/* Writes a queue chain as ruleset_write does. */
void ruleset_write_queue_chain(FILE *stream, const struct queue_chain *chain, bool native_queue);

/* First queue number of a role. */
uint16_t ruleset_protect_queue(const struct config *config);
uint16_t ruleset_egress_queue(const struct config *config);

/* How many queues the egress role has. The protect role has queue_count. */
uint16_t ruleset_egress_queues(const struct config *config);

/* The same for the part of the egress role that does integrity mode; 0 without such a destination.
 */
uint16_t ruleset_splice_queue(const struct config *config);
uint16_t ruleset_splice_queues(const struct config *config);

/* Writes the table. With native_queue false there are no queue statements, for kernels where
 * another kind of rule has to be put in front of what is in them. */
void ruleset_write(FILE *stream, const struct config *config, bool native_queue);

/* The same, but connections of the egress role are held up: see ruleset_egress_needs_hold. */
void ruleset_write_held(FILE *stream, const struct config *config, bool native_queue);

#endif
