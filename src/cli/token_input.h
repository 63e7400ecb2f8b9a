/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What knockctl token reads: numbers, payloads, lines of --batch. */
#ifndef KNOCKGW_CLI_TOKEN_INPUT_H
#define KNOCKGW_CLI_TOKEN_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/secret.h"
#include "core/tuple.h"

/* Bytes on the heap; NULL when there are none. */
struct payload {
	uint8_t *bytes;
	size_t length;
};

bool number_parse_port(uint16_t *port, const char *text);

/* One to eight hex digits, with or without 0x. */
bool number_parse_hex32(uint32_t *number, const char *text);

/* Each returns NULL, or what was expected instead. A file without bytes is refused; no digits are
 * no payload. */
const char *payload_parse_hex(struct payload *payload, const char *text);
const char *payload_read_file(struct payload *payload, const char *path);

/* One line of --batch. */
struct token_line {
	struct endpoint destination;
	uint32_t tsval;
	struct secret secret;
	bool secret_truncated; /* more than SECRET_SIZE bytes were given */
	struct payload payload;
};

/* Takes a line of that length apart (and writes into it), with or without the end of the line.
 * Returns NULL, or what was expected; then parsed holds nothing to free or wipe. */
const char *token_line_parse(struct token_line *parsed, char *line, size_t length);

#endif
