/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A state file that is foreign or damaged: it is refused, or what is left of it is a table in which
 * everything can be found, expires, and makes room. An input is a whole file, or (first byte odd)
 * changes to a good one. */
#include <sys/mman.h>

#include "core/flow.h"
#include "fuzz.h"
#include "io/state.h"

enum { CAPACITY = 16, NOW = 5000000, BOOT = 77, ROOM = 1 << 16 };

static _Alignas(64) uint8_t memory[ROOM];

static struct tuple tuple_number(unsigned int number)
{
	return (struct tuple){{.family = FAMILY_IPV4, .port = (uint16_t)(30000 + number)},
			      {.family = FAMILY_IPV4, .port = 22}};
}

static size_t make_good(void)
{
	const struct table_layout layout = flow_table_layout(CAPACITY);
	static const uint8_t hash_key[16] = {3};
	struct table *table = table_init(memory, &layout, hash_key, NOW);

	table_set_boot(table, BOOT);
	for (unsigned int i = 0; i < CAPACITY / 2; i++) {
		struct tuple tuple = tuple_number(i);
		const struct flow flow = {.syn = {.isn = i, .delta = 7}};
		table_insert(table, &tuple, &flow, NOW, 1000 * (i + 1));
	}
	return table_size(&layout);
}

static size_t make_damaged(struct input *input)
{
	size_t size = make_good();

	for (unsigned int i = 0; input->left >= 3 && i < 64; i++) {
		size_t at = take16(input) % size;
		memory[at] = take8(input);
	}
	return size;
}

static void check_contents(struct table *table)
{
	uint32_t found = 0;

	for (uint32_t slot = 0; slot < table_capacity(table); slot++) {
		void *value = table_slot(table, slot);
		if (value == NULL)
			continue;
		found++;
		MUST(table_find(table, table_tuple(value)) != NULL);
		MUST(flow_state_word(value) != NULL);
	}
	MUST(found == table_count(table) && found <= table_capacity(table));
}

static void check_use(struct table *table)
{
	const struct flow flow = {.syn = {.isn = 1}};
	uint64_t later = NOW + 10ULL * 24 * 3600 * 1000;
	uint32_t before = table_count(table);

	for (unsigned int i = 100; i < 100 + 2 * CAPACITY; i++) {
		struct tuple tuple = tuple_number(i);
		if (table_find(table, &tuple) != NULL)
			continue;
		void *value = table_insert(table, &tuple, &flow, NOW, 5000);
		MUST((value != NULL) == (before < table_capacity(table)));
		before += value != NULL;
	}
	check_contents(table);
	for (unsigned int i = 0; i < 20000 && table_count(table) > 0; i++)
		table_expire(table, later + 1000 * i, 64, NULL, NULL);
	MUST(table_count(table) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	const char *why = NULL;
	uint8_t choice = take8(&input);
	uint64_t boot = (choice & 2) != 0 ? BOOT + 1 : BOOT;
	size_t length;

	memset(memory, 0, sizeof(memory));
	if ((choice & 1) != 0)
		length = make_damaged(&input);
	else
		length = take_bytes(&input, memory, input.left <= ROOM ? input.left : ROOM);
	struct table *table = state_attach(STATE_FLOWS, memory, length, boot, NOW, &why);
	MUST((table == NULL) == (why != NULL));
	if (table == NULL)
		return 0;
	check_contents(table);
	check_use(table);
	return 0;
}
