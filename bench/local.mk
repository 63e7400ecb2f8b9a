# SPDX-License-Identifier: GPL-2.0-or-later
# Only bench/run builds it.
EXTRA_PROGRAMS = bench/traffic
bench_traffic_SOURCES = bench/traffic.c
bench_traffic_LDADD = $(IO_LIBS)
CLEANFILES += $(EXTRA_PROGRAMS)

EXTRA_DIST += bench/bench.py bench/chart.py bench/run
