/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "slots.h"

#include <math.h>
#include <string.h>

#include "siphash.h"

/* Only has to be the same at all times, so that a restart moves no client. */
static const uint8_t hash_key[16] = "knockgw backends";

/* The larger, the better a backend suits a slot. */
static double score(const struct slot_backend *backend, uint16_t slot)
{
	uint8_t name[sizeof(backend->endpoint.address) + 5];
	size_t at = sizeof(backend->endpoint.address);

	memcpy(name, backend->endpoint.address, at);
	name[at] = backend->endpoint.family;
	name[at + 1] = (uint8_t)(backend->endpoint.port >> 8);
	name[at + 2] = (uint8_t)backend->endpoint.port;
	name[at + 3] = (uint8_t)(slot >> 8);
	name[at + 4] = (uint8_t)slot;
	/* 53 bits, in the middle between two values: neither 0 nor 1. */
	uint64_t hash = siphash(hash_key, name, sizeof(name));
	double uniform = ((double)(hash >> 11) + 0.5) / 9007199254740992.0;
	return -(double)backend->weight / log(uniform);
}

void slots_by_hash(const struct slot_backend *backends, size_t count, uint16_t slots[static SLOTS])
{
	for (unsigned int slot = 0; slot < SLOTS; slot++) {
		double best = 0;
		for (size_t i = 0; i < count; i++) {
			double own = score(&backends[i], (uint16_t)slot);
			if (i > 0 && own <= best)
				continue;
			best = own;
			slots[slot] = (uint16_t)i;
		}
	}
}

static uint32_t common_divisor(uint32_t left, uint32_t right)
{
	while (right != 0) {
		uint32_t rest = left % right;
		left = right;
		right = rest;
	}
	return left;
}

/* Weights without a common divisor, whose sum is at most SLOTS. Returns the sum. */
static size_t reduce_weights(const struct slot_backend *backends, size_t count, uint16_t *weights)
{
	uint32_t divisor = 0;
	uint64_t sum = 0;
	size_t reduced = 0;

	for (size_t i = 0; i < count; i++)
		divisor = common_divisor(backends[i].weight, divisor);
	for (size_t i = 0; i < count; i++)
		sum += backends[i].weight / divisor;
	for (size_t i = 0; i < count; i++) {
		uint64_t weight = backends[i].weight / divisor;
		/* What is raised to 1 must find room. */
		if (sum > SLOTS)
			weight = weight * (SLOTS - count) / sum;
		weights[i] = (uint16_t)(weight > 0 ? weight : 1);
		reduced += weights[i];
	}
	return reduced;
}

size_t slots_in_turn(const struct slot_backend *backends, size_t count,
		     uint16_t slots[static SLOTS])
{
	uint16_t weights[BACKENDS_LIMIT];
	int64_t credit[BACKENDS_LIMIT] = {0};
	size_t length = reduce_weights(backends, count, weights);

	for (size_t slot = 0; slot < length; slot++) {
		size_t best = 0;
		for (size_t i = 0; i < count; i++) {
			credit[i] += weights[i];
			if (credit[i] > credit[best])
				best = i;
		}
		credit[best] -= (int64_t)length;
		slots[slot] = (uint16_t)best;
	}
	return length;
}
