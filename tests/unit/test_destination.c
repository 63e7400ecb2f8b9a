/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/destination.h"

#include "support.h"

enum { ROWS = 200, QUESTIONS = 20000 };

static struct destination destinations[ROWS];
static struct destination_row rows[ROWS];

static void clear_host_bits(struct prefix *prefix)
{
	for (size_t bit = prefix->length; bit < 8 * ADDRESS_SIZE; bit++)
		prefix->base.address[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static bool inside(const struct prefix *prefix, const struct endpoint *endpoint)
{
	struct prefix masked = {.base = *endpoint, .length = prefix->length};

	clear_host_bits(&masked);
	return endpoint_equal(&masked.base, &prefix->base);
}

static struct endpoint random_endpoint(uint64_t *random)
{
	struct endpoint endpoint = {
		.family = random32(random) % 2 != 0 ? FAMILY_IPV4 : FAMILY_IPV6,
		.port = (uint16_t)(22 + random32(random) % 3),
	};

	for (size_t i = 0; i < family_address_length(endpoint.family); i++)
		endpoint.address[i] = (uint8_t)(random32(random) % 4 * 85);
	return endpoint;
}

static bool overlaps(const struct prefix *prefix, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (inside(&rows[i].prefix, &prefix->base) || inside(prefix, &rows[i].prefix.base))
			return true;
	return false;
}

/* Random prefixes that do not overlap, and a search through all of them as the judge. */
START_TEST(agrees_with_a_plain_search)
{
	uint64_t random = (uint64_t)_i + 1;
	size_t count = 0;

	for (size_t tries = 0; tries < 5000 && count < ROWS; tries++) {
		struct prefix prefix = {.base = random_endpoint(&random)};
		prefix.length = (uint8_t)(random32(&random) %
					  (8 * family_address_length(prefix.base.family) + 1));
		clear_host_bits(&prefix);
		if (overlaps(&prefix, count))
			continue;
		rows[count] = (struct destination_row){prefix, &destinations[count]};
		count++;
	}
	struct destination_table *table = destination_table_new(rows, count);
	ck_assert_ptr_nonnull(table);
	for (size_t i = 0; i < QUESTIONS; i++) {
		struct endpoint asked = random_endpoint(&random);
		const struct destination *expected = NULL;
		for (size_t k = 0; k < count && expected == NULL; k++)
			if (inside(&rows[k].prefix, &asked))
				expected = rows[k].destination;
		ck_assert_ptr_eq(destination_table_find(table, &asked), expected);
	}
	destination_table_free(table);
}
END_TEST

START_TEST(whole_address_and_everything)
{
	struct destination_row pair[] = {
		{{make_endpoint("203.0.113.7", 22), 32}, &destinations[0]},
		{{make_endpoint("::", 443), 0}, &destinations[1]},
	};
	struct destination_table *table = destination_table_new(pair, 2);
	struct endpoint asked = make_endpoint("203.0.113.7", 22);

	ck_assert_ptr_eq(destination_table_find(table, &asked), &destinations[0]);
	asked = make_endpoint("203.0.113.8", 22);
	ck_assert_ptr_null(destination_table_find(table, &asked));
	asked = make_endpoint("203.0.113.7", 23);
	ck_assert_ptr_null(destination_table_find(table, &asked));
	asked = make_endpoint("2001:db8::1", 443);
	ck_assert_ptr_eq(destination_table_find(table, &asked), &destinations[1]);
	asked = make_endpoint("203.0.113.7", 443);
	ck_assert_ptr_null(destination_table_find(table, &asked));
	destination_table_free(table);
	table = destination_table_new(NULL, 0);
	ck_assert_ptr_null(destination_table_find(table, &asked));
	destination_table_free(table);
	destination_table_free(NULL);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("destination");

	tcase_set_timeout(tcase, 120);

	tcase_add_loop_test(tcase, agrees_with_a_plain_search, 0, 5);
	tcase_add_test(tcase, whole_address_and_everything);
	return run_tcase("destination", tcase);
}
