/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli.h"
#include "core/calendar.h"
#include "io/config.h"
#include "show.h"

static const char USAGE[] =
	"Usage: knockctl backends [--socket PATH] [--json]\n"
	"Lists the backends of all services.\n"
	"STATE: up or down by health checks, unchecked without; drain: gets no new "
	"connections.\n"
	"\n" CONTROL_OPTIONS_USAGE;

/* 2026-01-31T23:59:59Z, or nothing. */
static json_t *time_text(const json_t *seconds)
{
	char text[CALENDAR_TEXT_SIZE];

	return json_is_integer(seconds)
		       ? json_string(calendar_format(json_integer_value(seconds), text))
		       : json_null();
}

void print_backends(const json_t *objects)
{
	static const struct column columns[] = {
		{"SERVICE", "service", false},    {"BACKEND", "backend", false},
		{"WEIGHT", "weight", true},       {"STATE", "state", false},
		{"SINCE", "since", false},        {"LAST ERROR", "last_error", false},
		{"AT", "last_error_time", false},
	};
	json_t *rows = json_deep_copy(objects);
	json_t *row;
	size_t i;

	json_array_foreach(rows, i, row)
	{
		json_object_set_new(row, "since", time_text(json_object_get(row, "since")));
		json_object_set_new(row, "last_error_time",
				    time_text(json_object_get(row, "last_error_time")));
	}
	print_table(rows, columns, sizeof(columns) / sizeof(columns[0]));
	json_decref(rows);
}

int backends_main(int argc, char **argv)
{
	static const struct show show = {"backends", USAGE, print_backends, 0, 0};

	return show_main(argc, argv, &show);
}
