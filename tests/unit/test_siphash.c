/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/siphash.h"

#include <check.h>
#include <stdlib.h>

#include "runner.h"

/* Published with SipHash-2-4: key 00 01 … 0f, message 00 01 … of that length. */
static const struct {
	size_t length;
	uint64_t hash;
} published[] = {
	{0, 0x726fdb47dd0e0e31},
	{1, 0x74f839c593dc67fd},
	{8, 0x93f5f5799a932462},
	{15, 0xa129ca6149be45e5},
};

START_TEST(published_values)
{
	uint8_t key[16];
	uint8_t message[16];

	for (size_t i = 0; i < 16; i++) {
		key[i] = (uint8_t)i;
		message[i] = (uint8_t)i;
	}
	ck_assert(siphash(key, message, published[_i].length) == published[_i].hash);
	key[15] ^= 0x80;
	ck_assert(siphash(key, message, published[_i].length) != published[_i].hash);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("siphash");

	tcase_set_timeout(tcase, 120);

	tcase_add_loop_test(tcase, published_values, 0, sizeof(published) / sizeof(published[0]));
	return run_tcase("siphash", tcase);
}
