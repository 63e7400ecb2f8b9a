/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "cli.h"
#include "control_client.h"
#include "io/config.h"
#include "print_json.h"

static const char USAGE[] =
	"Usage: knockctl reload [--socket PATH] [--json]\n"
	"Has the daemon read its configuration again, as SIGHUP does, and waits until it has. A "
	"file\n"
	"with a mistake changes nothing; the daemon's log tells all that is wrong with it.\n"
	"\n" CONTROL_OPTIONS_USAGE;

int reload_main(int argc, char **argv)
{
	struct control_options options;
	int status = control_options_parse(&options, argc, argv, "reload", USAGE, 0, 0);

	if (status >= 0)
		return status;
	json_t *objects = control_collect(&options, "reload", "reload", false, &status);
	json_decref(objects);
	if (status == STATUS_FINE && options.json)
		print_json(json_pack("{sb}", "reloaded", 1));
	else if (status == STATUS_FINE)
		puts("reloaded");
	return control_finish("reload", status);
}
