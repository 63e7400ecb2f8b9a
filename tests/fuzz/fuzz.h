/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the fuzz targets share. Each target is a LLVMFuzzerTestOneInput, driven by libFuzzer or, in
 * an ordinary build, by replay.c over the files of its corpus. */
#ifndef KNOCKGW_TESTS_FUZZ_H
#define KNOCKGW_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold whatever the input says. */
#define MUST(condition)                                                                           \
	do {                                                                                      \
		if (!(condition)) {                                                               \
			fprintf(stderr, "%s:%d: violated: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                                  \
		}                                                                                 \
	} while (0)

/* The input as a source of numbers; zeros behind its end. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint8_t take8(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

static inline uint16_t take16(struct input *input)
{
	uint16_t high = take8(input);

	return (uint16_t)(high << 8 | take8(input));
}

static inline uint32_t take32(struct input *input)
{
	uint32_t high = take16(input);

	return high << 16 | take16(input);
}

/* Copies what there is of length bytes, and returns how many that was. */
static inline size_t take_bytes(struct input *input, uint8_t *bytes, size_t length)
{
	if (length > input->left)
		length = input->left;
	if (length > 0)
		memcpy(bytes, input->at, length);
	input->at += length;
	input->left -= length;
	return length;
}

/* Bytes that are allocated on the heap at this moment: heap.c. */
size_t heap_in_use(void);

#endif
