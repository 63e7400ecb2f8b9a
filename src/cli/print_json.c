/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "print_json.h"

#include <stdio.h>

bool print_json(json_t *object)
{
	/* A time of these decades to the microsecond, as a double holds it. */
	const size_t flags = JSON_COMPACT | JSON_REAL_PRECISION(16);
	bool printed =
		object != NULL && json_dumpf(object, stdout, flags) == 0 && putchar('\n') != EOF;

	json_decref(object);
	return printed;
}
