/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli.h"
#include "io/config.h"
#include "show.h"

#define BACKEND_USAGE                                                                           \
	"BACKEND is its address, or ADDRESS:PORT ([ADDRESS]:PORT) where the service has that\n" \
	"address several times. Prints the backends of the service.\n"

static const char DRAIN_USAGE[] =
	"Usage: knockctl drain [--socket PATH] [--json] SERVICE BACKEND\n"
	"Sends no new connections to a backend; established ones go on. It stays so over reloads,\n"
	"until 'knockctl undrain' or the next start of the daemon.\n" BACKEND_USAGE
	"\n" CONTROL_OPTIONS_USAGE;

static const char UNDRAIN_USAGE[] =
	"Usage: knockctl undrain [--socket PATH] [--json] SERVICE BACKEND\n"
	"Sends new connections again to a backend that 'knockctl drain' has "
	"drained.\n" BACKEND_USAGE "\n" CONTROL_OPTIONS_USAGE;

int drain_main(int argc, char **argv)
{
	static const struct show show = {"drain", DRAIN_USAGE, print_backends, 2, 2};

	return show_main(argc, argv, &show);
}

int undrain_main(int argc, char **argv)
{
	static const struct show show = {"undrain", UNDRAIN_USAGE, print_backends, 2, 2};

	return show_main(argc, argv, &show);
}
