/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs tests: the end of every program here. */
#ifndef KNOCKGW_TESTS_RUNNER_H
#define KNOCKGW_TESTS_RUNNER_H

#include <check.h>
#include <stdlib.h>

/* Runs a case as a suite of that name. Returns the exit status of the program. */
static inline int run_tcase(const char *name, TCase *tcase)
{
	Suite *suite = suite_create(name);

	suite_add_tcase(suite, tcase);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
