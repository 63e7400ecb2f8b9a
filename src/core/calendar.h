/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Points in time as people write them (RFC 3339, ISO 8601), without the C library's time zone. */
#ifndef KNOCKGW_CORE_CALENDAR_H
#define KNOCKGW_CORE_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>

/* Reads "2026-01-31T23:59:59Z" or "2026-02-01T00:59+01:00" (T may be a space; a fraction of a
 * second is cut off; years 1970 to 9999) as seconds since 1970. "2026-01-31" alone is that day in
 * UTC: its first second, or with last_second its last. Returns false and points *error at a static
 * sentence that says what was expected. */
bool calendar_parse(const char *text, bool last_second, int64_t *seconds, const char **error);

enum { CALENDAR_TEXT_SIZE = 32 };

/* Writes "2026-01-31T23:59:59Z" into text and returns text. Needs years 1970 to 9999. */
char *calendar_format(int64_t seconds, char text[static CALENDAR_TEXT_SIZE]);

#endif
