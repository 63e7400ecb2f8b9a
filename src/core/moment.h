/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Now, by the two clocks that the engines need. The pure part has no clock of its own. */
#ifndef KNOCKGW_CORE_MOMENT_H
#define KNOCKGW_CORE_MOMENT_H

#include <stdint.h>

struct moment {
	uint64_t steady; /* milliseconds of a clock that never jumps: for timers */
	int64_t wall;    /* seconds since 1970-01-01T00:00:00Z: for the validity of keys */
};

#endif
