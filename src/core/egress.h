/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The egress role: puts the token into the SYNs of unmodified clients and translates the sequence
 * numbers of their connections (thesis 3.5, 8.1). Sits on the wire's side of conntrack and NAT.
 * Pure: no I/O, no clock; one instance per worker, no locks. */
#ifndef KNOCKGW_CORE_EGRESS_H
#define KNOCKGW_CORE_EGRESS_H

#include <stdint.h>

#include "destination.h"
#include "icmp_quote.h"
#include "packet.h"
#include "table.h"
#include "verdict.h"

struct egress;

/* flows: a table of flow_table_layout, maybe with flows of an earlier process; it must outlive the
 * engine. Returns NULL when memory is short. */
struct egress *egress_new(struct table *flows);
void egress_free(struct egress *egress);

/* A segment on its way to a server. now in milliseconds of a steady clock. The segment may be
 * edited: see decision->modified. packet->bytes may then point into memory of the engine, valid
 * until the next call; packet->length tells how long it is.
 * VERDICT_VERIFIED: translated; VERDICT_PASS: goes on untouched; VERDICT_DROP. */
void egress_from_client(struct egress *egress, const struct destination_table *destinations,
			struct segment *segment, uint64_t now, struct decision *decision);

/* A segment from a server, before conntrack and NAT. Verdicts as above. */
void egress_from_server(struct egress *egress, const struct destination_table *destinations,
			struct segment *segment, uint64_t now, struct decision *decision);

/* The quote in an ICMP or ICMPv6 error that came from the wire or leaves to it: only its numbers
 * change, and the checksums over them. */
void egress_quote_from_wire(struct egress *egress, struct icmp_quote *quote,
			    struct decision *decision);
void egress_quote_to_wire(struct egress *egress, struct icmp_quote *quote,
			  struct decision *decision);

/* Forgets what has expired. */
void egress_expire(struct egress *egress, uint64_t now);

#endif
