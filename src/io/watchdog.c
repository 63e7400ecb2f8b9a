/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "watchdog.h"

#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

#include "log.h"

/* Microseconds; without a service manager that has an opinion. */
enum { DEFAULT_INTERVAL = 30 * 1000000 };

struct watchdog {
	struct event *timer;
	watchdog_silence *silence;
	void *context;
	uint64_t interval; /* microseconds */
	bool managed;
	bool silent; /* was said already */
};

static void on_timer(evutil_socket_t fd, short events, void *context)
{
	struct watchdog *watchdog = context;
	uint64_t silence = watchdog->silence(watchdog->context);
	bool silent = silence * 1000 >= watchdog->interval;

	(void)fd;
	(void)events;
	if (!silent && watchdog->managed)
		sd_notify(0, "WATCHDOG=1");
	if (silent && !watchdog->silent)
		log_event(LOG_LEVEL_ERROR, "worker-silent", "milliseconds=%llu action=%s",
			  (unsigned long long)silence, watchdog->managed ? "restart" : "none");
	watchdog->silent = silent;
}

struct watchdog *watchdog_new(struct event_base *base, watchdog_silence *silence, void *context)
{
	struct watchdog *watchdog = calloc(1, sizeof(*watchdog));
	uint64_t interval = 0;

	if (watchdog == NULL)
		return NULL;
	watchdog->silence = silence;
	watchdog->context = context;
	watchdog->managed = sd_watchdog_enabled(0, &interval) > 0;
	watchdog->interval = watchdog->managed ? interval : DEFAULT_INTERVAL;
	watchdog->timer = event_new(base, -1, EV_PERSIST, on_timer, watchdog);
	const struct timeval third = {.tv_sec = (time_t)(watchdog->interval / 3 / 1000000),
				      .tv_usec = (suseconds_t)(watchdog->interval / 3 % 1000000)};
	if (watchdog->timer != NULL && event_add(watchdog->timer, &third) == 0)
		return watchdog;
	watchdog_free(watchdog);
	return NULL;
}

void watchdog_free(struct watchdog *watchdog)
{
	if (watchdog == NULL)
		return;
	if (watchdog->timer != NULL)
		event_free(watchdog->timer);
	free(watchdog);
}
