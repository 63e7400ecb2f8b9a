/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counts events per second of any number of sources in bounded memory, and holds those that have
 * too many. Several threads share one without locks.
 *
 * Algorithm: the frequent-items summary of Misra and Gries ("Finding repeated elements", 1982) in
 * each bucket of a hash table with LIMIT_WAYS slots a bucket, over a second that begins with the
 * first event of a source. Heavy hitters keep a slot; a source that finds none takes one event off
 * each count of its bucket, and is not counted itself.
 *
 * Error: a count never exceeds the truth, so no source is held for what others did. It falls short
 * by at most n / (w + 1), with n the events of the bucket in the last two seconds and w the slots
 * of it that are not held; n is about the events of all sources divided by the number of buckets,
 * which nobody can change because the hash is keyed. */
#ifndef KNOCKGW_CORE_LIMIT_H
#define KNOCKGW_CORE_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

enum {
	LIMIT_WAYS = 8,
	LIMIT_WINDOW = 1000, /* milliseconds */
	LIMIT_MOST = 65000,  /* the largest limit */
};

struct limit;

/* slots: sources with a count of their own at the same time, 16 bytes each; rounded up to a power
 * of two. hash_key: random bytes. Returns NULL when memory is short. */
struct limit *limit_new(size_t slots, const uint8_t hash_key[static 16]);
void limit_free(struct limit *limit);

/* Counts an event of a source at now (milliseconds of a steady clock). Returns true for the event
 * that was more than most (1 to LIMIT_MOST) in a second: the source is then held for hold
 * milliseconds, during which nothing more is counted. */
bool limit_count(struct limit *limit, uint64_t source, uint32_t most, uint32_t hold, uint64_t now);

/* Whether a source is being held. */
bool limit_holds(const struct limit *limit, uint64_t source, uint64_t now);

/* The number of the prefix that an address lies in; lengths at most 32 and 64. No two prefixes have
 * the same, except for IPv6 prefixes inside of 0:1::/32, which nobody was ever given. */
uint64_t limit_source(const struct endpoint *address, uint8_t ipv4_length, uint8_t ipv6_length);

#endif
