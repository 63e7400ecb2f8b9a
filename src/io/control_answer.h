/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef KNOCKGW_IO_CONTROL_ANSWER_H
#define KNOCKGW_IO_CONTROL_ANSWER_H

#include <event2/buffer.h>

#include "core/control_request.h"
#include "view.h"

/* Carries out a request (not "monitor") and writes the whole answer into an empty buffer. */
void control_answer(struct evbuffer *output, const struct control_request *request,
		    const struct daemon_interface *daemon);

/* Writes an answer that is an error. */
void control_answer_error(struct evbuffer *output, const char *error);

/* Writes the beginning of an answer. */
void control_answer_begin(struct evbuffer *output);

#endif
