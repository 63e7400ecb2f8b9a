# SPDX-License-Identifier: GPL-2.0-or-later
# Fuzz targets. An ordinary build replays their corpora with make check; --enable-fuzzing links them
# with libFuzzer. A new target fuzz_NAME.c needs a word in FUZZ_TARGETS, its two lines, and a corpus.
FUZZ_TARGETS = capture config control egress hold packet protect queue quote reassemble splice state

fuzz_programs = \
	tests/fuzz/fuzz-capture \
	tests/fuzz/fuzz-config \
	tests/fuzz/fuzz-control \
	tests/fuzz/fuzz-egress \
	tests/fuzz/fuzz-hold \
	tests/fuzz/fuzz-packet \
	tests/fuzz/fuzz-protect \
	tests/fuzz/fuzz-queue \
	tests/fuzz/fuzz-quote \
	tests/fuzz/fuzz-reassemble \
	tests/fuzz/fuzz-splice \
	tests/fuzz/fuzz-state

noinst_LIBRARIES += tests/fuzz/libfuzz.a
tests_fuzz_libfuzz_a_CPPFLAGS = $(AM_CPPFLAGS) \
	-DFUZZ_CORPUS_DIR='"$(abs_top_srcdir)/tests/fuzz/corpus"'
tests_fuzz_libfuzz_a_SOURCES = tests/fuzz/fuzz.h tests/fuzz/heap.c
if FUZZING
noinst_PROGRAMS += $(fuzz_programs)
else
check_PROGRAMS += $(fuzz_programs)
tests_fuzz_libfuzz_a_SOURCES += tests/fuzz/replay.c
endif
FUZZ_LIBS = tests/fuzz/libfuzz.a $(FUZZ_DRIVER) $(IO_LIBS)

tests_fuzz_fuzz_capture_SOURCES = tests/fuzz/fuzz_capture.c
tests_fuzz_fuzz_capture_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c
tests_fuzz_fuzz_config_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=open,--wrap=fopen
tests_fuzz_fuzz_config_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_control_SOURCES = tests/fuzz/fuzz_control.c
tests_fuzz_fuzz_control_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_egress_SOURCES = tests/fuzz/fuzz_egress.c
tests_fuzz_fuzz_egress_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_hold_SOURCES = tests/fuzz/fuzz_hold.c
tests_fuzz_fuzz_hold_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_packet_SOURCES = tests/fuzz/fuzz_packet.c
tests_fuzz_fuzz_packet_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_protect_SOURCES = tests/fuzz/fuzz_protect.c
tests_fuzz_fuzz_protect_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_queue_SOURCES = tests/fuzz/fuzz_queue.c
tests_fuzz_fuzz_queue_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_quote_SOURCES = tests/fuzz/fuzz_quote.c
tests_fuzz_fuzz_quote_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_reassemble_SOURCES = tests/fuzz/fuzz_reassemble.c
tests_fuzz_fuzz_reassemble_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_splice_SOURCES = tests/fuzz/fuzz_splice.c
tests_fuzz_fuzz_splice_LDADD = $(FUZZ_LIBS)
tests_fuzz_fuzz_state_SOURCES = tests/fuzz/fuzz_state.c
tests_fuzz_fuzz_state_LDADD = $(FUZZ_LIBS)

EXTRA_DIST += tests/fuzz/corpus tests/fuzz/dict tests/fuzz/run

# make fuzz FUZZ_SECONDS=60: each target for that long, in a build of its own with clang.
FUZZ_SECONDS = 60
if FUZZING
fuzz: $(fuzz_programs)
	$(srcdir)/tests/fuzz/run '$(FUZZ_SECONDS)' $(FUZZ_TARGETS)
else
fuzz:
	$(MKDIR_P) fuzzing
	test -e fuzzing/Makefile || \
		(cd fuzzing && $(abs_top_srcdir)/configure --quiet CC=clang --enable-fuzzing --enable-sanitizers)
	cd fuzzing && $(MAKE) fuzz FUZZ_SECONDS='$(FUZZ_SECONDS)'
endif
.PHONY: fuzz
