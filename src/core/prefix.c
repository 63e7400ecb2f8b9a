/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "prefix.h"

#include <stdlib.h>

enum { PREFIX_TEXT_SIZE = 64 };

static bool parse_length(const char *text, uint8_t family, uint8_t *length)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 3 || text[digits] != '\0' || (digits > 1 && text[0] == '0'))
		return false;
	unsigned long value = strtoul(text, NULL, 10);
	if (value > 8 * family_address_length(family))
		return false;
	*length = (uint8_t)value;
	return true;
}

bool prefix_parse(struct prefix *prefix, const char *text)
{
	char address[PREFIX_TEXT_SIZE];
	const char *slash = strchr(text, '/');
	size_t length = slash != NULL ? (size_t)(slash - text) : strlen(text);

	if (length >= sizeof(address))
		return false;
	memcpy(address, text, length);
	address[length] = '\0';
	*prefix = (struct prefix){0};
	if (!endpoint_parse_address(&prefix->base, address))
		return false;
	prefix->length = (uint8_t)(8 * family_address_length(prefix->base.family));
	return slash == NULL || parse_length(slash + 1, prefix->base.family, &prefix->length);
}

bool prefix_holds_address(const struct prefix *prefix, const struct endpoint *endpoint)
{
	size_t bytes = prefix->length / 8;
	unsigned int bits = prefix->length % 8;

	if (prefix->base.family != endpoint->family ||
	    memcmp(prefix->base.address, endpoint->address, bytes) != 0)
		return false;
	return bits == 0 ||
	       (prefix->base.address[bytes] ^ endpoint->address[bytes]) >> (8 - bits) == 0;
}

bool prefix_holds(const struct prefix *prefix, const struct endpoint *endpoint)
{
	return prefix->base.port == endpoint->port && prefix_holds_address(prefix, endpoint);
}

bool prefix_clear_host_bits(struct prefix *prefix)
{
	struct endpoint before = prefix->base;

	for (size_t i = 0; i < family_address_length(prefix->base.family); i++) {
		size_t kept = prefix->length > 8 * i ? prefix->length - 8 * i : 0;
		if (kept < 8)
			prefix->base.address[i] &= (uint8_t)(0xff00 >> kept);
	}
	return !endpoint_equal(&before, &prefix->base);
}
