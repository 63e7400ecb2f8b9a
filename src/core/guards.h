/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What all workers of the protect role share against guessing and replay. It outlives a reload: the
 * numbers that it goes by come with each service. */
#ifndef KNOCKGW_CORE_GUARDS_H
#define KNOCKGW_CORE_GUARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "service.h"
#include "verdict.h"

struct guards;

/* tokens: how many replay protection remembers, see replay_guard.h. hash_key: random bytes. Returns
 * NULL when memory is short. */
struct guards *guards_new(size_t tokens, const uint8_t hash_key[static 16]);
void guards_free(struct guards *guards);

/* In all of these guards may be NULL: then nothing is limited or remembered. Times in milliseconds
 * of a steady clock. */

/* Whether the SYNs of that source are being refused unseen, because too many from its prefix
 * failed. */
bool guards_hold(const struct guards *guards, const struct service *service,
		 const struct endpoint *source, uint64_t now);

/* Whether a right token comes from somewhere else than before. Tokens without TSval cannot be told
 * apart and never do. *alarms: see struct decision. */
bool guards_replayed(struct guards *guards, const struct service *service,
		     const struct tuple *tuple, uint32_t isn, uint32_t tsval, uint64_t now,
		     unsigned int *alarms);

/* Takes note of a decision: failures are counted for the prefix of their source and for the
 * service. Adds to decision->alarms. */
void guards_note(struct guards *guards, struct decision *decision, const struct endpoint *source,
		 uint64_t now);

#endif
