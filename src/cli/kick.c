/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli.h"
#include "core/control_request.h"
#include "io/config.h"
#include "show.h"

static const char USAGE[] =
	"Usage: knockctl kick [--socket PATH] [--json] SERVICE [CLIENT|BACKEND...]\n"
	"Ends established connections of a service, also of one that a reload has removed: all, "
	"or\n"
	"those of these clients or backends (ADDRESS, ADDRESS:PORT, ADDRESS/LENGTH), at most 7.\n"
	"New connections are welcome. Says how many were ended.\n"
	"\n" CONTROL_OPTIONS_USAGE;

static void print_kicked(const json_t *objects)
{
	static const struct column columns[] = {
		{"SERVICE", "service", false},
		{"CONNECTIONS", "connections", true},
	};

	print_table(objects, columns, sizeof(columns) / sizeof(columns[0]));
}

int kick_main(int argc, char **argv)
{
	static const struct show show = {"kick", USAGE, print_kicked, 1, CONTROL_ARGUMENTS};

	return show_main(argc, argv, &show);
}
