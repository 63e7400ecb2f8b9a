# SPDX-License-Identifier: GPL-2.0-or-later
noinst_PROGRAMS += tests/system/mangle
tests_system_mangle_SOURCES = tests/system/mangle.c
tests_system_mangle_LDADD = $(IO_LIBS)

EXTRA_DIST += \
	tests/system/conftest.py \
	tests/system/demo.py \
	tests/system/knock_client.py \
	tests/system/lab.py \
	tests/system/probe.py \
	tests/system/test_closed_port.py \
	tests/system/test_egress.py \
	tests/system/test_protect.py \
	tests/system/topology.py
