/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the protect engine wants done besides its verdicts: segments of our own, and changes to a
 * connection in the kernel. The edges carry it out. */
#ifndef KNOCKGW_CORE_PROTECT_ACTION_H
#define KNOCKGW_CORE_PROTECT_ACTION_H

#include "reason.h"
#include "segment_build.h"
#include "tuple.h"

struct protect_action {
	enum protect_action_kind {
		PROTECT_TO_CLIENT, /* send in the server's name */
		PROTECT_TO_SERVER, /* send in the client's name */
		PROTECT_VERIFY,    /* the kernel shall forward the connection from now on */
		PROTECT_FORGET,    /* the kernel shall forget the connection */
		PROTECT_SHUT,      /* the kernel shall refuse what is left of it, if anything */
	} kind;
	enum reason reason;
	struct tuple tuple;              /* client -> service, as the client's segments have it */
	const struct segment_plan *plan; /* of what to send; its tuple as on the client's wire */
};

/* Takes actions, in order, each valid during the call only. Must not call the engine. */
struct protect_output {
	void (*act)(void *context, const struct protect_action *action);
	void *context;
};

#endif
