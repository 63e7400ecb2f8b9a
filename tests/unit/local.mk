# SPDX-License-Identifier: GPL-2.0-or-later
# A new unit test tests/unit/test_NAME.c needs two lines: its program and its source.
UNIT_CPPFLAGS = $(AM_CPPFLAGS) -DTEST_DATA_DIR='"$(abs_top_srcdir)/tests/data"'
UNIT_LIBS = $(IO_LIBS) $(CHECK_LIBS)

if HAVE_CHECK
UNIT_TESTS = \
	tests/unit/test-config
check_PROGRAMS += $(UNIT_TESTS)
endif

tests_unit_test_config_SOURCES = tests/unit/test_config.c
tests_unit_test_config_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_config_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_config_LDADD = $(UNIT_LIBS)
