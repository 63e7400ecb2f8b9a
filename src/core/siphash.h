/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash that strangers cannot steer. */
#ifndef KNOCKGW_CORE_SIPHASH_H
#define KNOCKGW_CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint8_t key[static 16], const void *bytes, size_t length);

#endif
