/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The daemon: brings up workers and ruleset, waits for signals, takes both down again. */
#ifndef KNOCKGW_IO_DAEMON_H
#define KNOCKGW_IO_DAEMON_H

#include <stdbool.h>

#include "background.h"
#include "config.h"

struct daemon;

/* Runs until SIGTERM or SIGINT. In the foreground (background NULL) it logs to standard error and
 * prints "knockgw: ready" there once queues are served and rules stand; otherwise it logs to syslog
 * and lets the waiting parent go. Returns false when it could not start or had to give up.
 * config belongs to the daemon from now on. */
bool daemon_run(struct config *config, struct background *background);

enum { DAEMON_ERROR_SIZE = 512 };

/* Reads the configuration file again and goes over to it without losing a packet or a connection.
 * From a callback of the event loop. An invalid file changes nothing. Returns false with one line
 * in error; all that is wrong was logged. */
bool daemon_reload(struct daemon *daemon, char error[static DAEMON_ERROR_SIZE]);

/* Takes new connections away from a backend, or gives them back (drain false); established ones go
 * on. backend: its address, or address:port ([address]:port for IPv6) where the service has that
 * address several times. It stays so over reloads, until the next start. From a callback of the
 * event loop. Returns false with one line in error. */
bool daemon_drain(struct daemon *daemon, const char *service, const char *backend, bool drain,
		  char error[static DAEMON_ERROR_SIZE]);

#endif
