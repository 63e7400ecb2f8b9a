/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tells the log when queues had to drop packets. */
#ifndef KNOCKGW_IO_OVERRUNS_H
#define KNOCKGW_IO_OVERRUNS_H

#include "worker.h"

/* What was reported last. */
struct overruns {
	struct pool_counters reported;
};

/* Logs what has been lost since the last call, if anything was. */
void overruns_report(struct overruns *overruns, const char *role, const struct worker_pool *pool);

#endif
