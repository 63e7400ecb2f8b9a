/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Internet checksum: RFC 1071 in whole, RFC 1624 for single fields. */
#ifndef KNOCKGW_CORE_CHECKSUM_H
#define KNOCKGW_CORE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

#include "tuple.h"

/* Adds bytes, as big-endian 16-bit words padded with a zero byte, to a running sum (not folded).
 * Only the last of several pieces may have an odd length. */
uint64_t checksum_add(uint64_t sum, const uint8_t *bytes, size_t length);

/* Folds a running sum to 16 bits and complements it: the value of a checksum field, host order. */
uint16_t checksum_finish(uint64_t sum);

/* The running sum of the pseudo header (RFC 9293 3.1, RFC 8200 8.1). Addresses in network order. */
uint64_t checksum_pseudo(uint8_t family, const uint8_t *source, const uint8_t *destination,
			 uint8_t protocol, uint32_t length);

/* RFC 1624 equation 3: the checksum field after one 16- or 32-bit field that it covers, aligned to
 * an even offset, changed from before to after. All in host byte order. */
uint16_t checksum_update16(uint16_t checksum, uint16_t before, uint16_t after);
uint16_t checksum_update32(uint16_t checksum, uint32_t before, uint32_t after);

#endif
