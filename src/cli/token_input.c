/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "token_input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAYLOAD_MAX = 65535 };

bool number_parse_port(uint16_t *port, const char *text)
{
	char *end;

	errno = 0;
	unsigned long value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < 1 || value > 65535)
		return false;
	*port = (uint16_t)value;
	return true;
}

bool number_parse_hex32(uint32_t *number, const char *text)
{
	if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X'))
		text += 2;
	size_t length = strlen(text);
	if (length < 1 || length > 8 || strspn(text, "0123456789abcdefABCDEF") != length)
		return false;
	*number = (uint32_t)strtoul(text, NULL, 16);
	return true;
}

const char *payload_parse_hex(struct payload *payload, const char *text)
{
	size_t length = strlen(text);

	if (length % 2 != 0 || strspn(text, "0123456789abcdefABCDEF") != length)
		return "expected an even number of hex digits";
	if (length / 2 > PAYLOAD_MAX)
		return "expected at most 65535 bytes";
	free(payload->bytes);
	payload->bytes = malloc(length / 2 + 1);
	if (payload->bytes == NULL)
		return "out of memory";
	for (size_t i = 0; i < length / 2; i++) {
		const char pair[] = {text[2 * i], text[2 * i + 1], '\0'};
		payload->bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	payload->length = length / 2;
	return NULL;
}

const char *payload_read_file(struct payload *payload, const char *path)
{
	FILE *stream = fopen(path, "rbe");

	if (stream == NULL)
		return strerror(errno);
	free(payload->bytes);
	payload->bytes = malloc(PAYLOAD_MAX + 1);
	if (payload->bytes == NULL) {
		fclose(stream);
		return "out of memory";
	}
	payload->length = fread(payload->bytes, 1, PAYLOAD_MAX + 1, stream);
	bool failed = ferror(stream) != 0;
	int error = errno;
	fclose(stream);
	if (failed)
		return strerror(error);
	if (payload->length == 0)
		return "the file is empty, expected 1 to 65535 bytes";
	return payload->length > PAYLOAD_MAX ? "expected at most 65535 bytes" : NULL;
}

static const char *parse_destination(struct endpoint *destination, const char *family,
				     const char *address, const char *port)
{
	if (strcmp(family, "4") != 0 && strcmp(family, "6") != 0)
		return "family: expected 4 or 6";
	if (!endpoint_parse_address(destination, address) ||
	    destination->family != (family[0] == '4' ? FAMILY_IPV4 : FAMILY_IPV6))
		return "dst: expected an address of that family";
	return number_parse_port(&destination->port, port) ? NULL : "port: expected 1 to 65535";
}

static const char *parse_secret(struct secret *secret, const char *hex, bool *truncated)
{
	const struct secret_text text = {SECRET_HEX, hex, strlen(hex)};
	const char *error = NULL;

	/* An empty secret is one of 64 zeros. */
	if (!secret_from_text(secret, &text, truncated, &error))
		return "secret_hex: expected an even number of hex digits";
	return NULL;
}

const char *token_line_parse(struct token_line *parsed, char *line, size_t length)
{
	enum { FAMILY, ADDRESS, PORT, TSVAL, SECRET, PAYLOAD, COLUMNS };
	char *column[COLUMNS];
	const char *error;

	*parsed = (struct token_line){0};
	if (memchr(line, '\0', length) != NULL)
		return "expected text, found a NUL byte";
	if (length > 0 && line[length - 1] == '\n')
		line[--length] = '\0';
	if (length > 0 && line[length - 1] == '\r')
		line[--length] = '\0';
	for (size_t i = 0; i < COLUMNS; i++) {
		column[i] = strsep(&line, "\t");
		if (column[i] == NULL)
			return "expected 6 columns separated by tabs";
	}
	error = parse_destination(&parsed->destination, column[FAMILY], column[ADDRESS],
				  column[PORT]);
	if (error == NULL && !number_parse_hex32(&parsed->tsval, column[TSVAL]))
		error = "tsval_hex: expected up to 8 hex digits";
	if (error == NULL)
		error = parse_secret(&parsed->secret, column[SECRET], &parsed->secret_truncated);
	if (error == NULL && payload_parse_hex(&parsed->payload, column[PAYLOAD]) != NULL)
		error = "payload_hex: expected an even number of hex digits, of 65535 bytes at "
			"most";
	if (error != NULL)
		secret_wipe(&parsed->secret, sizeof(parsed->secret));
	return error;
}
