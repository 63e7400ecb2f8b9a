/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "table.h"

#include <stdatomic.h>

#include "siphash.h"

/* The timer wheel: one slot a second. A deadline further away than the wheel reaches is looked at
 * once per turn, and a deadline that was moved is found out only then, so that moving costs
 * nothing. */
enum { WHEEL_SLOTS = 1024, WHEEL_TICK = 1000 };

#define TABLE_MAGIC 0x6b6e6f636b677731U /* "knockgw1" */

struct table {
	uint64_t magic;
	struct table_layout layout;
	uint32_t bucket_count; /* a power of two */
	uint8_t hash_key[16];
	uint64_t header_seal; /* over all of the above */
	uint64_t boot;
	uint64_t now; /* of the last call that had one */
	/* From here on everything is rebuilt by table_attach. */
	uint32_t count;
	uint32_t free; /* first free entry; links count from 1, 0 is none */
	uint64_t wheel_tick;
	uint32_t wheel[WHEEL_SLOTS];
};

struct entry {
	uint64_t deadline;
	uint64_t seal; /* over tuple and fixed part of the value; 0: the entry is free */
	uint32_t hash_next;
	uint32_t wheel_next;
	uint32_t wheel_previous; /* 0: the first of its wheel slot */
	uint32_t wheel_slot;
	struct tuple tuple;
	uint8_t value[];
};

static size_t align(size_t size, size_t to)
{
	return (size + to - 1) / to * to;
}

static uint32_t bucket_count(uint32_t capacity)
{
	uint32_t count = 16;

	while (count < capacity && count < 1U << 31)
		count *= 2;
	return count;
}

static size_t stride(const struct table_layout *layout)
{
	return align(sizeof(struct entry) + layout->value_size, 8);
}

size_t table_size(const struct table_layout *layout)
{
	return align(sizeof(struct table), 64) +
	       align(bucket_count(layout->capacity) * sizeof(uint32_t), 64) +
	       layout->capacity * stride(layout);
}

size_t table_entry_size(const struct table_layout *layout)
{
	return stride(layout) + sizeof(uint32_t);
}

static uint32_t *buckets(struct table *table)
{
	return (uint32_t *)(void *)((uint8_t *)table + align(sizeof(*table), 64));
}

/* Entry number index, counted from 1. */
static struct entry *entry_at(struct table *table, uint32_t index)
{
	uint8_t *first =
		(uint8_t *)buckets(table) + align(table->bucket_count * sizeof(uint32_t), 64);

	return (struct entry *)(void *)(first + (size_t)(index - 1) * stride(&table->layout));
}

static uint32_t index_of(struct table *table, const struct entry *entry)
{
	size_t offset = (size_t)((const uint8_t *)entry - (const uint8_t *)entry_at(table, 1));

	return (uint32_t)(offset / stride(&table->layout)) + 1;
}

static struct entry *entry_of(const void *value)
{
	return (struct entry *)(void *)((uint8_t *)(uintptr_t)value -
					offsetof(struct entry, value));
}

static uint64_t hash_tuple(const struct table *table, const struct tuple *tuple)
{
	return siphash(table->hash_key, tuple, sizeof(*tuple));
}

static uint64_t seal_of(const struct table *table, const struct entry *entry)
{
	uint64_t seal = siphash(table->hash_key, entry->value, table->layout.fixed_size);

	/* Zero is kept for free entries. */
	return (seal ^ (hash_tuple(table, &entry->tuple) << 1)) | 1;
}

static uint64_t header_seal(const struct table *table)
{
	return siphash(table->hash_key, table, offsetof(struct table, header_seal));
}

static void wheel_link(struct table *table, struct entry *entry)
{
	uint32_t index = index_of(table, entry);
	uint64_t tick = entry->deadline / WHEEL_TICK + 1;

	if (tick <= table->wheel_tick)
		tick = table->wheel_tick + 1;
	if (tick > table->wheel_tick + WHEEL_SLOTS - 1)
		tick = table->wheel_tick + WHEEL_SLOTS - 1;
	entry->wheel_slot = (uint32_t)(tick % WHEEL_SLOTS);
	entry->wheel_previous = 0;
	entry->wheel_next = table->wheel[entry->wheel_slot];
	if (entry->wheel_next != 0)
		entry_at(table, entry->wheel_next)->wheel_previous = index;
	table->wheel[entry->wheel_slot] = index;
}

static void wheel_unlink(struct table *table, struct entry *entry)
{
	if (entry->wheel_previous != 0)
		entry_at(table, entry->wheel_previous)->wheel_next = entry->wheel_next;
	else
		table->wheel[entry->wheel_slot] = entry->wheel_next;
	if (entry->wheel_next != 0)
		entry_at(table, entry->wheel_next)->wheel_previous = entry->wheel_previous;
}

static uint32_t *bucket_of(struct table *table, const struct tuple *tuple)
{
	return &buckets(table)[hash_tuple(table, tuple) & (table->bucket_count - 1)];
}

static void link_entry(struct table *table, struct entry *entry)
{
	uint32_t *bucket = bucket_of(table, &entry->tuple);

	entry->hash_next = *bucket;
	*bucket = index_of(table, entry);
	wheel_link(table, entry);
	table->count++;
}

/* Puts every entry where its seal says: into the index, or into the list of free ones. */
static void rebuild(struct table *table)
{
	memset(buckets(table), 0, table->bucket_count * sizeof(uint32_t));
	memset(table->wheel, 0, sizeof(table->wheel));
	table->count = 0;
	table->free = 0;
	for (uint32_t index = table->layout.capacity; index > 0; index--) {
		struct entry *entry = entry_at(table, index);

		if (entry->seal != 0) {
			link_entry(table, entry);
		} else {
			entry->hash_next = table->free;
			table->free = index;
		}
	}
}

struct table *table_init(void *memory, const struct table_layout *layout,
			 const uint8_t hash_key[static 16], uint64_t now)
{
	struct table *table = memory;

	memset(table, 0, sizeof(*table));
	table->magic = TABLE_MAGIC;
	table->layout = *layout;
	table->bucket_count = bucket_count(layout->capacity);
	memcpy(table->hash_key, hash_key, sizeof(table->hash_key));
	table->header_seal = header_seal(table);
	table->now = now;
	table->wheel_tick = now / WHEEL_TICK;
	for (uint32_t index = 1; index <= layout->capacity; index++)
		entry_at(table, index)->seal = 0;
	rebuild(table);
	return table;
}

static const char *foreign(const struct table *table, size_t size,
			   const struct table_layout *layout)
{
	if (size < sizeof(*table) || table->magic != TABLE_MAGIC)
		return "not a table of knockgw";
	if (table->layout.kind != layout->kind || table->layout.version != layout->version ||
	    table->layout.value_size != layout->value_size ||
	    table->layout.fixed_size != layout->fixed_size)
		return "a table of another version of knockgw";
	if (table->layout.capacity != layout->capacity ||
	    table->bucket_count != bucket_count(layout->capacity) || size != table_size(layout))
		return "a table of another size";
	if (table->header_seal != header_seal(table))
		return "the header is damaged";
	return NULL;
}

bool table_layout_of(const void *memory, size_t size, struct table_layout *layout)
{
	const struct table *table = memory;

	if (size < sizeof(*table) || table->magic != TABLE_MAGIC)
		return false;
	*layout = table->layout;
	return true;
}

/* Deadlines of another clock: what was left of each is left, counted from now. */
static void move_deadlines(struct table *table, uint64_t now)
{
	for (uint32_t index = 1; index <= table->layout.capacity; index++) {
		struct entry *entry = entry_at(table, index);
		uint64_t left = entry->deadline > table->now ? entry->deadline - table->now : 0;

		entry->deadline = now + left;
	}
}

struct table *table_attach(void *memory, size_t size, const struct table_layout *layout,
			   uint64_t boot, uint64_t now, const char **why)
{
	/* Five days, the longest timeout there is, and a bit. */
	const uint64_t longest = 6ULL * 24 * 3600 * 1000;
	struct table *table = memory;

	*why = foreign(table, size, layout);
	if (*why != NULL)
		return NULL;
	for (uint32_t index = 1; index <= layout->capacity; index++) {
		const struct entry *entry = entry_at(table, index);
		if (entry->seal == 0)
			continue;
		if (entry->seal != seal_of(table, entry) ||
		    entry->deadline > table->now + longest) {
			*why = "an entry is damaged";
			return NULL;
		}
	}
	if (table->boot != boot || now < table->now)
		move_deadlines(table, now);
	table->boot = boot;
	table->now = now;
	table->wheel_tick = now / WHEEL_TICK;
	rebuild(table);
	return table;
}

void table_set_boot(struct table *table, uint64_t boot)
{
	table->boot = boot;
}

void *table_find(struct table *table, const struct tuple *tuple)
{
	uint32_t index = *bucket_of(table, tuple);

	while (index != 0) {
		struct entry *entry = entry_at(table, index);
		if (tuple_equal(&entry->tuple, tuple))
			return entry->value;
		index = entry->hash_next;
	}
	return NULL;
}

void *table_insert(struct table *table, const struct tuple *tuple, const void *value, uint64_t now,
		   uint32_t timeout)
{
	if (table->free == 0)
		return NULL;
	struct entry *entry = entry_at(table, table->free);
	table->free = entry->hash_next;
	table->now = now;
	entry->tuple = *tuple;
	entry->deadline = now + timeout;
	memcpy(entry->value, value, table->layout.value_size);
	link_entry(table, entry);
	/* Last of all: a process killed before this line has not inserted anything. */
	atomic_signal_fence(memory_order_seq_cst);
	*(volatile uint64_t *)&entry->seal = seal_of(table, entry);
	return entry->value;
}

void table_touch(struct table *table, void *value, uint64_t now, uint32_t timeout)
{
	struct entry *entry = entry_of(value);
	uint64_t deadline = now + timeout;
	bool sooner = deadline < entry->deadline;

	table->now = now;
	entry->deadline = deadline;
	/* The wheel looks often enough at what lives longer than it thinks, but not at what dies
	 * sooner. */
	if (sooner) {
		wheel_unlink(table, entry);
		wheel_link(table, entry);
	}
}

void table_remove(struct table *table, void *value)
{
	struct entry *entry = entry_of(value);
	uint32_t index = index_of(table, entry);
	uint32_t *link = bucket_of(table, &entry->tuple);

	*(volatile uint64_t *)&entry->seal = 0;
	atomic_signal_fence(memory_order_seq_cst);
	while (*link != index)
		link = &entry_at(table, *link)->hash_next;
	*link = entry->hash_next;
	wheel_unlink(table, entry);
	entry->hash_next = table->free;
	table->free = index;
	table->count--;
}

void table_expire(struct table *table, uint64_t now, unsigned int budget,
		  void (*expired)(void *context, const struct tuple *tuple, void *value),
		  void *context)
{
	uint64_t until = now / WHEEL_TICK;

	table->now = now;
	/* After a long pause every slot is due once, not once for each turn missed. */
	if (until > table->wheel_tick + WHEEL_SLOTS)
		table->wheel_tick = until - WHEEL_SLOTS;
	while (table->wheel_tick < until) {
		uint32_t slot = (uint32_t)((table->wheel_tick + 1) % WHEEL_SLOTS);

		while (table->wheel[slot] != 0) {
			struct entry *entry = entry_at(table, table->wheel[slot]);

			if (budget-- == 0)
				return;
			if (entry->deadline > now) {
				/* The slot must run empty: what lives on goes to a later one. */
				wheel_unlink(table, entry);
				table->wheel_tick++;
				wheel_link(table, entry);
				table->wheel_tick--;
				continue;
			}
			if (expired != NULL)
				expired(context, &entry->tuple, entry->value);
			table_remove(table, entry->value);
		}
		table->wheel_tick++;
	}
}

const struct tuple *table_tuple(const void *value)
{
	return &entry_of(value)->tuple;
}

uint64_t table_deadline(const struct table *table, const void *value)
{
	(void)table;
	return entry_of(value)->deadline;
}

uint32_t table_count(const struct table *table)
{
	return table->count;
}

uint32_t table_capacity(const struct table *table)
{
	return table->layout.capacity;
}

void *table_slot(struct table *table, uint32_t slot)
{
	struct entry *entry = entry_at(table, slot + 1);

	return entry->seal != 0 ? entry->value : NULL;
}
