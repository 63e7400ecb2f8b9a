/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The group health = { ... } of a service: checks whether its backends accept connections. */
#include "config_reader.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
	DEFAULT_INTERVAL = 5000, /* milliseconds */
	DEFAULT_TIMEOUT = 1000,
	DEFAULT_RISE = 2,
	DEFAULT_FALL = 2,
	DEFAULT_JITTER = 10, /* percent */
	SHORTEST = 10,       /* milliseconds */
	LONGEST = 3600 * 1000,
	COUNT_LIMIT = 100,
	JITTER_LIMIT = 50,
};

/* Seconds, also fractions, into milliseconds. */
static void read_seconds(struct reader *reader, const config_setting_t *setting,
			 uint32_t *milliseconds)
{
	int type = config_setting_type(setting);
	double seconds;
	if (type == CONFIG_TYPE_FLOAT)
		seconds = config_setting_get_float(setting);
	else if (type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64)
		seconds = (double)config_setting_get_int64(setting);
	else
		seconds = -1;
	if (seconds * 1000 >= SHORTEST && seconds * 1000 <= LONGEST)
		*milliseconds = (uint32_t)(seconds * 1000 + 0.5);
	else
		reader_error(reader, setting, "expected seconds, from %g to %d", SHORTEST / 1000.0,
			     LONGEST / 1000);
}

static void read_count(struct reader *reader, const config_setting_t *setting, long long minimum,
		       long long maximum, uint16_t *count)
{
	long long value;
	if (read_integer(reader, setting, minimum, maximum, &value))
		*count = (uint16_t)value;
}

static void read_interval(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_seconds(reader, setting, &((struct health_config *)target)->interval);
}

static void read_timeout(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_seconds(reader, setting, &((struct health_config *)target)->timeout);
}

static void read_rise(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_count(reader, setting, 1, COUNT_LIMIT, &((struct health_config *)target)->rise);
}

static void read_fall(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_count(reader, setting, 1, COUNT_LIMIT, &((struct health_config *)target)->fall);
}

static void read_jitter(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_count(reader, setting, 0, JITTER_LIMIT, &((struct health_config *)target)->jitter);
}

static void read_check_port(struct reader *reader, const config_setting_t *setting, void *target)
{
	read_count(reader, setting, 1, UINT16_MAX, &((struct health_config *)target)->port);
}

static const struct field fields[] = {
	{"interval", read_interval, NULL}, {"timeout", read_timeout, NULL},
	{"rise", read_rise, NULL},         {"fall", read_fall, NULL},
	{"jitter", read_jitter, NULL},     {"port", read_check_port, NULL},
};

void read_health(struct reader *reader, const config_setting_t *setting,
		 struct health_config *health)
{
	*health = (struct health_config){
		.interval = DEFAULT_INTERVAL,
		.timeout = DEFAULT_TIMEOUT,
		.rise = DEFAULT_RISE,
		.fall = DEFAULT_FALL,
		.jitter = DEFAULT_JITTER,
	};
	read_group(reader, setting, fields, COUNT_OF(fields), health);
	if ((uint64_t)health->timeout * health->fall * 10 > (uint64_t)health->interval * 9)
		reader_error(reader, setting,
			     "found interval %g, timeout %g and fall %u, expected fall * timeout "
			     "to be at most nine tenths of interval, the time in which a dead "
			     "backend must be noticed",
			     health->interval / 1000.0, health->timeout / 1000.0, health->fall);
}
