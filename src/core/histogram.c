/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "histogram.h"

static const uint64_t bounds[] = {
	5000,    10000,   20000,    50000,    100000,   200000,    500000,     1000000,
	2000000, 5000000, 10000000, 20000000, 50000000, 100000000, UINT64_MAX,
};

_Static_assert(sizeof(bounds) / sizeof(bounds[0]) == HISTOGRAM_BUCKETS, "a bound for each bucket");

uint64_t histogram_bound(unsigned int bucket)
{
	return bounds[bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1];
}

void histogram_add(struct histogram *histogram, uint64_t nanoseconds, uint64_t times)
{
	unsigned int bucket = 0;

	while (nanoseconds > bounds[bucket])
		bucket++;
	counter_add(&histogram->buckets[bucket], times);
	counter_add(&histogram->nanoseconds, nanoseconds * times);
}
