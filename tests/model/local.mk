# SPDX-License-Identifier: GPL-2.0-or-later
noinst_PROGRAMS += tests/model/driver
tests_model_driver_SOURCES = tests/model/driver.c
tests_model_driver_LDADD = $(IO_LIBS)

EXTRA_DIST += \
	tests/model/engine.py \
	tests/model/knock_model.py \
	tests/model/peers.py \
	tests/model/stream_model.py \
	tests/model/test_model.py \
	tests/model/test_streams.py \
	tests/model/test_transfer.py \
	tests/model/wire.py
