/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "print_json.h"

#include <stdio.h>

bool print_json(json_t *object)
{
	bool printed = object != NULL && json_dumpf(object, stdout, JSON_COMPACT) == 0 &&
		       putchar('\n') != EOF;

	json_decref(object);
	return printed;
}
