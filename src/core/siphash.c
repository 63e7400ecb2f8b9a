/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "siphash.h"

#include <endian.h>
#include <string.h>

struct sip_state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t value, unsigned int bits)
{
	return value << bits | value >> (64 - bits);
}

static void sip_rounds(struct sip_state *state, unsigned int rounds)
{
	while (rounds-- > 0) {
		state->v0 += state->v1;
		state->v1 = rotate(state->v1, 13) ^ state->v0;
		state->v0 = rotate(state->v0, 32);
		state->v2 += state->v3;
		state->v3 = rotate(state->v3, 16) ^ state->v2;
		state->v0 += state->v3;
		state->v3 = rotate(state->v3, 21) ^ state->v0;
		state->v2 += state->v1;
		state->v1 = rotate(state->v1, 17) ^ state->v2;
		state->v2 = rotate(state->v2, 32);
	}
}

static uint64_t load_little64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

static void sip_word(struct sip_state *state, uint64_t word)
{
	state->v3 ^= word;
	sip_rounds(state, 2);
	state->v0 ^= word;
}

uint64_t siphash(const uint8_t key[static 16], const void *bytes, size_t length)
{
	uint64_t key0 = load_little64(key);
	uint64_t key1 = load_little64(key + 8);
	struct sip_state state = {
		.v0 = key0 ^ 0x736f6d6570736575U,
		.v1 = key1 ^ 0x646f72616e646f6dU,
		.v2 = key0 ^ 0x6c7967656e657261U,
		.v3 = key1 ^ 0x7465646279746573U,
	};
	const uint8_t *at = bytes;
	uint8_t last[8] = {0};
	size_t left = length;

	for (; left >= 8; at += 8, left -= 8)
		sip_word(&state, load_little64(at));
	memcpy(last, at, left);
	last[7] = (uint8_t)length;
	sip_word(&state, load_little64(last));
	state.v2 ^= 0xff;
	sip_rounds(&state, 4);
	return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}
