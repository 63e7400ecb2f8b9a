/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "control_client.h"
#include "io/config.h"
#include "print_json.h"
#include "print_table.h"

static const char USAGE[] =
	"Usage: knockctl monitor [--socket PATH] [--json] [LEVEL]\n"
	"Shows events as they happen, until it is interrupted. LEVEL is error, warning, info\n"
	"(default) or debug, whatever log.level says.\n"
	"\n" CONTROL_OPTIONS_USAGE "\n"
	"Events are not limited in their rate, as the log is. Who reads too slowly loses some, and "
	"is\n"
	"told how many (event lost).\n";

static const char *text(const json_t *event, const char *member)
{
	const char *value = json_string_value(json_object_get(event, member));

	return value != NULL ? value : "-";
}

static void print_event(const json_t *event)
{
	const char *key;
	json_t *value;

	printf("%s %-7s %s", text(event, "time"), text(event, "level"), text(event, "event"));
	json_object_foreach((json_t *)(uintptr_t)event, key, value)
	{
		if (strcmp(key, "time") == 0 || strcmp(key, "level") == 0 ||
		    strcmp(key, "event") == 0)
			continue;
		char *cell = cell_text(value);
		printf(" %s=%s", key, cell != NULL ? cell : "");
		free(cell);
	}
	putchar('\n');
}

static void show_event(void *context, const json_t *event)
{
	const struct control_options *options = context;

	if (options->json)
		print_json(json_deep_copy(event));
	else
		print_event(event);
	/* Somebody may be waiting for this line. When nobody is left, that is the end. */
	if (fflush(stdout) != 0)
		exit(STATUS_FAILED);
}

int monitor_main(int argc, char **argv)
{
	struct control_options options;
	char request[64];
	int status = control_options_parse(&options, argc, argv, "monitor", USAGE, 0, 1);

	if (status >= 0)
		return status;
	const char *level = options.first < argc ? argv[options.first] : "info";
	if (strcmp(level, "error") != 0 && strcmp(level, "warning") != 0 &&
	    strcmp(level, "info") != 0 && strcmp(level, "debug") != 0)
		return complain("monitor", "found '%s', expected error, warning, info or debug",
				level);
	snprintf(request, sizeof(request), "monitor %s", level);
	return control_ask(&options, "monitor", request, show_event, &options);
}
