/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bounded hash table from tuple to a value of fixed size, with expiry in constant time.
 *
 * It lives in one region of memory that the caller provides and holds offsets only, no pointers:
 * put it into a shared file mapping and it survives the death of the process. One writer, no locks.
 */
#ifndef KNOCKGW_CORE_TABLE_H
#define KNOCKGW_CORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

struct table;

/* What a table is made for; all of it is written into its header and compared on attach. */
struct table_layout {
	uint32_t capacity;   /* entries */
	uint32_t value_size; /* bytes of a value */
	uint32_t fixed_size; /* the first bytes of a value, which never change once inserted: they
				are sealed together with the tuple by a checksum */
	uint32_t kind;       /* four characters that name what the values are */
	uint32_t version;    /* of the value's layout */
};

/* Bytes of memory that such a table needs. */
size_t table_size(const struct table_layout *layout);

/* Bytes per entry, everything included (links, buckets). */
size_t table_entry_size(const struct table_layout *layout);

/* Makes an empty table in memory (page aligned, table_size bytes). hash_key keeps strangers from
 * choosing tuples that collide (SipHash). now is in milliseconds of any steady clock. */
struct table *table_init(void *memory, const struct table_layout *layout,
			 const uint8_t hash_key[static 16], uint64_t now);

/* Takes over a table that another process left in memory. boot is an opaque value that differs
 * after a restart of the steady clock; deadlines are then moved so that what was left of them is
 * left. Links are rebuilt from the entries, so a process killed in mid-update left nothing broken.
 * Returns NULL and points *why at a static sentence when it is foreign or corrupt. */
struct table *table_attach(void *memory, size_t size, const struct table_layout *layout,
			   uint64_t boot, uint64_t now, const char **why);

/* What a table that another process left in memory was made for. Returns false when it is none. */
bool table_layout_of(const void *memory, size_t size, struct table_layout *layout);

/* Remembers boot in the header (see table_attach). */
void table_set_boot(struct table *table, uint64_t boot);

/* The value of a tuple, or NULL. */
void *table_find(struct table *table, const struct tuple *tuple);

/* A new entry whose value is copied from value, to expire timeout milliseconds after now. The tuple
 * must not be there yet. NULL when the table is full: nothing is evicted. */
void *table_insert(struct table *table, const struct tuple *tuple, const void *value, uint64_t now,
		   uint32_t timeout);

/* Moves the deadline of an entry. Cheap enough for every packet. */
void table_touch(struct table *table, void *value, uint64_t now, uint32_t timeout);

void table_remove(struct table *table, void *value);

/* Removes what has expired, looking at no more than budget entries; before an entry goes,
 * expired (may be NULL) is called. Call it with every batch of packets. */
void table_expire(struct table *table, uint64_t now, unsigned int budget,
		  void (*expired)(void *context, const struct tuple *tuple, void *value),
		  void *context);

const struct tuple *table_tuple(const void *value);
uint64_t table_deadline(const struct table *table, const void *value);
uint32_t table_count(const struct table *table);
uint32_t table_capacity(const struct table *table);

/* The value in a slot from 0 to capacity - 1, or NULL when the slot is free: for walking. */
void *table_slot(struct table *table, uint32_t slot);

#endif
