/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef KNOCKGW_CLI_SHOW_H
#define KNOCKGW_CLI_SHOW_H

#include "control_client.h"
#include "print_table.h"

/* A command that shows what the daemon answers to a request of the same name. */
struct show {
	const char *name;
	const char *usage;
	void (*print)(const json_t *objects); /* for people */
	int arguments_least;                  /* words of the request behind its name */
	int arguments_most;
};

int show_main(int argc, char **argv, const struct show *show);

/* The table of backends. */
void print_backends(const json_t *objects);

#endif
