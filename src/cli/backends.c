/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli.h"
#include "io/config.h"
#include "show.h"

static const char USAGE[] = "Usage: knockctl backends [--socket PATH] [--json]\n"
			    "Lists the backends of all services.\n"
			    "\n" CONTROL_OPTIONS_USAGE;

void print_backends(const json_t *objects)
{
	static const struct column columns[] = {
		{"SERVICE", "service", false},
		{"BACKEND", "backend", false},
		{"WEIGHT", "weight", true},
		{"STATE", "state", false},
	};

	print_table(objects, columns, sizeof(columns) / sizeof(columns[0]));
}

int backends_main(int argc, char **argv)
{
	static const struct show show = {"backends", USAGE, print_backends, 0, 0};

	return show_main(argc, argv, &show);
}
