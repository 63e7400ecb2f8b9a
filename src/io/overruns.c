/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "overruns.h"

#include "log.h"

void overruns_report(struct overruns *overruns, const char *role, const struct worker_pool *pool)
{
	struct pool_counters now = worker_pool_counters(pool);
	const struct pool_counters *before = &overruns->reported;
	unsigned long long queue = now.dropped - before->dropped;
	unsigned long long socket = now.user_dropped - before->user_dropped;
	unsigned long long verdicts = now.verdict_errors - before->verdict_errors;

	overruns->reported = now;
	if (queue > 0 || socket > 0)
		log_event(LOG_LEVEL_WARNING, "queue-overrun",
			  "role=%s dropped=%llu socket_dropped=%llu waiting=%llu", role, queue,
			  socket, (unsigned long long)now.waiting);
	if (verdicts > 0)
		log_event(LOG_LEVEL_WARNING, "verdict-errors", "role=%s verdicts=%llu", role,
			  verdicts);
}
