/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the engine keeps the first bytes of connections. Both pools are bounded. */
#include <stdlib.h>

#include "protect_internal.h"

bool hold_pool_open(struct hold_pool *pool, uint32_t count)
{
	*pool = (struct hold_pool){.count = count};
	pool->slots = calloc((size_t)count + 1, sizeof(*pool->slots));
	return pool->slots != NULL;
}

void hold_pool_close(struct hold_pool *pool)
{
	for (uint32_t slot = 0; slot < pool->fresh; slot++)
		if (pool->slots[slot].used)
			hold_close(&pool->slots[slot].hold);
	free(pool->slots);
}

/* Returns the number of a free slot, counted from 1; 0 when there is none. */
static uint32_t take_slot(struct hold_pool *pool)
{
	uint32_t number = pool->free;

	if (number != 0)
		pool->free = pool->slots[number - 1].next_free;
	else if (pool->fresh < pool->count)
		number = ++pool->fresh;
	else
		return 0;
	pool->slots[number - 1].used = true;
	pool->used++;
	return number;
}

static void give_slot_back(struct hold_pool *pool, uint32_t number)
{
	struct hold_slot *slot = &pool->slots[number - 1];

	slot->used = false;
	slot->next_free = pool->free;
	pool->free = number;
	pool->used--;
}

struct hold *hold_of(const struct protect *protect, const struct connection *connection)
{
	uint32_t number = connection->hold;

	if (number == 0)
		return NULL;
	if (number <= protect->held.count)
		return &protect->held.slots[number - 1].hold;
	return &protect->kept.slots[number - protect->held.count - 1].hold;
}

struct hold *take_hold(struct protect *protect, struct connection *connection,
		       const struct segment *segment, bool checked)
{
	struct hold_pool *pool = checked ? &protect->kept : &protect->held;
	uint32_t number = take_slot(pool);

	if (number == 0)
		return NULL;
	struct hold *hold = &pool->slots[number - 1].hold;
	if (!(checked ? hold_open_checked : hold_open)(
		    hold, segment, connection->isn, connection->integrity, &connection->server)) {
		give_slot_back(pool, number);
		return NULL;
	}
	connection->hold = checked ? protect->held.count + number : number;
	return hold;
}

void release_hold(struct protect *protect, struct connection *connection)
{
	uint32_t number = connection->hold;

	if (number == 0)
		return;
	hold_close(hold_of(protect, connection));
	if (number <= protect->held.count)
		give_slot_back(&protect->held, number);
	else
		give_slot_back(&protect->kept, number - protect->held.count);
	connection->hold = 0;
}

void tick_holds(struct protect *protect, uint64_t now)
{
	protect->due = UINT64_MAX;
	for (uint32_t number = 0; number < protect->held.fresh; number++) {
		struct hold_slot *slot = &protect->held.slots[number];

		if (!slot->used)
			continue;
		hold_tick(&slot->hold, now, &protect->output);
		if (slot->hold.due < protect->due)
			protect->due = slot->hold.due;
	}
}
