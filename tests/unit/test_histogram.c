/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/histogram.h"

#include "support.h"

static uint64_t bucket(const struct histogram *histogram, unsigned int number)
{
	return counter_read(&histogram->buckets[number]);
}

START_TEST(bounds_grow)
{
	for (unsigned int i = 1; i < HISTOGRAM_BUCKETS; i++)
		ck_assert_uint_gt(histogram_bound(i), histogram_bound(i - 1));
	ck_assert_uint_eq(histogram_bound(0), 5000);
	ck_assert_uint_eq(histogram_bound(HISTOGRAM_BUCKETS - 1), UINT64_MAX);
	ck_assert_uint_eq(histogram_bound(HISTOGRAM_BUCKETS), UINT64_MAX);
}
END_TEST

START_TEST(bound_belongs_to_its_bucket)
{
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		struct histogram histogram = {0};
		histogram_add(&histogram, histogram_bound(i), 1);
		histogram_add(&histogram, histogram_bound(i) + 1, 1);
		ck_assert_uint_eq(bucket(&histogram, i), 1);
		ck_assert_uint_eq(bucket(&histogram, i + 1), 1);
	}
}
END_TEST

START_TEST(batch_counts_every_packet)
{
	struct histogram histogram = {0};
	histogram_add(&histogram, 0, 3);
	histogram_add(&histogram, 7000, 64);
	histogram_add(&histogram, UINT64_MAX, 0);
	ck_assert_uint_eq(bucket(&histogram, 0), 3);
	ck_assert_uint_eq(bucket(&histogram, 1), 64);
	ck_assert_uint_eq(bucket(&histogram, HISTOGRAM_BUCKETS - 1), 0);
	ck_assert_uint_eq(counter_read(&histogram.nanoseconds), 64 * 7000);
}
END_TEST

RUN_TESTS("histogram", bounds_grow, bound_belongs_to_its_bucket, batch_counts_every_packet);
