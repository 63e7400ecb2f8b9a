/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef KNOCKGW_CLI_PRINT_JSON_H
#define KNOCKGW_CLI_PRINT_JSON_H

#include <jansson.h>
#include <stdbool.h>

/* Prints an object as one line and gives it up. Returns false when it could not be made (NULL) or
 * written. */
bool print_json(json_t *object);

#endif
