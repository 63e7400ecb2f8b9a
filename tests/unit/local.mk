# SPDX-License-Identifier: GPL-2.0-or-later
# A new unit test tests/unit/test_NAME.c needs two lines: its program and its source.
UNIT_CPPFLAGS = $(AM_CPPFLAGS) -DTEST_DATA_DIR='"$(abs_top_srcdir)/tests/data"'
UNIT_LIBS = $(IO_LIBS) $(CHECK_LIBS)

if HAVE_CHECK
UNIT_TESTS = \
	tests/unit/test-checksum \
	tests/unit/test-config \
	tests/unit/test-secret \
	tests/unit/test-service \
	tests/unit/test-token \
	tests/unit/test-tuple
check_PROGRAMS += $(UNIT_TESTS)
endif

tests_unit_test_config_SOURCES = tests/unit/test_config.c
tests_unit_test_config_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_config_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_config_LDADD = $(UNIT_LIBS)

tests_unit_test_checksum_SOURCES = tests/unit/test_checksum.c
tests_unit_test_checksum_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_checksum_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_checksum_LDADD = $(UNIT_LIBS)

tests_unit_test_secret_SOURCES = tests/unit/test_secret.c
tests_unit_test_secret_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_secret_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_secret_LDADD = $(UNIT_LIBS)

tests_unit_test_service_SOURCES = tests/unit/test_service.c
tests_unit_test_service_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_service_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_service_LDADD = $(UNIT_LIBS)

tests_unit_test_token_SOURCES = tests/unit/test_token.c
tests_unit_test_token_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_token_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_token_LDADD = $(UNIT_LIBS)

tests_unit_test_tuple_SOURCES = tests/unit/test_tuple.c
tests_unit_test_tuple_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_tuple_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_test_tuple_LDADD = $(UNIT_LIBS)
