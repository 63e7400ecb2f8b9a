/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The group limits = { ... }, and replay_window of a service. */
#include "config_reader.h"
#include "core/limit.h"
#include "core/replay_guard.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
	DEFAULT_MAX_FAILURES = 100,
	DEFAULT_MAX_SERVICE_FAILURES = 1000,
	DEFAULT_IPV4_PREFIX = 24,
	DEFAULT_IPV6_PREFIX = 56,
	DEFAULT_REPLAY_WINDOW = 3600,
	BACK_OFF_LIMIT = 86400,
};

/* Whoever may forge sources could have a held prefix refused, so by default nobody is held. */
const struct failure_rules default_failure_rules = {
	.max_failures = DEFAULT_MAX_FAILURES,
	.back_off = 0,
	.max_service_failures = DEFAULT_MAX_SERVICE_FAILURES,
	.ipv4_prefix = DEFAULT_IPV4_PREFIX,
	.ipv6_prefix = DEFAULT_IPV6_PREFIX,
};

static bool read_uint32(struct reader *reader, const config_setting_t *setting, uint32_t highest,
			uint32_t *value)
{
	long long found;
	if (!read_integer(reader, setting, 0, highest, &found))
		return false;
	*value = (uint32_t)found;
	return true;
}

static void read_max_failures(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_uint32(reader, setting, LIMIT_MOST, &((struct failure_rules *)target)->max_failures);
}

static void read_back_off(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_uint32(reader, setting, BACK_OFF_LIMIT, &((struct failure_rules *)target)->back_off);
}

static void read_max_service_failures(struct reader *reader, const config_setting_t *setting,
				      void *target)
{
	read_uint32(reader, setting, LIMIT_MOST,
		    &((struct failure_rules *)target)->max_service_failures);
}

static void read_ipv4_prefix(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (read_integer(reader, setting, 8, 32, &value))
		((struct failure_rules *)target)->ipv4_prefix = (uint8_t)value;
}

static void read_ipv6_prefix(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (read_integer(reader, setting, 16, 64, &value))
		((struct failure_rules *)target)->ipv6_prefix = (uint8_t)value;
}

void read_limits(struct reader *reader, const config_setting_t *setting, void *target)
{
	static const struct field fields[] = {
		{"max_failures", read_max_failures, NULL},
		{"back_off", read_back_off, NULL},
		{"max_service_failures", read_max_service_failures, NULL},
		{"ipv4_prefix", read_ipv4_prefix, NULL},
		{"ipv6_prefix", read_ipv6_prefix, NULL},
	};
	struct failure_rules *rules = &((struct config *)target)->failures;
	read_group(reader, setting, fields, COUNT_OF(fields), rules);
	if (rules->back_off > 0 && rules->max_failures == 0)
		reader_error(reader, setting,
			     "found back_off %u without max_failures, expected both or neither",
			     rules->back_off);
}

bool read_replay_window(struct reader *reader, const config_setting_t *setting, uint32_t *seconds)
{
	return read_uint32(reader, setting, REPLAY_WINDOW_LIMIT, seconds);
}

void set_replay_window(struct service_config *service)
{
	if (!service->replay_window_given)
		service->service.replay_window =
			service->service.integrity == 0 ? DEFAULT_REPLAY_WINDOW : 0;
}
