# SPDX-License-Identifier: GPL-2.0-or-later
EXTRA_DIST += \
	tests/system/conftest.py \
	tests/system/demo.py \
	tests/system/knock_client.py \
	tests/system/lab.py \
	tests/system/probe.py \
	tests/system/test_closed_port.py \
	tests/system/test_protect.py \
	tests/system/topology.py
