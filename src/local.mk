# SPDX-License-Identifier: GPL-2.0-or-later
noinst_LIBRARIES += libknockgw-core.a libknockgw-io.a

libknockgw_core_a_CFLAGS = $(AM_CFLAGS) $(NETTLE_CFLAGS)
libknockgw_core_a_SOURCES = \
	src/core/calendar.c \
	src/core/calendar.h \
	src/core/checksum.c \
	src/core/checksum.h \
	src/core/control_request.c \
	src/core/control_request.h \
	src/core/counter.h \
	src/core/destination.c \
	src/core/destination.h \
	src/core/egress.c \
	src/core/egress.h \
	src/core/flow.c \
	src/core/flow.h \
	src/core/flow_census.c \
	src/core/flow_census.h \
	src/core/guards.c \
	src/core/guards.h \
	src/core/histogram.c \
	src/core/histogram.h \
	src/core/hold.c \
	src/core/hold.h \
	src/core/icmp_quote.c \
	src/core/icmp_quote.h \
	src/core/limit.c \
	src/core/limit.h \
	src/core/log_line.c \
	src/core/log_line.h \
	src/core/moment.h \
	src/core/odds.c \
	src/core/odds.h \
	src/core/packet.c \
	src/core/packet.h \
	src/core/prefix.c \
	src/core/prefix.h \
	src/core/promise.c \
	src/core/promise.h \
	src/core/protect.c \
	src/core/protect.h \
	src/core/protect_action.h \
	src/core/protect_internal.h \
	src/core/protect_hold.c \
	src/core/protect_syn.c \
	src/core/protect_payload.c \
	src/core/reassemble.c \
	src/core/reassemble.h \
	src/core/reason.c \
	src/core/reason.h \
	src/core/replay.c \
	src/core/replay.h \
	src/core/replay_guard.c \
	src/core/replay_guard.h \
	src/core/secret.c \
	src/core/secret.h \
	src/core/segment_build.c \
	src/core/segment_build.h \
	src/core/segment_edit.c \
	src/core/service.c \
	src/core/service.h \
	src/core/siphash.c \
	src/core/siphash.h \
	src/core/slots.c \
	src/core/slots.h \
	src/core/splice.c \
	src/core/splice.h \
	src/core/splice_client.c \
	src/core/splice_emit.c \
	src/core/splice_internal.h \
	src/core/splice_server.c \
	src/core/splice_translate.c \
	src/core/table.c \
	src/core/table.h \
	src/core/token.c \
	src/core/token.h \
	src/core/tuple.c \
	src/core/tuple.h \
	src/core/verdict.c \
	src/core/verdict.h

libknockgw_io_a_CFLAGS = $(AM_CFLAGS) $(NETTLE_CFLAGS) $(MNL_CFLAGS) $(NFNETLINK_CFLAGS) \
	$(NFQUEUE_CFLAGS) $(CONNTRACK_CFLAGS) $(NFTABLES_CFLAGS) $(NFTNL_CFLAGS) \
	$(CONFIG_CFLAGS) $(EVENT_CFLAGS) $(EVENT_EXTRA_CFLAGS) $(SYSTEMD_CFLAGS) $(CAPNG_CFLAGS) \
	$(SECCOMP_CFLAGS) $(PCAP_CFLAGS) $(JANSSON_CFLAGS)
libknockgw_io_a_SOURCES = \
	src/io/background.c \
	src/io/background.h \
	src/io/capture.c \
	src/io/capture.h \
	src/io/config.c \
	src/io/config.h \
	src/io/config_address.c \
	src/io/config_check.c \
	src/io/config_control.c \
	src/io/config_dump.c \
	src/io/config_egress.c \
	src/io/config_find.c \
	src/io/config_health.c \
	src/io/config_key.c \
	src/io/config_integrity.c \
	src/io/config_limits.c \
	src/io/config_reader.c \
	src/io/config_reader.h \
	src/io/config_scan.c \
	src/io/config_secret.c \
	src/io/config_service.c \
	src/io/config_value.c \
	src/io/conntrack.c \
	src/io/conntrack.h \
	src/io/control.c \
	src/io/control.h \
	src/io/control_answer.c \
	src/io/control_answer.h \
	src/io/counters.c \
	src/io/counters.h \
	src/io/daemon.c \
	src/io/daemon.h \
	src/io/diagnostics.c \
	src/io/diagnostics.h \
	src/io/egress_role.c \
	src/io/egress_role.h \
	src/io/egress_worker.c \
	src/io/egress_worker.h \
	src/io/event_ring.c \
	src/io/event_ring.h \
	src/io/generation.c \
	src/io/generation.h \
	src/io/health.c \
	src/io/health.h \
	src/io/inject.c \
	src/io/inject.h \
	src/io/interfaces.c \
	src/io/interfaces.h \
	src/io/kick.c \
	src/io/kick.h \
	src/io/local_socket.c \
	src/io/local_socket.h \
	src/io/log.c \
	src/io/log.h \
	src/io/metrics.c \
	src/io/metrics.h \
	src/io/metrics_text.c \
	src/io/metrics_text.h \
	src/io/nft.c \
	src/io/nft.h \
	src/io/offload.c \
	src/io/offload.h \
	src/io/outlets.c \
	src/io/outlets.h \
	src/io/overruns.c \
	src/io/overruns.h \
	src/io/privileges.c \
	src/io/privileges.h \
	src/io/protect_role.c \
	src/io/protect_role.h \
	src/io/protect_worker.c \
	src/io/protect_worker.h \
	src/io/queue.c \
	src/io/queue.h \
	src/io/reload.c \
	src/io/reload.h \
	src/io/report.c \
	src/io/report.h \
	src/io/ruleset.c \
	src/io/ruleset.h \
	src/io/ruleset_backend.c \
	src/io/ruleset_changes.c \
	src/io/ruleset_changes.h \
	src/io/ruleset_decoy.c \
	src/io/ruleset_egress.c \
	src/io/ruleset_egress.h \
	src/io/ruleset_internal.h \
	src/io/ruleset_keeper.c \
	src/io/ruleset_keeper.h \
	src/io/ruleset_protect.c \
	src/io/ruleset_watch.c \
	src/io/ruleset_watch.h \
	src/io/seccomp.c \
	src/io/seccomp.h \
	src/io/ruleset_splice.c \
	src/io/ruleset_splice.h \
	src/io/secret_file.c \
	src/io/secret_file.h \
	src/io/secret_memory.c \
	src/io/secret_memory.h \
	src/io/service_rows.c \
	src/io/service_rows.h \
	src/io/splice_worker.c \
	src/io/splice_worker.h \
	src/io/state.c \
	src/io/state.h \
	src/io/state_read.c \
	src/io/view.h \
	src/io/watchdog.c \
	src/io/watchdog.h \
	src/io/worker.c \
	src/io/worker.h \
	src/io/xt_queue.c \
	src/io/xt_queue.h

# Everything that libknockgw-io.a needs to be linked.
IO_LIBS = libknockgw-io.a libknockgw-core.a $(NETTLE_LIBS) $(NFQUEUE_LIBS) $(CONNTRACK_LIBS) \
	$(NFTABLES_LIBS) $(NFTNL_LIBS) $(CONFIG_LIBS) $(EVENT_EXTRA_LIBS) $(EVENT_LIBS) $(SYSTEMD_LIBS) \
	$(NFNETLINK_LIBS) $(MNL_LIBS) $(CAPNG_LIBS) $(SECCOMP_LIBS) $(PCAP_LIBS) $(JANSSON_LIBS) -lm

sbin_PROGRAMS += knockgw
knockgw_SOURCES = src/knockgw.c
knockgw_LDADD = $(IO_LIBS)

sbin_PROGRAMS += knockctl
knockctl_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) $(CONFIG_CFLAGS)
knockctl_SOURCES = \
	src/cli/backends.c \
	src/cli/cli.h \
	src/cli/control_client.c \
	src/cli/control_client.h \
	src/cli/drain.c \
	src/cli/flows.c \
	src/cli/genkey.c \
	src/cli/kick.c \
	src/cli/monitor.c \
	src/cli/print_json.c \
	src/cli/print_json.h \
	src/cli/print_table.c \
	src/cli/print_table.h \
	src/cli/reload.c \
	src/cli/replay.c \
	src/cli/services.c \
	src/cli/show.c \
	src/cli/show.h \
	src/cli/stats.c \
	src/cli/status.c \
	src/cli/token.c \
	src/cli/token_input.c \
	src/cli/token_input.h \
	src/knockctl.c
knockctl_LDADD = $(IO_LIBS)
