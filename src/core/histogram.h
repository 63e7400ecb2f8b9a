/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How often something took how long. One thread writes, any thread reads. */
#ifndef KNOCKGW_CORE_HISTOGRAM_H
#define KNOCKGW_CORE_HISTOGRAM_H

#include "counter.h"

enum { HISTOGRAM_BUCKETS = 15 };

struct histogram {
	_Atomic uint64_t buckets[HISTOGRAM_BUCKETS]; /* each without those before it */
	_Atomic uint64_t nanoseconds;                /* the sum of all */
};

/* The longest time that belongs to a bucket, in nanoseconds: 5 us to 100 ms in steps of 1, 2, 5.
 * UINT64_MAX for the last bucket. */
uint64_t histogram_bound(unsigned int bucket);

/* Counts times things that each took that long. */
void histogram_add(struct histogram *histogram, uint64_t nanoseconds, uint64_t times);

#endif
