/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reassemble.h"

#include <stdlib.h>

bool reassembly_open(struct reassembly *reassembly, uint32_t room)
{
	uint8_t *memory = calloc(1, (size_t)room + (room + 7) / 8);

	*reassembly = (struct reassembly){.bytes = memory, .room = room};
	if (memory == NULL)
		return false;
	reassembly->present = memory + room;
	return true;
}

void reassembly_close(struct reassembly *reassembly)
{
	free(reassembly->bytes);
	*reassembly = (struct reassembly){.room = 0};
}

static bool has(const struct reassembly *reassembly, uint32_t at)
{
	return (reassembly->present[at / 8] >> at % 8 & 1) != 0;
}

/* How many of length bytes at offset lie within the room. */
static uint32_t fitting(const struct reassembly *reassembly, uint32_t offset, size_t length)
{
	if (offset >= reassembly->room)
		return 0;
	uint32_t left = reassembly->room - offset;
	return length < left ? (uint32_t)length : left;
}

uint32_t reassembly_add(struct reassembly *reassembly, uint32_t offset, const uint8_t *bytes,
			size_t length)
{
	uint32_t count = fitting(reassembly, offset, length);
	uint32_t added = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = offset + i;

		if (has(reassembly, at))
			continue;
		reassembly->bytes[at] = bytes[i];
		reassembly->present[at / 8] |= (uint8_t)(1 << at % 8);
		added++;
	}
	while (reassembly->contiguous < reassembly->room && has(reassembly, reassembly->contiguous))
		reassembly->contiguous++;
	return added;
}

bool reassembly_agrees(const struct reassembly *reassembly, uint32_t offset, const uint8_t *bytes,
		       size_t length)
{
	uint32_t count = fitting(reassembly, offset, length);

	for (uint32_t i = 0; i < count; i++)
		if (has(reassembly, offset + i) && reassembly->bytes[offset + i] != bytes[i])
			return false;
	return true;
}
