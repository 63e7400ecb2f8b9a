/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli.h"
#include "io/config.h"
#include "show.h"

static const char USAGE[] =
	"Usage: knockctl services [--socket PATH] [--json]\n"
	"Lists services and egress destinations.\n"
	"\n" CONTROL_OPTIONS_USAGE "\n"
	"AUTHORISED counts SYNs: with the token of a key (protect), or that got one (egress).\n"
	"REFUSED counts packets that met a closed port. GUESS 1 IN: so many blind guesses hit "
	"once, on\n"
	"average.\n";

static void print_services(const json_t *objects)
{
	static const struct column columns[] = {
		{"ROLE", "role", false},
		{"SERVICE", "service", false},
		{"KEYS", "keys", true},
		{"INTEGRITY", "integrity", true},
		{"BACKENDS", "backends", true},
		{"REJECT", "reject", false},
		{"GUESS 1 IN", "guess_one_in", true},
		{"AUTHORISED", "authorised", true},
		{"REFUSED", "refused", true},
		{"ENDPOINTS", "endpoints", false},
	};

	print_table(objects, columns, sizeof(columns) / sizeof(columns[0]));
}

int services_main(int argc, char **argv)
{
	static const struct show show = {"services", USAGE, print_services, 0, 0};

	return show_main(argc, argv, &show);
}
