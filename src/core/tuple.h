/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses, endpoints and tuples: plain values that can be hashed, compared and stored as bytes.
 */
#ifndef KNOCKGW_CORE_TUPLE_H
#define KNOCKGW_CORE_TUPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { FAMILY_IPV4 = 4, FAMILY_IPV6 = 6 };

enum { ADDRESS_SIZE = 16 };

/* One end of a connection. Every byte has a defined value, so memcmp and hashing are allowed. */
struct endpoint {
	uint8_t address[ADDRESS_SIZE]; /* network byte order; IPv4 in the first four bytes, then
					  zeros */
	uint16_t port;                 /* host byte order */
	uint8_t family;                /* FAMILY_IPV4 or FAMILY_IPV6 */
	uint8_t reserved;              /* always zero */
};

/* Both ends of a segment, as it stands on the wire. */
struct tuple {
	struct endpoint source;
	struct endpoint destination;
};

_Static_assert(sizeof(struct endpoint) == 20, "struct endpoint must have no padding");
_Static_assert(sizeof(struct tuple) == 40, "struct tuple must have no padding");

/* Length in bytes of an address of that family: 4 or 16. */
static inline size_t family_address_length(uint8_t family)
{
	return family == FAMILY_IPV4 ? 4 : ADDRESS_SIZE;
}

static inline bool endpoint_equal(const struct endpoint *left, const struct endpoint *right)
{
	return memcmp(left, right, sizeof(*left)) == 0;
}

static inline bool tuple_equal(const struct tuple *left, const struct tuple *right)
{
	return memcmp(left, right, sizeof(*left)) == 0;
}

/* The tuple of the other direction. */
static inline struct tuple tuple_reverse(const struct tuple *tuple)
{
	return (struct tuple){.source = tuple->destination, .destination = tuple->source};
}

enum { ENDPOINT_TEXT_SIZE = 56 }; /* "[ffff:…]:65535" with its NUL */

/* Writes "192.0.2.1:22" or "[2001:db8::1]:22" into text and returns text. */
char *endpoint_format(const struct endpoint *endpoint, char text[static ENDPOINT_TEXT_SIZE]);

/* Writes only the address, without brackets or port, into text and returns text. */
char *endpoint_format_address(const struct endpoint *endpoint,
			      char text[static ENDPOINT_TEXT_SIZE]);

/* Reads a numeric IPv4 or IPv6 address into endpoint (port 0). Returns false when it is neither. */
bool endpoint_parse_address(struct endpoint *endpoint, const char *text);

/* Reads ADDRESS, ADDRESS:PORT or, for IPv6, [ADDRESS]:PORT; without a port it is 0. Returns false
 * when it is none of them. */
bool endpoint_parse(struct endpoint *endpoint, const char *text);

#endif
