/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "show.h"

#include "cli.h"
#include "print_json.h"

int show_main(int argc, char **argv, const struct show *show)
{
	struct control_options options;
	int status = control_options_parse(&options, argc, argv, show->name, show->usage, 0, 0);

	if (status >= 0)
		return status;
	json_t *objects = control_collect(&options, show->name, show->name, false, &status);
	if (objects == NULL)
		return status;
	if (!options.json)
		show->print(objects);
	for (size_t i = 0; options.json && i < json_array_size(objects); i++)
		print_json(json_incref(json_array_get(objects, i)));
	json_decref(objects);
	return control_finish(show->name, STATUS_FINE);
}
