/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The first bytes of a stream, put together from segments of any order and size. Of each byte the
 * first copy wins, whatever comes later: what was hashed is what is delivered. */
#ifndef KNOCKGW_CORE_REASSEMBLE_H
#define KNOCKGW_CORE_REASSEMBLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct reassembly {
	uint8_t *bytes;
	uint8_t *present;    /* a bit for each byte */
	uint32_t room;       /* bytes that it takes, from the start of the stream */
	uint32_t contiguous; /* of these, how many are there without a gap */
};

/* Room for that many bytes. Returns false when memory is short. */
bool reassembly_open(struct reassembly *reassembly, uint32_t room);
void reassembly_close(struct reassembly *reassembly);

/* Takes what is new of the bytes at offset and fits. Returns how many that were. */
uint32_t reassembly_add(struct reassembly *reassembly, uint32_t offset, const uint8_t *bytes,
			size_t length);

/* Whether none of these bytes differs from one that is there. */
bool reassembly_agrees(const struct reassembly *reassembly, uint32_t offset, const uint8_t *bytes,
		       size_t length);

#endif
