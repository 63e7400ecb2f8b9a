/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words of verdicts and reasons, which logs, counters and JSON rely on. */
#include "core/verdict.h"

#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "runner.h"

START_TEST(verdict_words)
{
	const struct decision forgotten = {0};

	ck_assert_str_eq(verdict_word(VERDICT_CLOSED), "reject");
	ck_assert_str_eq(verdict_word(VERDICT_RESET), "reject");
	ck_assert_str_eq(verdict_word(VERDICT_DROP), "drop");
	ck_assert_str_eq(verdict_word(VERDICT_PASS), "accept");
	ck_assert_str_eq(verdict_word(VERDICT_VERIFIED), "accept");
	ck_assert_str_eq(verdict_word(VERDICT_PENDING), "pending");
	ck_assert_str_eq(verdict_word(VERDICT_LOOKUP), "lookup");
	/* A verdict that nobody set must not open anything. */
	ck_assert_str_eq(verdict_word(forgotten.verdict), "reject");
}
END_TEST

START_TEST(reason_words)
{
	for (unsigned int i = 0; i < REASON_COUNT; i++) {
		const char *word = reason_word((enum reason)i);
		ck_assert_uint_gt(strlen(word), 0);
		ck_assert_uint_gt(strlen(reason_text((enum reason)i)), 0);
		/* They stand behind key= in logs and become names of counters. */
		for (const char *at = word; *at != '\0'; at++)
			ck_assert_msg(islower((unsigned char)*at) || *at == '-', "%s", word);
		for (unsigned int j = 0; j < i; j++)
			ck_assert_str_ne(word, reason_word((enum reason)j));
	}
	ck_assert_str_eq(reason_word(REASON_COUNT), "unknown");
	ck_assert_str_eq(reason_text(REASON_COUNT), "unknown");
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("verdict");

	tcase_set_timeout(tcase, 120);

	tcase_add_test(tcase, verdict_words);
	tcase_add_test(tcase, reason_words);
	return run_tcase("verdict", tcase);
}
