/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tokens of TCP Stealth (thesis 3.2 to 3.4): the initial sequence number that proves a secret.
 */
#ifndef KNOCKGW_CORE_TOKEN_H
#define KNOCKGW_CORE_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "secret.h"
#include "tuple.h"

/* Authentication mode: the ISN, in host byte order, of a SYN to destination with that TSval (host
 * byte order; 0 when the SYN carries no timestamp option). */
uint32_t token_auth(const struct secret *secret, const struct endpoint *destination,
		    uint32_t tsval);

/* The 16-bit hash over secret and the first length bytes of payload that integrity mode puts into
 * the low half of the ISN (thesis 3.4). Host byte order. */
uint16_t token_payload_hash(const struct secret *secret, const uint8_t *payload, size_t length);

/* Integrity mode: the ISN for a payload hash: AV in the high half, the hash in the low half. */
uint32_t token_integrity(const struct secret *secret, const struct endpoint *destination,
			 uint32_t tsval, uint16_t payload_hash);

/* Whether isn is the token that is expected there; the time taken does not depend on the values.
 * In integrity mode the payload hash is taken from isn itself and judged later. */
bool token_check(const struct secret *secret, const struct endpoint *destination, uint32_t tsval,
		 uint32_t isn, bool integrity);

/* Compares in constant time. */
bool token_equal32(uint32_t left, uint32_t right);
bool token_equal16(uint16_t left, uint16_t right);

#endif
