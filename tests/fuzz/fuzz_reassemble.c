/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pieces of a stream in any order, overlapping and contradicting each other, put together beside a
 * model that looks at each byte: of each byte the first copy wins. */
#include "core/reassemble.h"

#include "fuzz.h"

enum { ROOM_MAX = 300, PIECES_MAX = 64, BEYOND = 64 };

static uint8_t model[ROOM_MAX];
static bool there[ROOM_MAX];

static uint32_t model_add(uint32_t room, uint32_t offset, const uint8_t *bytes, size_t length)
{
	uint32_t taken = 0;

	for (size_t i = 0; i < length; i++) {
		uint64_t at = (uint64_t)offset + i;
		if (at >= room || there[at])
			continue;
		there[at] = true;
		model[at] = bytes[i];
		taken++;
	}
	return taken;
}

static bool model_agrees(uint32_t room, uint32_t offset, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		uint64_t at = (uint64_t)offset + i;
		if (at < room && there[at] && model[at] != bytes[i])
			return false;
	}
	return true;
}

static void check(const struct reassembly *reassembly, uint32_t room)
{
	uint32_t contiguous = 0;

	while (contiguous < room && there[contiguous])
		contiguous++;
	MUST(reassembly->contiguous == contiguous);
	for (uint32_t i = 0; i < room; i++)
		MUST(!there[i] || reassembly->bytes[i] == model[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	uint32_t room = 1 + take16(&input) % ROOM_MAX;
	struct reassembly reassembly;

	memset(there, 0, sizeof(there));
	MUST(reassembly_open(&reassembly, room));
	size_t heap = heap_in_use();
	for (unsigned int i = 0; input.left > 0 && i < PIECES_MAX; i++) {
		uint8_t bytes[BEYOND];
		uint8_t how = take8(&input);
		uint32_t offset = how < 0xf0 ? take16(&input) % (room + BEYOND) : take32(&input);
		size_t length = take8(&input) % (sizeof(bytes) + 1);

		/* Most pieces say the same of a byte. */
		for (size_t k = 0; k < length; k++)
			bytes[k] = (uint8_t)(offset + k + (how & 1));
		MUST(reassembly_agrees(&reassembly, offset, bytes, length) ==
		     model_agrees(room, offset, bytes, length));
		MUST(reassembly_add(&reassembly, offset, bytes, length) ==
		     model_add(room, offset, bytes, length));
		check(&reassembly, room);
	}
	MUST(heap_in_use() == heap);
	reassembly_close(&reassembly);
	return 0;
}
