/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets by role, service, key, reason and verdict. A tally belongs to a name and not to a
 * configuration: while consecutive configurations have the name, it counts on. */
#ifndef KNOCKGW_IO_COUNTERS_H
#define KNOCKGW_IO_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "core/counter.h"
#include "core/reason.h"
#include "core/verdict.h"

enum role { ROLE_PROTECT, ROLE_EGRESS, ROLE_COUNT };

/* "protect", "egress". */
const char *role_word(enum role role);

/* What one worker counts; a cache line belongs to one worker alone. */
struct tally_share {
	_Alignas(64) _Atomic uint64_t reasons[REASON_COUNT];
	_Atomic uint64_t verdicts[VERDICT_COUNT];
	_Atomic int64_t last_used; /* seconds since 1970; 0: never */
};

struct tally {
	struct tally *next;
	enum role role;
	char service[NAME_SIZE]; /* or egress destination; empty: none has that address */
	char key[NAME_SIZE];     /* empty: no key fits */
	unsigned int uses;       /* configurations that have the name */
	struct tally_share shares[];
};

/* Counts one packet. worker: the number of the calling one within its role. */
static inline void tally_count(struct tally *tally, unsigned int worker, enum verdict verdict,
			       enum reason reason)
{
	struct tally_share *share = &tally->shares[worker];

	counter_add(&share->reasons[reason], 1);
	counter_add(&share->verdicts[verdict], 1);
}

/* The key of that tally opened a connection. wall: seconds since 1970. */
static inline void tally_use(struct tally *tally, unsigned int worker, int64_t wall)
{
	atomic_store_explicit(&tally->shares[worker].last_used, wall, memory_order_relaxed);
}

/* All tallies. Everything below is for the main thread. */
struct counters;

/* workers: of a role, at most. Returns NULL when memory is short. */
struct counters *counters_new(unsigned int workers);
void counters_free(struct counters *counters);

/* Gives the services, keys and destinations of a configuration their tallies, those of the same
 * names before. Call it before any worker sees the configuration. Returns false when memory is
 * short; counters_release is due all the same. */
bool counters_bind(struct counters *counters, struct config *config);

/* Gives up the tallies of a configuration that no worker uses any more. */
void counters_release(struct counters *counters, const struct config *config);

/* For packets that belong to no service or destination. Lives as long as counters. */
struct tally *counters_unknown(const struct counters *counters, enum role role);

/* Walks the tallies, in the order of their roles and names; begin with NULL. */
const struct tally *counters_next(const struct counters *counters, const struct tally *tally);

/* Sums over the workers. */
uint64_t counters_reason(const struct counters *counters, const struct tally *tally,
			 enum reason reason);
uint64_t counters_verdict(const struct counters *counters, const struct tally *tally,
			  enum verdict verdict);

/* When the key of a tally opened a connection the last time since the start, in seconds since 1970;
 * 0: not yet. */
int64_t counters_last_used(const struct counters *counters, const struct tally *tally);

/* Over the verdicts that have that word, see verdict_word. */
uint64_t counters_verdict_word(const struct counters *counters, const struct tally *tally,
			       const char *word);

/* Packets of a role with that reason since the start, those of names that are gone included. */
uint64_t counters_total(const struct counters *counters, enum role role, enum reason reason);

#endif
