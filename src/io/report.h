/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What knockctl shows, as JSON objects. */
#ifndef KNOCKGW_IO_REPORT_H
#define KNOCKGW_IO_REPORT_H

#include <jansson.h>

#include "view.h"

/* Each calls back with one object after the other, which is freed behind it (NULL when memory is
 * short). */
typedef void report_sink(void *context, const json_t *object);

void report_status(const struct view *view, report_sink *sink, void *context);
/* Keys of the file that the daemon does not follow until its next start. */
void report_needs_restart(const struct view *view, report_sink *sink, void *context);
void report_services(const struct view *view, report_sink *sink, void *context);
/* service: only its backends; NULL: those of all services. */
void report_backends(const struct view *view, const char *service, report_sink *sink,
		     void *context);
void report_kicked(const char *service, uint64_t connections, report_sink *sink, void *context);
void report_stats(const struct view *view, report_sink *sink, void *context);

#endif
