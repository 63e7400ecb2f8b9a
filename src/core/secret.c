/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "secret.h"

#include <string.h>

void secret_wipe(void *memory, size_t length)
{
	explicit_bzero(memory, length);
}

void secret_from_bytes(struct secret *secret, const uint8_t *bytes, size_t length, bool *truncated)
{
	*truncated = length > SECRET_SIZE;
	memset(secret->bytes, 0, SECRET_SIZE);
	if (length > 0)
		memcpy(secret->bytes, bytes, *truncated ? SECRET_SIZE : length);
}

static bool starts_with(const char *text, size_t length, char letter)
{
	return length >= 2 && text[0] == letter && text[1] == ':';
}

/* Behind "r:": a decimal length, a colon, and that many bytes. */
static bool parse_raw(struct secret_text *parsed, const char *text, size_t length,
		      const char **error)
{
	size_t claimed = 0;
	size_t at = 0;

	for (; at < length && text[at] >= '0' && text[at] <= '9' && at < 6; at++)
		claimed = claimed * 10 + (size_t)(text[at] - '0');
	if (at == 0 || at >= length || text[at] != ':') {
		*error = "expected r:LENGTH:BYTES with a decimal length";
		return false;
	}
	at++;
	if (claimed != length - at) {
		*error = "expected as many bytes behind r:LENGTH: as the length says";
		return false;
	}
	parsed->notation = SECRET_RAW;
	parsed->value = text + at;
	parsed->length = claimed;
	return true;
}

bool secret_text_parse(struct secret_text *parsed, const char *text, size_t length,
		       const char **error)
{
	if (starts_with(text, length, 'r')) {
		if (!parse_raw(parsed, text + 2, length - 2, error))
			return false;
	} else if (starts_with(text, length, 'h') || starts_with(text, length, 'f')) {
		parsed->notation = text[0] == 'h' ? SECRET_HEX : SECRET_FILE;
		parsed->value = text + 2;
		parsed->length = length - 2;
	} else {
		parsed->notation = SECRET_PLAIN;
		parsed->value = text;
		parsed->length = length;
	}
	if (parsed->length == 0) {
		*error = parsed->notation == SECRET_FILE ? "expected a file name behind f:"
							 : "expected a secret, found nothing";
		return false;
	}
	return true;
}

static int hex_digit(char letter)
{
	if (letter >= '0' && letter <= '9')
		return letter - '0';
	if (letter >= 'a' && letter <= 'f')
		return letter - 'a' + 10;
	if (letter >= 'A' && letter <= 'F')
		return letter - 'A' + 10;
	return -1;
}

static bool from_hex(struct secret *secret, const struct secret_text *parsed, bool *truncated,
		     const char **error)
{
	*truncated = parsed->length > 2 * SECRET_SIZE;
	memset(secret->bytes, 0, SECRET_SIZE);
	if (parsed->length % 2 != 0) {
		*error = "expected an even number of hex digits behind h:";
		return false;
	}
	for (size_t i = 0; i < parsed->length; i += 2) {
		int high = hex_digit(parsed->value[i]);
		int low = hex_digit(parsed->value[i + 1]);
		if (high < 0 || low < 0) {
			secret_wipe(secret, sizeof(*secret));
			*error = "expected only hex digits behind h:";
			return false;
		}
		if (i / 2 < SECRET_SIZE)
			secret->bytes[i / 2] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool secret_from_text(struct secret *secret, const struct secret_text *parsed, bool *truncated,
		      const char **error)
{
	switch (parsed->notation) {
	case SECRET_HEX:
		return from_hex(secret, parsed, truncated, error);
	case SECRET_PLAIN:
	case SECRET_RAW:
		secret_from_bytes(secret, (const uint8_t *)parsed->value, parsed->length,
				  truncated);
		return true;
	default:
		*error = "expected a secret, found the name of a file";
		return false;
	}
}
