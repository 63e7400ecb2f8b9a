/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/table.h"

#include "support.h"

enum { CAPACITY = 500, SECOND = 1000, LONG = 5 * 24 * 3600 * SECOND };

static const struct table_layout layout = {
	.capacity = CAPACITY,
	.value_size = 12,
	.fixed_size = 4,
	.kind = 0x74657374,
	.version = 3,
};

struct value {
	uint32_t fixed;
	uint32_t changing[2];
};

static const uint8_t hash_key[16] = {1, 2, 3};

static void *memory_new(void)
{
	size_t size = table_size(&layout);
	void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	ck_assert_ptr_nonnull(memory);
	/* What stood in it before must not matter. */
	memset(memory, 0xa5, size);
	return memory;
}

static struct tuple tuple_number(uint32_t number)
{
	struct tuple tuple = {.source = make_endpoint("192.0.2.1", (uint16_t)(number & 0xffff)),
			      .destination = make_endpoint("198.51.100.1", 22)};

	store32(tuple.source.address, number);
	return tuple;
}

static struct value *insert(struct table *table, uint32_t number, uint64_t now, uint32_t timeout)
{
	const struct value value = {number, {~number, 0}};
	struct tuple tuple = tuple_number(number);

	return table_insert(table, &tuple, &value, now, timeout);
}

static struct value *find(struct table *table, uint32_t number)
{
	struct tuple tuple = tuple_number(number);

	return table_find(table, &tuple);
}

static uint32_t slots_in_use(struct table *table)
{
	uint32_t used = 0;

	for (uint32_t slot = 0; slot < table_capacity(table); slot++)
		used += table_slot(table, slot) != NULL;
	return used;
}

START_TEST(full_refuses_and_keeps_what_is_there)
{
	void *memory = memory_new();
	struct table *table = table_init(memory, &layout, hash_key, 0);

	for (uint32_t i = 0; i < CAPACITY; i++)
		ck_assert_ptr_nonnull(insert(table, i, 0, SECOND));
	ck_assert_ptr_null(insert(table, CAPACITY, 0, SECOND));
	ck_assert_uint_eq(table_count(table), CAPACITY);
	ck_assert_uint_eq(slots_in_use(table), CAPACITY);
	for (uint32_t i = 0; i < CAPACITY; i++)
		ck_assert_uint_eq(find(table, i)->fixed, i);
	ck_assert_ptr_null(find(table, CAPACITY));
	table_remove(table, find(table, 7));
	ck_assert_ptr_null(find(table, 7));
	ck_assert_ptr_nonnull(insert(table, CAPACITY, 0, SECOND));
	free(memory);
}
END_TEST

/* Random operations beside a plain array that says what must be there. */
START_TEST(agrees_with_a_plain_array)
{
	static uint64_t deadline[4 * CAPACITY];
	void *memory = memory_new();
	uint64_t now = 1000000;
	uint64_t random = (uint64_t)_i;
	struct table *table = table_init(memory, &layout, hash_key, now);

	memset(deadline, 0, sizeof(deadline));
	for (unsigned int step = 0; step < 40000; step++) {
		uint32_t number = random32(&random) % (4 * CAPACITY);
		uint32_t timeout = 1 + random32(&random) % (random32(&random) % 8 ? 90000 : LONG);
		struct value *value = find(table, number);

		now += random32(&random) % 300;
		table_expire(table, now, UINT32_MAX, NULL, NULL);
		value = find(table, number);
		/* The wheel turns once a second: what is overdue may live on for two. */
		if (deadline[number] > now)
			ck_assert_ptr_nonnull(value);
		if (deadline[number] + 2 * SECOND < now)
			ck_assert_ptr_null(value);
		if (value == NULL) {
			deadline[number] = 0;
			if (insert(table, number, now, timeout) != NULL)
				deadline[number] = now + timeout;
			else
				ck_assert_uint_eq(table_count(table), CAPACITY);
		} else if (random32(&random) % 3 == 0) {
			table_remove(table, value);
			deadline[number] = 0;
		} else {
			ck_assert_uint_eq(value->fixed, number);
			table_touch(table, value, now, timeout);
			deadline[number] = now + timeout;
			ck_assert_uint_eq(table_deadline(table, value), deadline[number]);
		}
	}
	ck_assert_uint_eq(slots_in_use(table), table_count(table));
	table_expire(table, now + 2ULL * LONG, UINT32_MAX, NULL, NULL);
	ck_assert_uint_eq(table_count(table), 0);
	free(memory);
}
END_TEST

static void count_expired(void *context, const struct tuple *tuple, void *value)
{
	(void)tuple;
	(void)value;
	++*(unsigned int *)context;
}

START_TEST(expiry_keeps_to_its_budget)
{
	void *memory = memory_new();
	struct table *table = table_init(memory, &layout, hash_key, 0);
	unsigned int gone = 0;

	for (uint32_t i = 0; i < CAPACITY; i++)
		insert(table, i, 0, SECOND);
	table_expire(table, 60 * SECOND, 10, count_expired, &gone);
	ck_assert_uint_le(gone, 10);
	for (int round = 0; round < CAPACITY && table_count(table) > 0; round++)
		table_expire(table, 60 * SECOND, 10, count_expired, &gone);
	ck_assert_uint_eq(gone, CAPACITY);
	free(memory);
}
END_TEST

START_TEST(survives_its_process)
{
	size_t size = table_size(&layout);
	void *memory = memory_new();
	struct table *table = table_init(memory, &layout, hash_key, 5000);
	const char *why;

	table_set_boot(table, 77);
	for (uint32_t i = 0; i < 300; i++)
		insert(table, i, 5000, LONG)->changing[1] = i;
	table_remove(table, find(table, 42));
	table = table_attach(memory, size, &layout, 77, 6000, &why);
	ck_assert_ptr_nonnull(table);
	ck_assert_uint_eq(table_count(table), 299);
	ck_assert_ptr_null(find(table, 42));
	for (uint32_t i = 0; i < 300; i++)
		ck_assert(i == 42 || find(table, i)->changing[1] == i);
	/* The same boot: the clock went on. */
	ck_assert_uint_eq(table_deadline(table, find(table, 1)), 5000ULL + LONG);
	/* Another boot: the clock began again, and what was left is left. */
	table = table_attach(memory, size, &layout, 78, 100, &why);
	ck_assert_ptr_nonnull(table);
	ck_assert_uint_eq(table_deadline(table, find(table, 1)), 100ULL + LONG - 1000);
	free(memory);
}
END_TEST

static void refuses(void *memory, size_t size, const struct table_layout *wanted, const char *word)
{
	const char *why = NULL;

	ck_assert_ptr_null(table_attach(memory, size, wanted, 0, 0, &why));
	ck_assert_ptr_nonnull(why);
	ck_assert_msg(strstr(why, word) != NULL, "\"%s\" does not say \"%s\"", why, word);
}

START_TEST(foreign_memory_is_refused)
{
	size_t size = table_size(&layout);
	uint8_t *memory = memory_new();
	struct table_layout other = layout;

	refuses(memory, size, &layout, "not a table");
	refuses(memory, 3, &layout, "not a table");
	insert(table_init(memory, &layout, hash_key, 0), 1, 0, LONG);
	other.version++;
	refuses(memory, size, &other, "another version");
	other = layout;
	other.kind++;
	refuses(memory, size, &other, "another version");
	other = layout;
	other.capacity++;
	refuses(memory, size, &other, "another size");
	refuses(memory, size - 8, &layout, "another size");
	free(memory);
}
END_TEST

/* Any byte of the sealed parts that changes is noticed; no other byte makes it crash. */
START_TEST(damage_is_noticed)
{
	size_t size = table_size(&layout);
	uint8_t *memory = memory_new();
	uint8_t *copy = memory_new();
	struct table *table = table_init(memory, &layout, hash_key, 0);
	const struct tuple *tuple;
	unsigned int noticed = 0;
	const char *why;

	for (uint32_t i = 0; i < 20; i++)
		insert(table, i, 0, LONG);
	tuple = table_tuple(find(table, 3));
	size_t sealed = (size_t)((const uint8_t *)tuple - memory);
	for (size_t i = 0; i < size; i++) {
		memcpy(copy, memory, size);
		copy[i] ^= 0x10;
		struct table *damaged = table_attach(copy, size, &layout, 0, 1000, &why);
		bool in_seal = i >= sealed && i < sealed + sizeof(*tuple) + layout.fixed_size;
		ck_assert_msg(!in_seal || damaged == NULL, "byte %zu went unnoticed", i);
		noticed += damaged == NULL;
		if (damaged == NULL)
			continue;
		ck_assert_uint_le(table_count(damaged), 21);
		table_expire(damaged, 1ULL << 60, UINT32_MAX, NULL, NULL);
	}
	/* Twenty entries with tuple, value and seal, and the header. */
	ck_assert_uint_ge(noticed, 20 * (40 + 4 + 8));
	free(memory);
	free(copy);
}
END_TEST

RUN_TESTS("table", full_refuses_and_keeps_what_is_there, agrees_with_a_plain_array,
	  expiry_keeps_to_its_budget, survives_its_process, foreign_memory_is_refused,
	  damage_is_noticed);
