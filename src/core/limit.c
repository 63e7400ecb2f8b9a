/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "limit.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "siphash.h"

/* A slot changes in one place, its state, by compare and exchange: 8 bits of the source's hash, a
 * count, and a time: when the second began, or when the hold ends. The hash is there for the case
 * that the slot changes hands between a look and an exchange, all within one millisecond. */
enum { COUNT_BITS = 16, TIME_BITS = 40, COUNT_HELD = 0xffff, COUNT_TAKEN = 0xfffe };

/* More exchanges that fail in a row mean as many other threads at the same slot: let the event go.
 */
enum { ATTEMPTS = 16 };

struct slot {
	_Atomic uint64_t source;
	_Atomic uint64_t state; /* COUNT_TAKEN while source is being written */
};

struct limit {
	uint8_t hash_key[16];
	size_t mask; /* number of buckets - 1 */
	struct slot slots[];
};

static uint64_t make_state(uint64_t hash, uint32_t count, uint64_t time)
{
	return hash >> 56 << (COUNT_BITS + TIME_BITS) | (uint64_t)count << TIME_BITS |
	       (time & (((uint64_t)1 << TIME_BITS) - 1));
}

static uint32_t count_of(uint64_t state)
{
	return (uint32_t)(state >> TIME_BITS) & 0xffff;
}

static uint64_t time_of(uint64_t state)
{
	return state & (((uint64_t)1 << TIME_BITS) - 1);
}

/* A clock that began in 1970 does not fit; it goes around once in 34 years. */
static uint64_t cut(uint64_t now)
{
	return now & (((uint64_t)1 << TIME_BITS) - 1);
}

static bool is_held(uint64_t state, uint64_t now)
{
	return count_of(state) == COUNT_HELD && time_of(state) > now;
}

/* Whether it counts. Another thread's clock may be a little ahead of ours. */
static bool is_counting(uint64_t state, uint64_t now)
{
	uint32_t count = count_of(state);

	return count > 0 && count < COUNT_TAKEN && now < time_of(state) + LIMIT_WINDOW;
}

static bool is_vacant(uint64_t state, uint64_t now)
{
	return count_of(state) != COUNT_TAKEN && !is_held(state, now) && !is_counting(state, now);
}

static uint64_t load(const _Atomic uint64_t *value)
{
	return atomic_load_explicit(value, memory_order_acquire);
}

static bool exchange(struct slot *slot, uint64_t *from, uint64_t to)
{
	return atomic_compare_exchange_strong_explicit(&slot->state, from, to, memory_order_acq_rel,
						       memory_order_acquire);
}

struct limit *limit_new(size_t slots, const uint8_t hash_key[static 16])
{
	size_t buckets = 1;

	while (buckets * LIMIT_WAYS < slots)
		buckets *= 2;
	struct limit *limit =
		calloc(1, sizeof(*limit) + buckets * LIMIT_WAYS * sizeof(limit->slots[0]));
	if (limit == NULL)
		return NULL;
	memcpy(limit->hash_key, hash_key, sizeof(limit->hash_key));
	limit->mask = buckets - 1;
	return limit;
}

void limit_free(struct limit *limit)
{
	free(limit);
}

static uint64_t hash_of(const struct limit *limit, uint64_t source)
{
	return siphash(limit->hash_key, &source, sizeof(source));
}

static size_t bucket_of(const struct limit *limit, uint64_t hash)
{
	return (size_t)hash & limit->mask;
}

/* One more event in a slot of the source. */
static bool add(struct slot *slot, uint64_t state, uint64_t hash, uint32_t most, uint32_t hold,
		uint64_t now)
{
	for (int attempt = 0; attempt < ATTEMPTS && is_counting(state, now); attempt++) {
		uint32_t count = count_of(state) + 1;
		bool exceeds = count > most;
		uint64_t next = exceeds ? make_state(hash, COUNT_HELD, now + hold)
					: make_state(hash, count, time_of(state));
		if (exchange(slot, &state, next))
			return exceeds;
		if (state >> 56 != hash >> 56)
			break;
	}
	return false;
}

/* Takes a vacant slot for the source. */
static bool settle(struct slot *slot, uint64_t source, uint64_t hash, uint64_t now)
{
	uint64_t state = load(&slot->state);

	if (!is_vacant(state, now) || !exchange(slot, &state, make_state(hash, COUNT_TAKEN, now)))
		return false;
	atomic_store_explicit(&slot->source, source, memory_order_relaxed);
	atomic_store_explicit(&slot->state, make_state(hash, 1, now), memory_order_release);
	return true;
}

static void take_one_off(struct slot *slot, uint64_t now)
{
	uint64_t state = load(&slot->state);

	if (is_counting(state, now))
		exchange(slot, &state, state - ((uint64_t)1 << TIME_BITS));
}

bool limit_count(struct limit *limit, uint64_t source, uint32_t most, uint32_t hold, uint64_t now)
{
	uint64_t hash = hash_of(limit, source);
	struct slot *bucket = &limit->slots[bucket_of(limit, hash) * LIMIT_WAYS];

	now = cut(now);
	for (size_t i = 0; i < LIMIT_WAYS; i++) {
		uint64_t state = load(&bucket[i].state);
		if (load(&bucket[i].source) != source || count_of(state) == COUNT_TAKEN)
			continue;
		if (is_held(state, now))
			return false;
		if (is_counting(state, now))
			return add(&bucket[i], state, hash, most, hold, now);
	}
	for (size_t i = 0; i < LIMIT_WAYS; i++)
		if (settle(&bucket[i], source, hash, now))
			return false;
	for (size_t i = 0; i < LIMIT_WAYS; i++)
		take_one_off(&bucket[i], now);
	return false;
}

bool limit_holds(const struct limit *limit, uint64_t source, uint64_t now)
{
	const struct slot *bucket =
		&limit->slots[bucket_of(limit, hash_of(limit, source)) * LIMIT_WAYS];

	now = cut(now);
	for (size_t i = 0; i < LIMIT_WAYS; i++)
		if (is_held(load(&bucket[i].state), now) && load(&bucket[i].source) == source)
			return true;
	return false;
}

uint64_t limit_source(const struct endpoint *address, uint8_t ipv4_length, uint8_t ipv6_length)
{
	bool ipv4 = address->family == FAMILY_IPV4;
	unsigned int bits = ipv4 ? 32 : 64;
	unsigned int length = ipv4 ? ipv4_length : ipv6_length;
	uint64_t value = 0;

	for (size_t i = 0; i < bits / 8; i++)
		value = value << 8 | address->address[i];
	/* A shift by the whole width is undefined. */
	value = length == 0 ? 0 : value >> (bits - length) << (bits - length);
	return ipv4 ? (uint64_t)1 << 32 | value : value;
}
