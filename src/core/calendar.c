/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "calendar.h"

#include <inttypes.h>
#include <stdio.h>

enum { DAY = 86400, FIRST_YEAR = 1970 };

struct date {
	unsigned int year, month, day;
};

static bool is_leap(unsigned int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static unsigned int days_in_month(unsigned int year, unsigned int month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return days[month - 1] + (month == 2 && is_leap(year) ? 1U : 0U);
}

/* Days from 1970-01-01 to the first day of a year. */
static int64_t days_before_year(unsigned int year)
{
	int64_t past = (int64_t)year - 1;

	return 365 * ((int64_t)year - FIRST_YEAR) + past / 4 - past / 100 + past / 400 - 477;
}

static int64_t days_before(const struct date *date)
{
	int64_t days = days_before_year(date->year) + date->day - 1;

	for (unsigned int month = 1; month < date->month; month++)
		days += days_in_month(date->year, month);
	return days;
}

/* Takes exactly count digits. */
static bool take_number(const char **at, unsigned int count, unsigned int *value)
{
	*value = 0;
	for (; count > 0; count--, (*at)++) {
		if (**at < '0' || **at > '9')
			return false;
		*value = *value * 10 + (unsigned int)(**at - '0');
	}
	return true;
}

static bool take(const char **at, char letter)
{
	if (**at != letter)
		return false;
	(*at)++;
	return true;
}

static bool take_date(const char **at, struct date *date)
{
	return take_number(at, 4, &date->year) && take(at, '-') &&
	       take_number(at, 2, &date->month) && take(at, '-') &&
	       take_number(at, 2, &date->day) && date->year >= FIRST_YEAR && date->month >= 1 &&
	       date->month <= 12 && date->day >= 1 &&
	       date->day <= days_in_month(date->year, date->month);
}

/* hh:mm, and :ss with a fraction if there is one. Second 60 is a leap second. */
static bool take_time(const char **at, int64_t *seconds)
{
	unsigned int hour, minute, second = 0;

	if (!take_number(at, 2, &hour) || !take(at, ':') || !take_number(at, 2, &minute))
		return false;
	if (take(at, ':')) {
		if (!take_number(at, 2, &second))
			return false;
		if (take(at, '.')) {
			if (**at < '0' || **at > '9')
				return false;
			while (**at >= '0' && **at <= '9')
				(*at)++;
		}
	}
	*seconds = (int64_t)hour * 3600 + minute * 60 + second;
	return hour < 24 && minute < 60 && second <= 60;
}

/* Z or ±hh:mm: what to subtract to get to UTC. */
static bool take_zone(const char **at, int64_t *offset)
{
	unsigned int hours, minutes;
	int sign = **at == '-' ? -1 : 1;

	*offset = 0;
	if (take(at, 'Z') || take(at, 'z'))
		return true;
	if (!take(at, '+') && !take(at, '-'))
		return false;
	if (!take_number(at, 2, &hours) || !take(at, ':') || !take_number(at, 2, &minutes))
		return false;
	*offset = sign * ((int64_t)hours * 3600 + minutes * 60);
	return hours < 24 && minutes < 60;
}

bool calendar_parse(const char *text, bool last_second, int64_t *seconds, const char **error)
{
	struct date date;
	int64_t time = 0;
	int64_t offset = 0;

	*error = "expected a date like 2026-12-31, or a time like 2026-12-31T23:59:59Z";
	if (!take_date(&text, &date))
		return false;
	*seconds = days_before(&date) * DAY;
	if (*text == '\0') {
		*seconds += last_second ? DAY - 1 : 0;
		return true;
	}
	if (!take(&text, 'T') && !take(&text, 't') && !take(&text, ' '))
		return false;
	if (!take_time(&text, &time))
		return false;
	if (*text == '\0') {
		*error = "expected a zone behind the time: Z for UTC, or like +01:00";
		return false;
	}
	if (!take_zone(&text, &offset) || *text != '\0')
		return false;
	*seconds += time - offset;
	return *seconds >= 0;
}

char *calendar_format(int64_t seconds, char text[static CALENDAR_TEXT_SIZE])
{
	int64_t days = seconds / DAY;
	unsigned int time = (unsigned int)(seconds % DAY);
	struct date date = {.year = (unsigned int)(FIRST_YEAR + days / 366), .month = 1};

	while (days_before_year(date.year + 1) <= days)
		date.year++;
	days -= days_before_year(date.year);
	for (; days >= days_in_month(date.year, date.month); date.month++)
		days -= days_in_month(date.year, date.month);
	date.day = (unsigned int)days + 1;
	snprintf(text, CALENDAR_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ", date.year % 10000,
		 date.month, date.day, time / 3600, time / 60 % 60, time % 60);
	return text;
}
