/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The group egress_integrity = { ... }: how connections are made whose token covers payload. */
#include "config_reader.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
	TIMEOUT_LIMIT = 3600, /* seconds */
	MSS_LEAST = 88,       /* as Linux accepts it (tcp_min_snd_mss is 48, and 40 of options) */
	SHIFT_LIMIT = 14,     /* RFC 7323 2.3 */
};

static struct splice_limits *limits_of(void *target)
{
	return &((struct config *)target)->integrity;
}

static void read_seconds(struct reader *reader, const config_setting_t *setting,
			 uint32_t *milliseconds)
{
	long long value;
	if (read_integer(reader, setting, 1, TIMEOUT_LIMIT, &value))
		*milliseconds = (uint32_t)value * 1000;
}

static void read_collect_timeout(struct reader *reader, const config_setting_t *setting,
				 void *target)
{
	read_seconds(reader, setting, &limits_of(target)->collect_timeout);
}

static void read_connect_timeout(struct reader *reader, const config_setting_t *setting,
				 void *target)
{
	read_seconds(reader, setting, &limits_of(target)->connect_timeout);
}

static void read_on_timeout(struct reader *reader, const config_setting_t *setting, void *target)
{
	static const char *const words[] = {"reset", "plain", NULL};
	unsigned int value;
	if (read_choice(reader, setting, words, &value))
		limits_of(target)->plain_after_timeout = value == 1;
}

static void read_mss(struct reader *reader, const config_setting_t *setting, uint16_t *mss)
{
	long long value;
	if (read_integer(reader, setting, MSS_LEAST, UINT16_MAX, &value))
		*mss = (uint16_t)value;
}

static void read_mss_ipv4(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_mss(reader, setting, &limits_of(target)->defaults.mss_ipv4);
}

static void read_mss_ipv6(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_mss(reader, setting, &limits_of(target)->defaults.mss_ipv6);
}

static void read_window_scale(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct splice_defaults *defaults = &limits_of(target)->defaults;
	long long value;
	if (!read_integer(reader, setting, -1, SHIFT_LIMIT, &value))
		return;
	defaults->window_scale = value >= 0;
	defaults->window_shift = (uint8_t)(value >= 0 ? value : 0);
}

static void read_sack(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_boolean(reader, setting, &limits_of(target)->defaults.sack);
}

static void read_timestamps(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_boolean(reader, setting, &limits_of(target)->defaults.timestamps);
}

void read_egress_integrity(struct reader *reader, const config_setting_t *setting, void *target)
{
	static const struct field fields[] = {
		{"collect_timeout", read_collect_timeout, NULL},
		{"on_timeout", read_on_timeout, NULL},
		{"connect_timeout", read_connect_timeout, NULL},
		{"mss_ipv4", read_mss_ipv4, NULL},
		{"mss_ipv6", read_mss_ipv6, NULL},
		{"window_scale", read_window_scale, NULL},
		{"sack", read_sack, NULL},
		{"timestamps", read_timestamps, NULL},
	};
	read_group(reader, setting, fields, COUNT_OF(fields), target);
}
