/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "promise.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "siphash.h"

enum {
	WAYS = 4,
	/* How long a smaller MSS counts, though the server announces a larger one again. */
	MODEST_TIME = 600000,
};

struct entry {
	struct endpoint server; /* family 0: free */
	struct server_habits habits;
	uint64_t heard;        /* when it was learnt last */
	uint64_t modest_until; /* the MSS does not grow before */
};

struct promise_cache {
	pthread_mutex_t lock; /* of the entries */
	uint8_t hash_key[16];
	size_t sets;
	struct entry entries[];
};

struct promise_cache *promise_cache_new(size_t capacity, const uint8_t hash_key[static 16])
{
	struct promise_cache *cache;
	size_t sets = (capacity + WAYS - 1) / WAYS;

	if (sets == 0)
		sets = 1;
	if (sets > SIZE_MAX / WAYS / sizeof(struct entry) / 2)
		return NULL;
	cache = calloc(1, sizeof(*cache) + sets * WAYS * sizeof(struct entry));
	if (cache == NULL)
		return NULL;
	if (pthread_mutex_init(&cache->lock, NULL) != 0) {
		free(cache);
		return NULL;
	}
	cache->sets = sets;
	memcpy(cache->hash_key, hash_key, sizeof(cache->hash_key));
	return cache;
}

void promise_cache_free(struct promise_cache *cache)
{
	if (cache == NULL)
		return;
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static size_t first_way(const struct promise_cache *cache, const struct endpoint *server)
{
	return (size_t)(siphash(cache->hash_key, server, sizeof(*server)) % cache->sets) * WAYS;
}

struct server_habits promise_find(struct promise_cache *cache, const struct endpoint *server)
{
	const struct entry *set = &cache->entries[first_way(cache, server)];
	struct server_habits habits = {.mss = 0};

	pthread_mutex_lock(&cache->lock);
	for (size_t way = 0; way < WAYS; way++)
		if (endpoint_equal(&set[way].server, server))
			habits = set[way].habits;
	pthread_mutex_unlock(&cache->lock);
	return habits;
}

/* The server's own entry, or else the one that gives way to it. */
static struct entry *entry_for(struct promise_cache *cache, const struct endpoint *server)
{
	struct entry *set = &cache->entries[first_way(cache, server)];
	struct entry *oldest = set;

	for (size_t way = 0; way < WAYS; way++) {
		if (endpoint_equal(&set[way].server, server))
			return &set[way];
		if (set[way].heard < oldest->heard)
			oldest = &set[way];
	}
	*oldest = (struct entry){.server = *server};
	return oldest;
}

void promise_learn(struct promise_cache *cache, const struct endpoint *server,
		   const struct server_habits *habits, uint64_t now)
{
	struct entry *entry;
	struct server_habits *known;

	pthread_mutex_lock(&cache->lock);
	entry = entry_for(cache, server);
	known = &entry->habits;
	entry->heard = now + 1; /* 0 is for free entries */
	if (habits->mss != 0 && habits->mss < known->mss)
		entry->modest_until = now + MODEST_TIME;
	if (habits->mss != 0 && (habits->mss < known->mss || now >= entry->modest_until))
		known->mss = habits->mss;
	if (habits->window_scale != HABIT_UNKNOWN) {
		known->window_scale = habits->window_scale;
		known->window_shift = habits->window_shift;
	}
	if (habits->sack_permitted != HABIT_UNKNOWN)
		known->sack_permitted = habits->sack_permitted;
	if (habits->timestamps != HABIT_UNKNOWN)
		known->timestamps = habits->timestamps;
	pthread_mutex_unlock(&cache->lock);
}
