/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "prefix.h"

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
