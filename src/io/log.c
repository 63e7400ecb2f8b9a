/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 1024, EVENTS_MAX = 64, BURST = 20, RATE = 10 };

/* A token bucket for one kind of event. */
struct bucket {
	char event[32];
	int64_t refilled; /* milliseconds */
	int64_t tokens;   /* thousandths of a line */
	uint64_t suppressed;
};

static struct {
	pthread_mutex_t lock;
	enum log_level level;
	bool foreground;
	struct bucket buckets[EVENTS_MAX];
} state = {.lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_LEVEL_INFO, .foreground = true};

static const struct {
	const char *word;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = {"error", LOG_ERR},
	[LOG_LEVEL_WARNING] = {"warning", LOG_WARNING},
	[LOG_LEVEL_INFO] = {"info", LOG_INFO},
	[LOG_LEVEL_DEBUG] = {"debug", LOG_DEBUG},
};

void log_open(enum log_level level, bool foreground)
{
	state.level = level;
	state.foreground = foreground;
	if (!foreground)
		openlog("knockgw", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_close(void)
{
	log_flush();
	if (!state.foreground)
		closelog();
}

bool log_enabled(enum log_level level)
{
	return level <= state.level;
}

static int64_t now_milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void write_line(enum log_level level, const char *line)
{
	char whole[LINE_SIZE + 64];

	if (!state.foreground) {
		syslog(levels[level].priority, "level=%s %s", levels[level].word, line);
		return;
	}
	int length =
		snprintf(whole, sizeof(whole), "knockgw: level=%s %s\n", levels[level].word, line);
	if (length < 0)
		return;
	/* One call a line, so that lines of several threads do not mix. */
	if ((size_t)length >= sizeof(whole)) {
		length = sizeof(whole) - 1;
		whole[length - 1] = '\n';
	}
	ssize_t written = write(STDERR_FILENO, whole, (size_t)length);
	(void)written;
}

/* The bucket of an event; the last one is shared by all that found no room. */
static struct bucket *bucket_of(const char *event)
{
	size_t i = 0;

	for (; i < EVENTS_MAX - 1; i++) {
		if (strcmp(state.buckets[i].event, event) == 0)
			return &state.buckets[i];
		if (state.buckets[i].event[0] == '\0')
			break;
	}
	snprintf(state.buckets[i].event, sizeof(state.buckets[i].event), "%s", event);
	state.buckets[i].tokens = BURST * 1000;
	state.buckets[i].refilled = now_milliseconds();
	return &state.buckets[i];
}

static void tell_suppressed(struct bucket *bucket)
{
	char line[LINE_SIZE];

	if (bucket->suppressed == 0)
		return;
	snprintf(line, sizeof(line), "event=suppressed what=%s lines=%llu", bucket->event,
		 (unsigned long long)bucket->suppressed);
	bucket->suppressed = 0;
	write_line(LOG_LEVEL_WARNING, line);
}

/* Whether one more line of that event may be written. Called with the lock held. */
static bool admit(struct bucket *bucket)
{
	int64_t now = now_milliseconds();
	/* A thousandth of a line for each millisecond and line a second. */
	int64_t tokens = bucket->tokens + (now - bucket->refilled) * RATE;

	bucket->refilled = now;
	bucket->tokens = tokens > BURST * 1000 ? BURST * 1000 : tokens;
	if (bucket->tokens < 1000) {
		bucket->suppressed++;
		return false;
	}
	bucket->tokens -= 1000;
	return true;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
	char line[LINE_SIZE];
	va_list arguments;

	if (!log_enabled(level))
		return;
	int length = snprintf(line, sizeof(line), "event=%s ", event);
	if (length < 0 || (size_t)length >= sizeof(line))
		return;
	pthread_mutex_lock(&state.lock);
	struct bucket *bucket = bucket_of(event);
	if (admit(bucket)) {
		tell_suppressed(bucket);
		va_start(arguments, format);
		vsnprintf(line + length, sizeof(line) - (size_t)length, format, arguments);
		va_end(arguments);
		write_line(level, line);
	}
	pthread_mutex_unlock(&state.lock);
}

void log_flush(void)
{
	pthread_mutex_lock(&state.lock);
	for (size_t i = 0; i < EVENTS_MAX; i++)
		tell_suppressed(&state.buckets[i]);
	pthread_mutex_unlock(&state.lock);
}

char *log_quote(char *quoted, size_t size, const char *text)
{
	size_t at = 0;

	/* Room for the longest escape, the closing quote and the NUL. */
	quoted[at++] = '"';
	for (; *text != '\0' && at + 6 < size; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte < 0x20 || byte >= 0x7f)
			at += (size_t)snprintf(quoted + at, size - at, "\\x%02x", byte);
		else if (byte == '"' || byte == '\\')
			at += (size_t)snprintf(quoted + at, size - at, "\\%c", byte);
		else
			quoted[at++] = (char)byte;
	}
	quoted[at++] = '"';
	quoted[at] = '\0';
	return quoted;
}
