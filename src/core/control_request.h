/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What knockctl asks of the daemon: one line of words, separated by single spaces. Pure. */
#ifndef KNOCKGW_CORE_CONTROL_REQUEST_H
#define KNOCKGW_CORE_CONTROL_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

/* The commands: word, fewest and most arguments, and what these are. */
/*        name      word       least most  arguments */
#define CONTROL_COMMAND_TABLE(X)                             \
	X(STATUS, "status", 0, 0, "")                        \
	X(SERVICES, "services", 0, 0, "")                    \
	X(BACKENDS, "backends", 0, 0, "")                    \
	X(STATS, "stats", 0, 0, "")                          \
	X(RELOAD, "reload", 0, 0, "")                        \
	X(DRAIN, "drain", 2, 2, "SERVICE BACKEND")           \
	X(UNDRAIN, "undrain", 2, 2, "SERVICE BACKEND")       \
	X(KICK, "kick", 1, 8, "SERVICE [CLIENT|BACKEND...]") \
	X(MONITOR, "monitor", 0, 1, "[error|warning|info|debug]")

enum control_command {
#define CONTROL_ENUM(name, word, least, most, arguments) CONTROL_##name,
	CONTROL_COMMAND_TABLE(CONTROL_ENUM)
#undef CONTROL_ENUM
		CONTROL_COUNT
};

enum {
	CONTROL_LINE_SIZE = 512, /* of a request, its newline included */
	CONTROL_WORD_SIZE = 128,
	CONTROL_ARGUMENTS = 8,
	CONTROL_ERROR_SIZE = 256,
};

struct control_request {
	enum control_command command;
	size_t count; /* of arguments */
	char arguments[CONTROL_ARGUMENTS][CONTROL_WORD_SIZE];
};

const char *control_command_word(enum control_command command);

/* Takes a line apart, length bytes without the newline, whatever they are. Returns false with one
 * line in error, which repeats nothing but printable text. */
bool control_request_parse(struct control_request *request, const char *line, size_t length,
			   char error[static CONTROL_ERROR_SIZE]);

#endif
