/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replay_guard.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "siphash.h"

/* The token's hash and the time of the first use stand in one word, which is claimed by compare and
 * exchange. Until the source is written, too, the time is CLAIMED. */
enum {
	WAYS = 8,
	TOKEN_BITS = 42,
	TIME_BITS = 22,
	TIME_UNIT = 8, /* milliseconds */
	TICK_UNITS = REPLAY_TICK / TIME_UNIT,
	AHEAD_UNITS = 4096, /* by which the clock of another thread may be ahead: half a minute */
	TIME_MASK = (1 << TIME_BITS) - 1,
	CLAIMED = TIME_MASK,
	ATTEMPTS = 16,
};

_Static_assert(TOKEN_BITS + TIME_BITS == 64, "token and time are one word");
_Static_assert((REPLAY_WINDOW_LIMIT * 1000LL / TIME_UNIT + AHEAD_UNITS) >> (TIME_BITS - 1) == 0,
	       "the clock of an entry must not go around within a window");

/* Which part of a source's word is about the address alone. */
static const uint64_t ADDRESS_MASK = 0xffffff;

struct entry {
	_Atomic uint64_t token;  /* with the time in the low bits; 0: none */
	_Atomic uint64_t source; /* tuple in the high 40 bits, address in the low 24 */
};

struct replay_guard {
	uint8_t hash_key[16];
	_Atomic uint32_t longest; /* the longest window that anybody asked about, in units */
	size_t mask;              /* number of buckets - 1 */
	struct entry entries[];
};

/* What is asked, in the form of entries. */
struct question {
	uint64_t token; /* time bits 0 */
	uint64_t source;
	uint32_t now; /* in units, cut to TIME_BITS */
	uint32_t window;
};

/* What a look through the bucket found. */
struct look {
	bool own;
	bool foreign;
	bool full;            /* every entry is within the longest window */
	struct entry *target; /* the entry to take: a vacant one, else the oldest */
	uint64_t token;       /* what is in it */
};

struct replay_guard *replay_guard_new(size_t capacity, const uint8_t hash_key[static 16])
{
	size_t buckets = 1;

	while (buckets * WAYS < capacity)
		buckets *= 2;
	struct replay_guard *guard =
		calloc(1, sizeof(*guard) + buckets * WAYS * sizeof(guard->entries[0]));
	if (guard == NULL)
		return NULL;
	memcpy(guard->hash_key, hash_key, sizeof(guard->hash_key));
	guard->mask = buckets - 1;
	return guard;
}

void replay_guard_free(struct replay_guard *guard)
{
	free(guard);
}

static uint64_t token_hash(const struct replay_guard *guard, const struct endpoint *destination,
			   uint32_t isn, uint32_t tsval)
{
	struct {
		struct endpoint destination;
		uint32_t isn;
		uint32_t tsval;
	} token = {*destination, isn, tsval};

	_Static_assert(sizeof(token) == 28, "the token must have no padding");
	return siphash(guard->hash_key, &token, sizeof(token));
}

static uint64_t source_of(const struct replay_guard *guard, const struct endpoint *source)
{
	struct endpoint address = *source;

	address.port = 0;
	return (siphash(guard->hash_key, &address, sizeof(address)) & ADDRESS_MASK) |
	       (siphash(guard->hash_key, source, sizeof(*source)) & ~ADDRESS_MASK);
}

/* Units since the first use of an entry. */
static uint32_t age_of(uint64_t token, uint32_t now)
{
	uint32_t age = (now - (uint32_t)token) & TIME_MASK;

	return age > TIME_MASK - AHEAD_UNITS ? 0 : age;
}

/* An entry with the token that is asked about, within its window. One that another thread is still
 * writing is foreign: the kernel gives all segments of an address to one thread. */
static void compare(struct look *look, const struct entry *entry, uint64_t token,
		    const struct question *question, uint32_t age)
{
	uint64_t difference = atomic_load(&entry->source) ^ question->source;
	bool written = ((uint32_t)token & TIME_MASK) != CLAIMED;

	/* It may have been given to another token in the meantime. */
	if (atomic_load(&entry->token) != token)
		return;
	if (written && difference == 0)
		look->own = true;
	else if (!written || age > TICK_UNITS || (difference & ADDRESS_MASK) != 0)
		look->foreign = true;
}

static struct look look_through(struct replay_guard *guard, struct entry *bucket,
				const struct question *question)
{
	uint32_t longest = atomic_load_explicit(&guard->longest, memory_order_relaxed);
	struct look look = {.full = true};
	uint32_t oldest = 0;

	for (struct entry *entry = bucket; entry < bucket + WAYS; entry++) {
		uint64_t token = atomic_load(&entry->token);
		bool claimed = ((uint32_t)token & TIME_MASK) == CLAIMED;
		uint32_t age = claimed ? 0 : age_of(token, question->now);
		bool vacant = !claimed && (token == 0 || age > longest);
		/* The first vacant one, so that two threads with the same token want the same. */
		if (look.full && !claimed && (vacant || look.target == NULL || age > oldest)) {
			look.full = !vacant;
			look.target = entry;
			look.token = token;
			oldest = age;
		}
		if (token != 0 && age <= question->window &&
		    token >> TIME_BITS == question->token >> TIME_BITS)
			compare(&look, entry, token, question, age);
	}
	return look;
}

/* Puts the question's token into an entry. Returns false when another thread was faster. */
static bool enter(struct look *look, const struct question *question)
{
	if (look->target == NULL ||
	    !atomic_compare_exchange_strong(&look->target->token, &look->token,
					    question->token | CLAIMED))
		return false;
	atomic_store(&look->target->source, question->source);
	atomic_store(&look->target->token, question->token | question->now);
	return true;
}

/* Two threads may have entered the same token from different sources in different places. Whoever
 * sees that withdraws; both may, then the SYN that is sent again settles it. */
static bool confirm(struct replay_guard *guard, struct entry *bucket,
		    const struct question *question, struct entry *entered)
{
	uint64_t token = question->token | question->now;

	if (!look_through(guard, bucket, question).foreign)
		return true;
	atomic_compare_exchange_strong(&entered->token, &token, 0);
	return false;
}

static enum replay_finding judge(struct replay_guard *guard, struct entry *bucket,
				 const struct question *question)
{
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		struct look look = look_through(guard, bucket, question);
		if (look.own)
			return REPLAY_FIRST;
		if (look.foreign)
			return REPLAY_FOREIGN;
		if (!enter(&look, question))
			continue;
		if (!confirm(guard, bucket, question, look.target))
			return REPLAY_FOREIGN;
		return look.full ? REPLAY_EVICTED : REPLAY_FIRST;
	}
	/* So many threads at one bucket at once: it goes on, but is not remembered. */
	return REPLAY_EVICTED;
}

static void note_window(struct replay_guard *guard, uint32_t window)
{
	uint32_t longest = atomic_load_explicit(&guard->longest, memory_order_relaxed);

	while (longest < window &&
	       !atomic_compare_exchange_weak_explicit(&guard->longest, &longest, window,
						      memory_order_relaxed, memory_order_relaxed))
		;
}

enum replay_finding replay_guard_judge(struct replay_guard *guard, const struct tuple *tuple,
				       uint32_t isn, uint32_t tsval, uint32_t window, uint64_t now)
{
	uint64_t hash = token_hash(guard, &tuple->destination, isn, tsval);
	struct question question = {
		.token = hash & ~(uint64_t)TIME_MASK,
		.source = source_of(guard, &tuple->source),
		.now = (uint32_t)(now / TIME_UNIT) & TIME_MASK,
		.window = (uint32_t)((uint64_t)window * 1000 / TIME_UNIT),
	};

	/* Two values of the clock have a meaning of their own. */
	if (question.now == CLAIMED || question.now == 0)
		question.now = question.now == 0 ? 1 : CLAIMED - 1;
	note_window(guard, question.window);
	return judge(guard, &guard->entries[((size_t)hash & guard->mask) * WAYS], &question);
}
