/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Remembers which source used a token first, so that whoever saw a SYN on its way cannot use it
 * again. Several threads share one without locks.
 *
 * A token on the wire is what its SYN shows: destination, ISN and TSval. It belongs to the address
 * and port that it came from first, for a window of time. Others who show it are replaying it, with
 * one exception: for about ten milliseconds the same address may use it on further ports, since
 * many TCP stacks give all connections that a host opens to a server in the same tick of their
 * timestamp clock the same TSval: the offset that Linux adds (secure_tcp_ts_off()) depended on the
 * addresses only for years, and there is none with tcp_timestamps = 2. A tick is 1 to 10
 * milliseconds.
 *
 * Memory: two words for each token. A bucket of eight that is full of tokens within the window
 * gives up the oldest: its token could be replayed. Only holders of a key can make that happen,
 * since only right tokens are remembered, and they have no need to replay.
 *
 * Errors: a new token is taken for a replay when it is in truth the same as that of another client
 * (n tokens of the same key and destination within the window: n / 2^32, so 2.3e-6 for 10,000), or
 * when the 42 bits by which a token is told from the others in its bucket agree (at most 8 / 2^42,
 * 1.8e-12). A replay passes when the 40 bits by which a source is told from others agree (9.1e-13).
 * The hash is keyed, so nobody can search for collisions. */
#ifndef KNOCKGW_CORE_REPLAY_GUARD_H
#define KNOCKGW_CORE_REPLAY_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

enum {
	/* Milliseconds, at least; up to 8 more. Clients count in one, but how long their SYNs wait
	 * for a busy worker differs by more. */
	REPLAY_TICK = 32,
	REPLAY_WINDOW_LIMIT = 4 * 3600, /* seconds; the clock of an entry goes around in 9 hours */
};

struct replay_guard;

enum replay_finding {
	REPLAY_FIRST,   /* not seen before, or by this tuple: go on */
	REPLAY_EVICTED, /* the same, but the oldest token of a full bucket had to go for it */
	REPLAY_FOREIGN, /* it belongs to another source: a replay */
};

/* capacity: tokens, 16 bytes each; rounded up to a power of two. hash_key: random bytes. Returns
 * NULL when memory is short. */
struct replay_guard *replay_guard_new(size_t capacity, const uint8_t hash_key[static 16]);
void replay_guard_free(struct replay_guard *guard);

/* Judges a right token: the SYN of that tuple, with that ISN and TSval. window in seconds, 1 to
 * REPLAY_WINDOW_LIMIT; now in milliseconds of a steady clock. */
enum replay_finding replay_guard_judge(struct replay_guard *guard, const struct tuple *tuple,
				       uint32_t isn, uint32_t tsval, uint32_t window, uint64_t now);

#endif
