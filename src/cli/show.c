/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "show.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "core/control_request.h"
#include "print_json.h"

/* The name of the command and its arguments. Returns an exit status. */
static int make_request(char request[static CONTROL_LINE_SIZE], const char *name, int count,
			char **arguments)
{
	size_t length = (size_t)snprintf(request, CONTROL_LINE_SIZE, "%s", name);

	for (int i = 0; i < count; i++) {
		if (arguments[i][0] == '\0' || strpbrk(arguments[i], " \n") != NULL)
			return complain(name, "found '%s', expected one word", arguments[i]);
		length += (size_t)snprintf(request + length, CONTROL_LINE_SIZE - length, " %s",
					   arguments[i]);
		if (length >= CONTROL_LINE_SIZE)
			return complain(name, "the arguments are too long together");
	}
	return STATUS_FINE;
}

int show_main(int argc, char **argv, const struct show *show)
{
	struct control_options options;
	char request[CONTROL_LINE_SIZE];
	int status = control_options_parse(&options, argc, argv, show->name, show->usage,
					   show->arguments_least, show->arguments_most);

	if (status >= 0)
		return status;
	status = make_request(request, show->name, argc - options.first, argv + options.first);
	if (status != STATUS_FINE)
		return status;
	json_t *objects = control_collect(&options, show->name, request, false, &status);
	if (objects == NULL)
		return status;
	if (!options.json)
		show->print(objects);
	for (size_t i = 0; options.json && i < json_array_size(objects); i++)
		print_json(json_incref(json_array_get(objects, i)));
	json_decref(objects);
	return control_finish(show->name, STATUS_FINE);
}
