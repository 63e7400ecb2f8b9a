/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What there is to see of a running daemon, for the control socket and for metrics. */
#ifndef KNOCKGW_IO_VIEW_H
#define KNOCKGW_IO_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "config.h"
#include "counters.h"
#include "egress_role.h"
#include "protect_role.h"

/* Good for one callback of the event loop: a reload replaces what it points to. */
struct view {
	const struct config *config;
	const struct counters *counters;
	const struct protect_role *protect; /* NULL without services */
	const struct egress_role *egress;   /* NULL without destinations */
	const char *ruleset; /* "native", "xtables"; "unmanaged" when it is not ours */
	time_t started;      /* seconds since 1970 */
	time_t loaded;       /* when the configuration was read */
	uint64_t reloads;    /* that succeeded, since the start */
	bool reload_failed;  /* the last one did */
	uint64_t uptime;     /* milliseconds */
};

enum { ACTION_ERROR_SIZE = 512 };

/* What the daemon lets others see and do. An action returns false with one line in error. */
struct daemon_interface {
	void (*look)(void *context, struct view *view);
	bool (*reload)(void *context, char error[static ACTION_ERROR_SIZE]);
	/* Takes new connections away from a backend, or gives them back. */
	bool (*drain)(void *context, const char *service, const char *backend, bool drain,
		      char error[static ACTION_ERROR_SIZE]);
	/* Ends connections of a service: all, or those with one of these ends. */
	bool (*kick)(void *context, const char *service, const char *const *ends, size_t count,
		     uint64_t *kicked, char error[static ACTION_ERROR_SIZE]);
	void *context;
};

#endif
