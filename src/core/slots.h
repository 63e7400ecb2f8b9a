/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which of several backends a new connection goes to, as a table of slots that the kernel looks up:
 * by a hash of the client's address, or one slot after the other. */
#ifndef KNOCKGW_CORE_SLOTS_H
#define KNOCKGW_CORE_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

enum {
	SLOTS = 1024,        /* shares are exact to about 1/1024 */
	BACKENDS_LIMIT = 256 /* of a service and address family */
};

struct slot_backend {
	struct endpoint endpoint;
	uint16_t weight; /* at least 1 */
};

/* Fills the slots by weighted rendezvous hashing: slots[i] becomes an index into backends, 1 to
 * BACKENDS_LIMIT of them. Each slot goes to the backend with the highest score for it, whichever
 * others there are: when one comes, only its share of the slots moves, to it; when one goes, only
 * what it had moves. (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates",
 * 1998; weights: -weight / ln(hash), as in Schindelhauer and Schomaker, 2005.) */
void slots_by_hash(const struct slot_backend *backends, size_t count, uint16_t slots[static SLOTS]);

/* Fills in one turn of weighted round robin, each backend as evenly spread as can be (the smooth
 * algorithm of nginx). Returns the length of the turn, at most SLOTS; weights whose sum is beyond
 * are scaled down, none below 1. */
size_t slots_in_turn(const struct slot_backend *backends, size_t count,
		     uint16_t slots[static SLOTS]);

#endif
