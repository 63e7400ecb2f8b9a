/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "token.h"

#include <nettle/md5.h>

#include "packet.h"

/* MD5 loads and stores its words in little-endian order, whatever the machine. */
static uint32_t load_little32(const uint8_t *at)
{
	return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static void xor_big16(uint8_t *at, uint16_t value)
{
	at[0] ^= (uint8_t)(value >> 8);
	at[1] ^= (uint8_t)value;
}

static void xor_big32(uint8_t *at, uint32_t value)
{
	xor_big16(at, (uint16_t)(value >> 16));
	xor_big16(at + 2, (uint16_t)value);
}

/* AV: one MD5 block over the secret, whose IV is made of what the SYN is bound to (thesis 3.3). */
static uint32_t authentication_value(const struct secret *secret,
				     const struct endpoint *destination, uint32_t tsval,
				     uint16_t payload_hash)
{
	uint8_t iv[MD5_DIGEST_SIZE];
	uint32_t state[4];

	memcpy(iv, destination->address, sizeof(iv));
	xor_big16(iv + 4, payload_hash);
	xor_big32(iv + 8, tsval);
	xor_big16(iv + 12, destination->port);
	for (size_t i = 0; i < 4; i++)
		state[i] = load_little32(iv + 4 * i);
	nettle_md5_compress(state, secret->bytes);
	return state[0] ^ state[1] ^ state[2] ^ state[3];
}

uint32_t token_auth(const struct secret *secret, const struct endpoint *destination, uint32_t tsval)
{
	return authentication_value(secret, destination, tsval, 0);
}

uint16_t token_payload_hash(const struct secret *secret, const uint8_t *payload, size_t length)
{
	uint8_t digest[MD5_DIGEST_SIZE];
	struct md5_ctx context;
	uint16_t hash = 0;

	md5_init(&context);
	md5_update(&context, SECRET_SIZE, secret->bytes);
	md5_update(&context, length, payload);
	md5_digest(&context, sizeof(digest), digest);
	for (size_t i = 0; i < sizeof(digest); i += 2)
		hash ^= load16(digest + i);
	/* Its buffer held the secret. */
	secret_wipe(&context, sizeof(context));
	return hash;
}

uint32_t token_integrity(const struct secret *secret, const struct endpoint *destination,
			 uint32_t tsval, uint16_t payload_hash)
{
	uint32_t value = authentication_value(secret, destination, tsval, payload_hash);

	return (value & 0xffff0000U) | payload_hash;
}

bool token_check(const struct secret *secret, const struct endpoint *destination, uint32_t tsval,
		 uint32_t isn, bool integrity)
{
	uint32_t token = integrity ? token_integrity(secret, destination, tsval, (uint16_t)isn)
				   : token_auth(secret, destination, tsval);

	return token_equal32(token, isn);
}

bool token_equal32(uint32_t left, uint32_t right)
{
	/* No branch may depend on where the difference is; the compiler must not see through it. */
	volatile uint32_t difference = left ^ right;

	return ((uint64_t)difference - 1) >> 63 != 0;
}

bool token_equal16(uint16_t left, uint16_t right)
{
	return token_equal32(left, right);
}
