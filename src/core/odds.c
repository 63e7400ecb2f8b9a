/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "odds.h"

#include <math.h>
#include <stdio.h>

double odds_guesses(const struct service *service)
{
	double values = service->integrity > 0 ? 65536.0 : 4294967296.0;

	return values / (double)service->key_count;
}

/* Guesses that are all different hit after half of the values on average; but the values that fit
 * change with each TSval, so nothing is gained by not repeating one: the mean of a geometric
 * distribution. */
double odds_seconds(const struct service *service, double guesses_per_second)
{
	return guesses_per_second > 0 ? odds_guesses(service) / guesses_per_second
				      : (double)INFINITY;
}

char *odds_duration(double seconds, char text[static ODDS_TEXT_SIZE])
{
	static const struct {
		double seconds;
		const char *name;
	} units[] = {{365.25 * 86400, "years"}, {86400, "days"}, {3600, "hours"}, {60, "minutes"}};

	if (isinf(seconds)) {
		snprintf(text, ODDS_TEXT_SIZE, "never");
		return text;
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		double count = seconds / units[i].seconds;
		if (count < 1.5)
			continue;
		snprintf(text, ODDS_TEXT_SIZE, count < 10 ? "%.1f %s" : "%.0f %s", count,
			 units[i].name);
		return text;
	}
	snprintf(text, ODDS_TEXT_SIZE, seconds < 10 ? "%.1f seconds" : "%.0f seconds", seconds);
	return text;
}

char *odds_line(const struct service *service, char text[static ODDS_LINE_SIZE])
{
	const struct failure_rules *rules = service->failures;
	char time[ODDS_TEXT_SIZE];
	int used =
		snprintf(text, ODDS_LINE_SIZE,
			 "%s: a blind guess hits 1 time in %.0f (%s, %zu key%s), on average after",
			 service->name, odds_guesses(service),
			 service->integrity > 0 ? "the SYN in integrity mode" : "auth mode",
			 service->key_count, service->key_count == 1 ? "" : "s");

	if (rules != NULL && rules->back_off > 0)
		used += snprintf(text + used, ODDS_LINE_SIZE - (size_t)used,
				 " %s from one prefix at max_failures = %u a second;",
				 odds_duration(odds_seconds(service, rules->max_failures), time),
				 rules->max_failures);
	if (rules != NULL && rules->max_service_failures > 0)
		used += snprintf(
			text + used, ODDS_LINE_SIZE - (size_t)used,
			" %s without an alarm (max_service_failures = %u a second);",
			odds_duration(odds_seconds(service, rules->max_service_failures), time),
			rules->max_service_failures);
	snprintf(text + used, ODDS_LINE_SIZE - (size_t)used, " %s at %d a second",
		 odds_duration(odds_seconds(service, ODDS_GATEWAY_RATE), time), ODDS_GATEWAY_RATE);
	return text;
}
