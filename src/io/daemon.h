/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon: brings up workers and ruleset, waits for signals, takes both down again. */
#ifndef KNOCKGW_IO_DAEMON_H
#define KNOCKGW_IO_DAEMON_H

#include <stdbool.h>

#include "background.h"
#include "config.h"

/* Runs until SIGTERM or SIGINT. In the foreground (background NULL) it logs to standard error and
 * prints "knockgw: ready" there once queues are served and rules stand; otherwise it logs to syslog
 * and lets the waiting parent go. Returns false when it could not start or had to give up. */
bool daemon_run(struct config *config, struct background *background);

#endif
