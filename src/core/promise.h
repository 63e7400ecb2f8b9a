/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a server negotiated last time: when its handshake is answered for it, the client is promised
 * just that. A cache of fixed size; a forgotten server costs defaults, never correctness. Workers
 * share it: a lock, taken twice for each new connection of integrity mode and never for long. */
#ifndef KNOCKGW_CORE_PROMISE_H
#define KNOCKGW_CORE_PROMISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

/* Whether a server takes up an option is known only after a SYN offered it. */
enum habit { HABIT_UNKNOWN, HABIT_ABSENT, HABIT_PRESENT };

struct server_habits {
	uint16_t mss;         /* as the server announced it; 0: not known */
	uint8_t window_shift; /* with window_scale HABIT_PRESENT */
	enum habit window_scale;
	enum habit sack_permitted;
	enum habit timestamps;
};

struct promise_cache;

/* Room for about capacity servers (rounded up); hash_key keeps strangers from choosing addresses
 * that displace each other. NULL when memory is short. */
struct promise_cache *promise_cache_new(size_t capacity, const uint8_t hash_key[static 16]);
void promise_cache_free(struct promise_cache *cache);

/* What is known of a server; everything unknown when nothing is. */
struct server_habits promise_find(struct promise_cache *cache, const struct endpoint *server);

/* Remembers habits. What is unknown in them keeps the value of before. now is in milliseconds. An
 * MSS that has shrunk does not grow for ten minutes: several servers behind one address would
 * disappoint one client after the other. The server that was not heard of for the longest time
 * gives way, out of the few that share a set. */
void promise_learn(struct promise_cache *cache, const struct endpoint *server,
		   const struct server_habits *habits, uint64_t now);

#endif
