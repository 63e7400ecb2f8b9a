/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A counter that one thread writes and any thread reads. With a single writer no locked instruction
 * is needed: a load, an addition, a store. */
#ifndef KNOCKGW_CORE_COUNTER_H
#define KNOCKGW_CORE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

/* Only by the thread that owns the counter. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t amount)
{
	uint64_t now = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, now + amount, memory_order_relaxed);
}

static inline uint64_t counter_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
