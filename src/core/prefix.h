/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address prefixes, with and without a port. */
#ifndef KNOCKGW_CORE_PREFIX_H
#define KNOCKGW_CORE_PREFIX_H

#include <stdbool.h>
#include <stdint.h>

#include "tuple.h"

/* An address prefix with a port (0 where it is about addresses only). */
struct prefix {
	struct endpoint base; /* host bits are zero */
	uint8_t length;       /* in bits, at most 32 or 128 */
};

/* Takes "address" or "address/length", with port 0; host bits stay. Returns false when it is
 * neither.
 */
bool prefix_parse(struct prefix *prefix, const char *text);

/* Whether it is a single address. */
static inline bool prefix_is_address(const struct prefix *prefix)
{
	return prefix->length == 8 * family_address_length(prefix->base.family);
}

/* Whether an address lies in it, whatever the port. */
bool prefix_holds_address(const struct prefix *prefix, const struct endpoint *endpoint);

/* Whether an address and port lie in it. */
bool prefix_holds(const struct prefix *prefix, const struct endpoint *endpoint);

/* Sets the bits behind the prefix to zero. Returns whether there were any others. */
bool prefix_clear_host_bits(struct prefix *prefix);

#endif
