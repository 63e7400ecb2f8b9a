/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Remembers what the protect engine did of its own. */
#ifndef KNOCKGW_TESTS_ACTION_NOTES_H
#define KNOCKGW_TESTS_ACTION_NOTES_H

#include "core/protect_action.h"
#include "support.h"

enum { ACTIONS = 64 };

static struct noted {
	struct protect_action action;
	struct segment_plan plan;
	uint8_t payload[2048];
} actions[ACTIONS];
static size_t action_count;

static void note_action(void *context, const struct protect_action *action)
{
	(void)context;
	ck_assert_uint_lt(action_count, ACTIONS);
	struct noted *noted = &actions[action_count++];
	noted->action = *action;
	if (action->plan == NULL)
		return;
	noted->plan = *action->plan;
	ck_assert_uint_le(noted->plan.payload_length, sizeof(noted->payload));
	if (noted->plan.payload_length > 0)
		memcpy(noted->payload, noted->plan.payload, noted->plan.payload_length);
}

#endif
