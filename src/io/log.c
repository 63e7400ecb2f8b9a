/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "event_ring.h"

enum {
	LINE_SIZE = 1024,
	EVENTS_MAX = 64,
	BURST = 20,
	INTERVAL = 100,       /* milliseconds: 10 lines a second */
	TELL_INTERVAL = 1000, /* between two lines that say how many were swallowed */
	TIME_SIZE = 32,
};

/* The rate of one kind of event (the generic cell rate algorithm): due is when the next line would
 * come if lines came evenly, and may run ahead of the clock by a burst. */
struct bucket {
	const char *_Atomic event;
	_Atomic int64_t due;  /* milliseconds */
	_Atomic int64_t told; /* when the swallowed lines were counted last */
	_Atomic uint64_t suppressed;
};

static struct {
	_Atomic int level;
	_Atomic int format;
	_Atomic int tap_level; /* -1: nobody listens */
	struct event_ring *_Atomic tap;
	_Atomic uint64_t suppressed;
	bool foreground;
	bool journal;                      /* standard error is a stream of journald */
	struct bucket buckets[EVENTS_MAX]; /* the last is shared by all that found no room */
} state = {.level = LOG_LEVEL_INFO, .tap_level = -1, .foreground = true};

static const int priorities[] = {
	[LOG_LEVEL_ERROR] = LOG_ERR,
	[LOG_LEVEL_WARNING] = LOG_WARNING,
	[LOG_LEVEL_INFO] = LOG_INFO,
	[LOG_LEVEL_DEBUG] = LOG_DEBUG,
};

void log_change(enum log_level level, enum log_format format)
{
	atomic_store(&state.level, (int)level);
	atomic_store(&state.format, (int)format);
}

/* systemd tells which stream it is (sd-daemon(3)): others may have redirected ours since. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device;
	unsigned long long inode;
	struct stat status;

	return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
	       status.st_ino == inode;
}

void log_open(enum log_level level, enum log_format format, bool foreground)
{
	log_change(level, format);
	state.foreground = foreground;
	state.journal = foreground && is_journal();
	if (!foreground)
		openlog("knockgw", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_close(void)
{
	log_flush();
	if (!state.foreground)
		closelog();
}

void log_tap(struct event_ring *ring, enum log_level level)
{
	atomic_store(&state.tap_level, -1);
	atomic_store(&state.tap, ring);
	if (ring != NULL)
		atomic_store(&state.tap_level, (int)level);
}

static bool is_written(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&state.level, memory_order_relaxed);
}

static bool is_tapped(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&state.tap_level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return is_written(level) || is_tapped(level);
}

static int64_t now_milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The bucket of an event, found or taken without a lock: they are only ever added. */
static struct bucket *bucket_of(const char *event)
{
	for (size_t i = 0; i < EVENTS_MAX - 1; i++) {
		struct bucket *bucket = &state.buckets[i];
		const char *known = atomic_load_explicit(&bucket->event, memory_order_acquire);

		if (known == NULL && atomic_compare_exchange_strong(&bucket->event, &known, event))
			return bucket;
		if (known == event || strcmp(known, event) == 0)
			return bucket;
	}
	atomic_store(&state.buckets[EVENTS_MAX - 1].event, "others");
	return &state.buckets[EVENTS_MAX - 1];
}

/* Whether one more line of that event may be written. */
static bool admit(struct bucket *bucket)
{
	int64_t now = now_milliseconds();
	int64_t due = atomic_load_explicit(&bucket->due, memory_order_relaxed);
	int64_t next;

	do {
		if (due - now > (int64_t)(BURST - 1) * INTERVAL) {
			atomic_fetch_add_explicit(&bucket->suppressed, 1, memory_order_relaxed);
			atomic_fetch_add_explicit(&state.suppressed, 1, memory_order_relaxed);
			return false;
		}
		next = (due > now ? due : now) + INTERVAL;
	} while (!atomic_compare_exchange_weak_explicit(
		&bucket->due, &due, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

static void format_time(char text[static TIME_SIZE])
{
	struct timespec now;
	struct tm parts;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &parts);
	size_t length = strftime(text, TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(text + length, TIME_SIZE - length, ".%06ldZ", now.tv_nsec / 1000 % 1000000);
}

/* One call a line, so that lines of several threads do not mix. For journald the priority stands in
 * front. */
static void write_foreground(enum log_level level, char *line, size_t length)
{
	char priority[8];
	int size = snprintf(priority, sizeof(priority), "<%d>", priorities[level]);

	line[length] = '\n';
	const struct iovec pieces[] = {
		{.iov_base = priority, .iov_len = state.journal ? (size_t)size : 0},
		{.iov_base = line, .iov_len = length + 1},
	};
	ssize_t written = writev(STDERR_FILENO, pieces, 2);
	(void)written;
}

static void write_text(enum log_level level, const char *event, const char *fields)
{
	char line[LINE_SIZE + 128];

	if (!state.foreground) {
		syslog(priorities[level], "level=%s event=%s %s", log_level_words[level], event,
		       fields);
		return;
	}
	int length = snprintf(line, sizeof(line) - 1, "knockgw: level=%s event=%s %s",
			      log_level_words[level], event, fields);
	if (length >= 0)
		write_foreground(level, line, strlen(line));
}

static void write_json(enum log_level level, const struct log_head *head, const char *format,
		       const char *fields)
{
	char json[2 * LINE_SIZE];
	size_t length = log_line_json(json, sizeof(json) - 1, head, format, fields);

	if (state.foreground)
		write_foreground(level, json, length);
	else
		syslog(priorities[level], "%s", json);
}

static void write_line(enum log_level level, const char *event, const char *format,
		       const char *fields)
{
	char time[TIME_SIZE];

	if (atomic_load_explicit(&state.format, memory_order_relaxed) == LOG_FORMAT_TEXT) {
		write_text(level, event, fields);
		return;
	}
	format_time(time);
	write_json(level, &(struct log_head){time, log_level_words[level], event}, format, fields);
}

static void tap_line(struct event_ring *ring, enum log_level level, const char *event,
		     const char *format, const char *fields)
{
	char time[TIME_SIZE];
	char json[EVENT_LINE_SIZE];

	format_time(time);
	size_t length = log_line_json(json, sizeof(json),
				      &(struct log_head){time, log_level_words[level], event},
				      format, fields);
	event_ring_push(ring, level, json, length);
}

static void tell_suppressed(struct bucket *bucket)
{
	static const char format[] = "what=%s lines=%llu";
	char line[128];
	unsigned long long lines = atomic_exchange(&bucket->suppressed, 0);

	if (lines == 0)
		return;
	snprintf(line, sizeof(line), format, atomic_load(&bucket->event), lines);
	write_line(LOG_LEVEL_WARNING, "suppressed", format, line);
}

/* Under a flood not every line has a count in front of it. log_flush tells the rest. */
static bool is_time_to_tell(struct bucket *bucket)
{
	int64_t now = now_milliseconds();
	int64_t told = atomic_load_explicit(&bucket->told, memory_order_relaxed);

	return now - told >= TELL_INTERVAL &&
	       atomic_compare_exchange_strong(&bucket->told, &told, now);
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
	struct bucket *bucket = is_written(level) ? bucket_of(event) : NULL;
	bool written = bucket != NULL && admit(bucket);
	struct event_ring *ring = is_tapped(level) ? atomic_load(&state.tap) : NULL;
	bool tapped = ring != NULL && event_ring_has_room(ring);
	char fields[LINE_SIZE];
	va_list arguments;

	if (!written && !tapped)
		return;
	va_start(arguments, format);
	vsnprintf(fields, sizeof(fields), format, arguments);
	va_end(arguments);
	log_line_clean(fields);
	if (written) {
		if (is_time_to_tell(bucket))
			tell_suppressed(bucket);
		write_line(level, event, format, fields);
	}
	if (tapped)
		tap_line(ring, level, event, format, fields);
}

void log_flush(void)
{
	for (size_t i = 0; i < EVENTS_MAX; i++)
		if (atomic_load(&state.buckets[i].event) != NULL)
			tell_suppressed(&state.buckets[i]);
}

uint64_t log_suppressed(void)
{
	return atomic_load_explicit(&state.suppressed, memory_order_relaxed);
}
