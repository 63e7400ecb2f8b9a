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
	"with a mistake changes nothing; the daemon's log tells all that is wrong with it. Keys "
	"that\n"
	"a reload cannot change are named, and keep their old values until the next start.\n"
	"\n" CONTROL_OPTIONS_USAGE;

/* What was not taken over. */
static void warn_of_restart(const json_t *objects)
{
	for (size_t i = 0; i < json_array_size(objects); i++) {
		const json_t *object = json_array_get(objects, i);
		complain("reload",
			 "%s: %s has changed, which needs a restart; the old value stays until "
			 "then",
			 json_string_value(json_object_get(object, "place")),
			 json_string_value(json_object_get(object, "key")));
	}
}

int reload_main(int argc, char **argv)
{
	struct control_options options;
	int status = control_options_parse(&options, argc, argv, "reload", USAGE, 0, 0);

	if (status >= 0)
		return status;
	json_t *objects = control_collect(&options, "reload", "reload", false, &status);
	if (objects == NULL)
		return status;
	if (options.json) {
		print_json(json_pack("{sb so}", "reloaded", 1, "needs_restart", objects));
	} else {
		puts("reloaded");
		warn_of_restart(objects);
		json_decref(objects);
	}
	return control_finish("reload", status);
}
