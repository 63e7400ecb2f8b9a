# SPDX-License-Identifier: GPL-2.0-or-later
noinst_PROGRAMS += tests/system/mangle tests/system/xt_queue
tests_system_mangle_SOURCES = tests/system/mangle.c
tests_system_mangle_LDADD = $(IO_LIBS)
tests_system_xt_queue_SOURCES = tests/system/xt_queue.c
tests_system_xt_queue_CFLAGS = $(AM_CFLAGS) $(CONFIG_CFLAGS)
tests_system_xt_queue_LDADD = $(IO_LIBS)

EXTRA_DIST += \
	tests/system/conftest.py \
	tests/system/demo.py \
	tests/system/egress_net.py \
	tests/system/kernel.py \
	tests/system/integrity_net.py \
	tests/system/knock_client.py \
	tests/system/knock_server.py \
	tests/system/lab.py \
	tests/system/load.py \
	tests/system/probe.py \
	tests/system/reload.py \
	tests/system/segment_flood.py \
	tests/system/splice_net.py \
	tests/system/syn_flood.py \
	tests/system/test_balance.py \
	tests/system/test_closed_port.py \
	tests/system/test_control.py \
	tests/system/test_egress.py \
	tests/system/test_egress_connections.py \
	tests/system/test_egress_integrity.py \
	tests/system/test_egress_integrity_faults.py \
	tests/system/test_egress_integrity_reload.py \
	tests/system/raw_client.py \
	tests/system/faults.c \
	tests/system/faults.py \
	tests/system/test_faults_calls.py \
	tests/system/test_faults_daemon.py \
	tests/system/test_faults_load.py \
	tests/system/test_faults_memory.py \
	tests/system/test_faults_ruleset.py \
	tests/system/test_flowtable.py \
	tests/system/test_logs.py \
	tests/system/test_metrics.py \
	tests/system/test_health.py \
	tests/system/test_hostile.py \
	tests/system/test_integrity.py \
	tests/system/test_netem.py \
	tests/system/test_key_reload.py \
	tests/system/test_keys.py \
	tests/system/test_kick.py \
	tests/system/test_public.py \
	tests/system/test_offline.py \
	tests/system/test_limits.py \
	tests/system/test_protect.py \
	tests/system/test_queue_kinds.py \
	tests/system/test_replay.py \
	tests/system/test_reassemble.py \
	tests/system/test_reload.py \
	tests/system/test_snippets.py \
	tests/system/tls_client.py \
	tests/system/topology.py
EXTRA_DIST += tests/qemu
