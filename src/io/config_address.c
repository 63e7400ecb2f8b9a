/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses, prefixes, and their combination with ports. */
#include <stdlib.h>
#include <string.h>

#include "config_reader.h"

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96, RFC 4291 */

static bool address_is_zero(const struct endpoint *endpoint)
{
	static const uint8_t zero[ADDRESS_SIZE];
	return memcmp(endpoint->address, zero, sizeof(zero)) == 0;
}

static bool address_is_broadcast(const struct endpoint *endpoint)
{
	static const uint8_t ones[4] = {0xff, 0xff, 0xff, 0xff};
	return endpoint->family == FAMILY_IPV4 && memcmp(endpoint->address, ones, 4) == 0;
}

/* Why no TCP connection can go to an address or into a prefix, or NULL. */
static const char *unusable_kind(const struct prefix *prefix)
{
	const struct endpoint *base = &prefix->base;
	bool ipv4 = base->family == FAMILY_IPV4;
	if (prefix->length == 8 * family_address_length(base->family)) {
		if (address_is_zero(base))
			return "the unspecified address";
		if (address_is_broadcast(base))
			return "the broadcast address";
	}
	if (ipv4 ? prefix->length >= 4 && (base->address[0] & 0xf0) == 0xe0
		 : prefix->length >= 8 && base->address[0] == 0xff)
		return "multicast";
	if (!ipv4 && prefix->length >= 96 &&
	    memcmp(base->address, mapped_prefix, sizeof(mapped_prefix)) == 0)
		return "an IPv4-mapped IPv6 address, which is never on the wire";
	return NULL;
}

static bool read_prefix(struct reader *reader, const config_setting_t *setting, bool prefixes,
			struct prefix *prefix)
{
	const char *expected = prefixes ? "a numeric IPv4 or IPv6 address or prefix"
					: "a numeric IPv4 or IPv6 address";
	const char *text = read_string(reader, setting, expected);
	if (!text)
		return false;
	if (strchr(text, '%')) {
		reader_error(reader, setting, "found \"%.*s\", expected an address without scope",
			     FOUND_LIMIT, text);
		return false;
	}
	if ((!prefixes && strchr(text, '/')) || !prefix_parse(prefix, text)) {
		reader_error(reader, setting, "found \"%.*s\", expected %s", FOUND_LIMIT, text,
			     expected);
		return false;
	}
	const char *kind = unusable_kind(prefix);
	if (kind) {
		reader_error(reader, setting, "found \"%s\" (%s), expected a unicast address", text,
			     kind);
		return false;
	}
	if (prefix_clear_host_bits(prefix)) {
		char base[ENDPOINT_TEXT_SIZE];
		reader_warning(reader, setting,
			       "found \"%s\", which has bits behind the prefix; taken as %s/%u",
			       text, endpoint_format_address(&prefix->base, base), prefix->length);
	}
	return true;
}

bool read_address(struct reader *reader, const config_setting_t *setting, struct endpoint *endpoint)
{
	struct prefix prefix;
	if (!read_prefix(reader, setting, false, &prefix))
		return false;
	*endpoint = prefix.base;
	return true;
}

void read_addresses(struct reader *reader, const config_setting_t *setting, bool prefixes,
		    struct places *places)
{
	size_t count = value_count(reader, setting, "address");
	for (size_t i = 0; i < count; i++) {
		struct place place = {.setting = value_at(setting, i)};
		if (read_prefix(reader, place.setting, prefixes, &place.prefix))
			places_add(reader, places, place);
	}
}

void places_add(struct reader *reader, struct places *places, struct place place)
{
	if (places->count == places->capacity) {
		size_t capacity = places->capacity ? 2 * places->capacity : 8;
		struct place *grown = reallocarray(places->list, capacity, sizeof(*grown));
		if (!grown) {
			reader_memory_short(reader);
			return;
		}
		places->list = grown;
		places->capacity = capacity;
	}
	place.position = places->count;
	places->list[places->count++] = place;
}

void places_free(struct places *places)
{
	free(places->list);
	*places = (struct places){0};
}

static uint16_t *read_ports(struct reader *reader, const config_setting_t *setting, size_t *count)
{
	size_t length = value_count(reader, setting, "port");
	uint16_t *ports = reader_allocate(reader, length, sizeof(*ports));
	*count = 0;
	for (size_t i = 0; ports && i < length; i++) {
		long long port;
		if (read_integer(reader, value_at(setting, i), 1, UINT16_MAX, &port))
			ports[(*count)++] = (uint16_t)port;
	}
	return ports;
}

struct place *places_combine(struct reader *reader, const struct places *addresses,
			     const config_setting_t *ports_setting, struct places *all,
			     size_t *count)
{
	size_t port_count;
	size_t first = all->count;
	uint16_t *ports = read_ports(reader, ports_setting, &port_count);
	if (addresses->count * port_count > ENDPOINTS_LIMIT) {
		reader_error(reader, ports_setting,
			     "found %zu pairs of address and port, expected at most %d",
			     addresses->count * port_count, ENDPOINTS_LIMIT);
		port_count = 0;
	}
	for (size_t i = 0; i < addresses->count; i++) {
		for (size_t j = 0; j < port_count; j++) {
			struct place place = addresses->list[i];
			place.prefix.base.port = ports[j];
			places_add(reader, all, place);
		}
	}
	free(ports);
	*count = all->count - first;
	return *count ? all->list + first : NULL;
}
