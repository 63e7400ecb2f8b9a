/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control socket: answers knockctl. A connection brings one request, a line of
 * control_request.h, and gets lines of JSON: {"ok":true}, an object a line, {"end":COUNT}; or
 * {"ok":false,"error":TEXT} alone. After "monitor" events follow until the client leaves.
 * Requests, clients, output and waiting are all bounded, and nothing here blocks. */
#ifndef KNOCKGW_IO_CONTROL_H
#define KNOCKGW_IO_CONTROL_H

#include <event2/event.h>

#include "view.h"

struct control;

/* Makes the socket where the configuration says; best while the process may still give it to its
 * owner and group. Returns NULL when that cannot be, having logged why. */
struct control *control_open(const struct config *config);

/* Serves it from the event loop. daemon is copied. Returns false when that cannot be. */
bool control_start(struct control *control, struct event_base *base,
		   const struct daemon_interface *daemon);

/* Only when no other thread logs any more. NULL is fine. */
void control_stop(struct control *control);

#endif
