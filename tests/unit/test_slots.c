/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/slots.h"

#include "support.h"

enum { MOST = 12 };

static uint16_t before[SLOTS];
static uint16_t after[SLOTS];

static struct slot_backend backend(uint8_t number, uint16_t weight)
{
	return (struct slot_backend){
		.endpoint = {.address = {10, 0, 0, number}, .port = 80, .family = FAMILY_IPV4},
		.weight = weight,
	};
}

static size_t share_of(const uint16_t *slots, size_t count, uint16_t index)
{
	size_t share = 0;

	for (size_t i = 0; i < count; i++)
		share += slots[i] == index;
	return share;
}

/* A new backend takes its share, and nothing moves between the others; and the other way round. */
START_TEST(only_the_share_of_the_new_one_moves)
{
	struct slot_backend list[MOST];

	for (uint8_t count = 1; count < MOST; count++) {
		size_t moved = 0;
		for (uint8_t i = 0; i <= count; i++)
			list[i] = backend((uint8_t)(i + 1), 1);
		slots_by_hash(list, count, before);
		slots_by_hash(list, count + 1U, after);
		for (size_t i = 0; i < SLOTS; i++) {
			ck_assert(after[i] == before[i] || after[i] == count);
			moved += after[i] == count;
		}
		ck_assert_uint_gt(moved, SLOTS / (count + 1U) * 3 / 4);
		ck_assert_uint_lt(moved, SLOTS / (count + 1U) * 4 / 3);
	}
}
END_TEST

/* The order of the configuration says nothing. */
START_TEST(order_does_not_matter)
{
	const struct slot_backend list[] = {backend(1, 5), backend(2, 1), backend(3, 2)};
	const struct slot_backend turned[] = {backend(3, 2), backend(2, 1), backend(1, 5)};

	slots_by_hash(list, 3, before);
	slots_by_hash(turned, 3, after);
	for (size_t i = 0; i < SLOTS; i++)
		ck_assert_uint_eq(after[i], 2U - before[i]);
}
END_TEST

START_TEST(shares_follow_weights)
{
	const struct slot_backend list[] = {backend(1, 100), backend(2, 300)};

	slots_by_hash(list, 2, before);
	ck_assert_uint_gt(share_of(before, SLOTS, 0), SLOTS / 4 - 60);
	ck_assert_uint_lt(share_of(before, SLOTS, 0), SLOTS / 4 + 60);
	const struct slot_backend extreme[] = {backend(1, 1), backend(2, 65535)};
	slots_by_hash(extreme, 2, before);
	ck_assert_uint_lt(share_of(before, SLOTS, 0), 4);
}
END_TEST

START_TEST(turns_are_even)
{
	const struct slot_backend list[] = {backend(1, 10), backend(2, 2), backend(3, 2)};
	const uint16_t turn[] = {0, 0, 1, 0, 2, 0, 0};

	ck_assert_uint_eq(slots_in_turn(list, 3, before), 7);
	for (size_t i = 0; i < 7; i++)
		ck_assert_uint_eq(before[i], turn[i]);
	ck_assert_uint_eq(slots_in_turn(list, 1, before), 1);
	ck_assert_uint_eq(before[0], 0);
}
END_TEST

START_TEST(long_turns_are_scaled_down)
{
	static struct slot_backend list[BACKENDS_LIMIT];

	for (size_t i = 0; i < BACKENDS_LIMIT; i++)
		list[i] = backend((uint8_t)i, i % 2 == 0 ? 1 : 65535);
	size_t length = slots_in_turn(list, BACKENDS_LIMIT, before);
	ck_assert_uint_le(length, SLOTS);
	ck_assert_uint_eq(share_of(before, length, 0), 1);
	ck_assert_uint_ge(share_of(before, length, 1), 5);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("slots");

	tcase_set_timeout(tcase, 60);
	tcase_add_test(tcase, only_the_share_of_the_new_one_moves);
	tcase_add_test(tcase, order_does_not_matter);
	tcase_add_test(tcase, shares_follow_weights);
	tcase_add_test(tcase, turns_are_even);
	tcase_add_test(tcase, long_turns_are_scaled_down);
	return run_tcase("slots", tcase);
}
