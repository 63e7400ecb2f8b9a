/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The other end of the daemon's control socket. */
#ifndef KNOCKGW_CLI_CONTROL_CLIENT_H
#define KNOCKGW_CLI_CONTROL_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

/* What every command that talks to the daemon takes. */
struct control_options {
	const char *socket; /* its path */
	bool json;
	int first; /* of argv behind the options */
};

#define CONTROL_OPTIONS_USAGE                                                            \
	"  --socket PATH  control.socket of knockgw.conf (default " CONTROL_SOCKET ")\n" \
	"  --json         print a JSON object a line\n"

/* Takes options and, behind them, count arguments from least to most. Returns -1 to go on, or an
 * exit status when all is said. */
int control_options_parse(struct control_options *options, int argc, char **argv, const char *name,
			  const char *usage, int least, int most);

/* Sends a request and calls back for every object of the answer, which stays the caller's. Returns
 * an exit status; what went wrong was said. */
int control_ask(const struct control_options *options, const char *name, const char *request,
		void (*row)(void *context, const json_t *object), void *context);

/* The same, for an array of all objects, to free with json_decref. NULL with *status set when that
 * fails. quietly: then nothing is said. */
json_t *control_collect(const struct control_options *options, const char *name,
			const char *request, bool quietly, int *status);

/* Ends a command: with STATUS_FAILED when standard output took less than all. */
int control_finish(const char *name, int status);

#endif
