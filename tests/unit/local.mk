# SPDX-License-Identifier: GPL-2.0-or-later
# A new unit test tests/unit/test_NAME.c needs two lines: its program and its source.
AM_CPPFLAGS += -DTEST_DATA_DIR='"$(abs_top_srcdir)/tests/data"'
LDADD = $(IO_LIBS) $(CHECK_LIBS)

if HAVE_CHECK
check_PROGRAMS += \
	tests/unit/test-calendar \
	tests/unit/test-captures \
	tests/unit/test-checksum \
	tests/unit/test-config \
	tests/unit/test-control-request \
	tests/unit/test-counters \
	tests/unit/test-destination \
	tests/unit/test-egress \
	tests/unit/test-event-ring \
	tests/unit/test-guards \
	tests/unit/test-histogram \
	tests/unit/test-hold \
	tests/unit/test-hold-begin \
	tests/unit/test-icmp-quote \
	tests/unit/test-limit \
	tests/unit/test-log-line \
	tests/unit/test-odds \
	tests/unit/test-offload \
	tests/unit/test-packet \
	tests/unit/test-promise \
	tests/unit/test-protect \
	tests/unit/test-protect-syn \
	tests/unit/test-queue \
	tests/unit/test-replay-guard \
	tests/unit/test-reassemble \
	tests/unit/test-ruleset \
	tests/unit/test-seccomp \
	tests/unit/test-secret \
	tests/unit/test-segment-edit \
	tests/unit/test-service \
	tests/unit/test-siphash \
	tests/unit/test-slots \
	tests/unit/test-splice \
	tests/unit/test-splice-bounds \
	tests/unit/test-splice-end \
	tests/unit/test-state \
	tests/unit/test-table \
	tests/unit/test-token \
	tests/unit/test-tuple \
	tests/unit/test-verdict
endif

# Needs no library, and shares no object with programs that are instrumented otherwise.
check_PROGRAMS += tests/unit/guards-threads
tests_unit_guards_threads_SOURCES = \
	src/core/limit.c \
	src/core/promise.c \
	src/core/replay_guard.c \
	src/core/siphash.c \
	tests/unit/guards_threads.c
tests_unit_guards_threads_CFLAGS = -std=gnu11 -pthread -O1 -g $(WARNING_CFLAGS) $(THREAD_SANITIZER)
tests_unit_guards_threads_LDFLAGS = -pthread $(THREAD_SANITIZER)
tests_unit_guards_threads_LDADD =

tests_unit_test_calendar_SOURCES = tests/unit/test_calendar.c
tests_unit_test_captures_SOURCES = tests/unit/test_captures.c
tests_unit_test_checksum_SOURCES = tests/unit/test_checksum.c
tests_unit_test_config_SOURCES = tests/unit/test_config.c
tests_unit_test_control_request_SOURCES = tests/unit/test_control_request.c
tests_unit_test_counters_SOURCES = tests/unit/test_counters.c
tests_unit_test_destination_SOURCES = tests/unit/test_destination.c
tests_unit_test_egress_SOURCES = tests/unit/packet_maker.h tests/unit/test_egress.c
tests_unit_test_event_ring_SOURCES = tests/unit/test_event_ring.c
tests_unit_test_guards_SOURCES = tests/unit/test_guards.c
tests_unit_test_histogram_SOURCES = tests/unit/test_histogram.c
tests_unit_test_hold_SOURCES = tests/unit/test_hold.c
tests_unit_test_hold_begin_SOURCES = tests/unit/test_hold_begin.c
tests_unit_test_icmp_quote_SOURCES = tests/unit/packet_maker.h tests/unit/test_icmp_quote.c
tests_unit_test_limit_SOURCES = tests/unit/test_limit.c
tests_unit_test_log_line_SOURCES = tests/unit/test_log_line.c
tests_unit_test_odds_SOURCES = tests/unit/test_odds.c
tests_unit_test_offload_SOURCES = tests/unit/test_offload.c
tests_unit_test_packet_SOURCES = tests/unit/packet_maker.h tests/unit/test_packet.c
tests_unit_test_promise_SOURCES = tests/unit/test_promise.c
tests_unit_test_protect_SOURCES = tests/unit/test_protect.c
tests_unit_test_protect_syn_SOURCES = tests/unit/test_protect_syn.c
tests_unit_test_queue_SOURCES = tests/unit/test_queue.c
tests_unit_test_replay_guard_SOURCES = tests/unit/test_replay_guard.c
tests_unit_test_reassemble_SOURCES = tests/unit/test_reassemble.c
tests_unit_test_ruleset_SOURCES = tests/unit/test_ruleset.c
tests_unit_test_seccomp_SOURCES = tests/unit/test_seccomp.c
tests_unit_test_secret_SOURCES = tests/unit/test_secret.c
tests_unit_test_segment_edit_SOURCES = tests/unit/packet_maker.h tests/unit/test_segment_edit.c
tests_unit_test_service_SOURCES = tests/unit/test_service.c
# Counts the blocks.
tests_unit_test_service_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=nettle_md5_compress
tests_unit_test_siphash_SOURCES = tests/unit/test_siphash.c
tests_unit_test_slots_SOURCES = tests/unit/test_slots.c
splice_world = tests/unit/splice_peer.c tests/unit/splice_peer.h tests/unit/splice_world.c \
	tests/unit/splice_world.h
tests_unit_test_splice_SOURCES = $(splice_world) tests/unit/test_splice.c
tests_unit_test_splice_bounds_SOURCES = $(splice_world) tests/unit/test_splice_bounds.c
tests_unit_test_splice_end_SOURCES = $(splice_world) tests/unit/test_splice_end.c
tests_unit_test_state_SOURCES = tests/unit/test_state.c
tests_unit_test_table_SOURCES = tests/unit/test_table.c
tests_unit_test_token_SOURCES = tests/unit/test_token.c
tests_unit_test_tuple_SOURCES = tests/unit/test_tuple.c
tests_unit_test_verdict_SOURCES = tests/unit/test_verdict.c

EXTRA_DIST += tests/unit/action_notes.h tests/unit/hold_fixture.h tests/unit/runner.h \
	tests/unit/support.h
dist_check_SCRIPTS += tests/unit/knockctl_replay.sh tests/unit/knockctl_token.sh
