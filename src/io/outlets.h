/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where others look at the daemon: the control socket and the metrics. */
#ifndef KNOCKGW_IO_OUTLETS_H
#define KNOCKGW_IO_OUTLETS_H

#include "control.h"
#include "metrics.h"

struct outlets {
	struct control *control; /* NULL when there is no socket to be had */
	struct metrics *metrics; /* NULL when nobody asked for them */
};

/* Makes the sockets, while the process may still give them to their owners. Without a control
 * socket that the file does not name the daemon can do: that two of them in two network namespaces
 * share the default path is no reason to open or close ports. Returns false, having logged why,
 * when something is missing that the file asks for. */
bool outlets_open(struct outlets *outlets, const struct config *config);

/* Serves them from the event loop. daemon is copied. Returns false with the reason logged. */
bool outlets_start(const struct outlets *outlets, struct event_base *base,
		   const struct daemon_interface *daemon);

/* Only when no other thread logs any more. */
void outlets_close(struct outlets *outlets);

#endif
