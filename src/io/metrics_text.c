/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Label values are names of the configuration, words of ours and addresses: none needs escapes. */
#include "metrics_text.h"

#include <inttypes.h>

#include "build-config.h"
#include "core/flow.h"
#include "core/histogram.h"
#include "log.h"

struct writer {
	struct evbuffer *output;
	bool failed;
};

__attribute__((format(printf, 2, 3))) static void line(struct writer *writer, const char *format,
						       ...)
{
	va_list arguments;

	va_start(arguments, format);
	writer->failed =
		writer->failed || evbuffer_add_vprintf(writer->output, format, arguments) < 0;
	va_end(arguments);
}

static void family(struct writer *writer, const char *name, const char *type, const char *help)
{
	line(writer, "# HELP knockgw_%s %s\n# TYPE knockgw_%s %s\n", name, help, name, type);
}

static void single(struct writer *writer, const char *name, const char *type, const char *help,
		   uint64_t value)
{
	family(writer, name, type, help);
	line(writer, "knockgw_%s %" PRIu64 "\n", name, value);
}

static void write_process(struct writer *writer, const struct view *view)
{
	family(writer, "build_info", "gauge", "Always 1; the version is in the label.");
	line(writer, "knockgw_build_info{version=\"" PACKAGE_VERSION "\"} 1\n");
	line(writer,
	     "# HELP process_start_time_seconds Start of the daemon, in seconds since 1970.\n"
	     "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %lld\n",
	     (long long)view->started);
	single(writer, "config_loaded_timestamp_seconds", "gauge",
	       "When the running configuration was read, in seconds since 1970.",
	       (uint64_t)view->loaded);
	single(writer, "config_last_reload_successful", "gauge", "1 unless the last reload failed.",
	       !view->reload_failed);
	single(writer, "config_reloads_total", "counter", "Successful reloads.", view->reloads);
	single(writer, "log_suppressed_lines_total", "counter",
	       "Log lines that were too many of their kind to be written.", log_suppressed());
}

/* Reasons that an alert may ask for are there before they first occur. */
static bool is_always_there(const struct tally *tally, enum reason reason)
{
	if (tally->service[0] == '\0')
		return false;
	if (tally->role == ROLE_EGRESS)
		return reason == REASON_TOKEN_WRITTEN;
	return reason == (tally->key[0] != '\0' ? REASON_TOKEN_VALID : REASON_TOKEN_WRONG);
}

static void write_packets(struct writer *writer, const struct view *view)
{
	const struct tally *tally = NULL;

	family(writer, "packets_total", "counter",
	       "Packets that the daemon was asked about, by what it found.");
	while ((tally = counters_next(view->counters, tally)) != NULL) {
		for (int reason = 0; reason < REASON_COUNT; reason++) {
			uint64_t packets =
				counters_reason(view->counters, tally, (enum reason)reason);
			if (packets > 0 || is_always_there(tally, (enum reason)reason))
				line(writer,
				     "knockgw_packets_total{role=\"%s\",service=\"%s\",key=\"%s\","
				     "reason=\"%s\"} %" PRIu64 "\n",
				     role_word(tally->role), tally->service, tally->key,
				     reason_word((enum reason)reason), packets);
		}
	}
}

static void write_verdicts(struct writer *writer, const struct view *view)
{
	const struct tally *tally = NULL;
	const char *word;

	family(writer, "verdicts_total", "counter",
	       "Packets that the daemon was asked about, by what it decided.");
	while ((tally = counters_next(view->counters, tally)) != NULL) {
		for (unsigned int i = 0; (word = verdict_word_at(i)) != NULL; i++) {
			uint64_t packets = counters_verdict_word(view->counters, tally, word);
			if (packets > 0)
				line(writer,
				     "knockgw_verdicts_total{role=\"%s\",service=\"%s\",key=\"%s\","
				     "verdict=\"%s\"} %" PRIu64 "\n",
				     role_word(tally->role), tally->service, tally->key, word,
				     packets);
		}
	}
}

/* The queues of both roles. */
static const struct worker_pool *pool_of(const struct view *view, enum role role)
{
	if (role == ROLE_PROTECT)
		return view->protect != NULL ? protect_role_pool(view->protect) : NULL;
	return view->egress != NULL ? egress_role_pool(view->egress) : NULL;
}

static const struct {
	const char *name;
	const char *type;
	const char *help;
	size_t offset;
} queue_metrics[] = {
	{"queue_length", "gauge", "Packets that wait for a verdict.",
	 offsetof(struct pool_counters, waiting)},
	{"queue_packets_total", "counter", "Packets that came out of the queue.",
	 offsetof(struct pool_counters, packets)},
	{"queue_overrun_packets_total", "counter", "Packets dropped because the queue was full.",
	 offsetof(struct pool_counters, dropped)},
	{"queue_enobufs_packets_total", "counter",
	 "Packets dropped because the socket of the queue was full (ENOBUFS).",
	 offsetof(struct pool_counters, user_dropped)},
	{"queue_verdict_errors_total", "counter", "Verdicts that the kernel did not take.",
	 offsetof(struct pool_counters, verdict_errors)},
	{"queue_malformed_messages_total", "counter", "Netlink messages that made no sense.",
	 offsetof(struct pool_counters, malformed)},
};

static uint64_t value_at(const struct pool_counters *counters, size_t offset)
{
	return *(const uint64_t *)(const void *)((const char *)counters + offset);
}

static void write_queues(struct writer *writer, const struct view *view)
{
	for (size_t i = 0; i < sizeof(queue_metrics) / sizeof(queue_metrics[0]); i++) {
		family(writer, queue_metrics[i].name, queue_metrics[i].type, queue_metrics[i].help);
		for (int role = 0; role < ROLE_COUNT; role++) {
			const struct worker_pool *pool = pool_of(view, (enum role)role);
			for (unsigned int k = 0; pool != NULL && k < worker_pool_size(pool); k++) {
				struct pool_counters counters = worker_pool_queue(pool, k);
				line(writer, "knockgw_%s{role=\"%s\",queue=\"%u\"} %" PRIu64 "\n",
				     queue_metrics[i].name, role_word((enum role)role),
				     worker_pool_number(pool, k),
				     value_at(&counters, queue_metrics[i].offset));
			}
		}
	}
}

static void write_histogram(struct writer *writer, const struct worker_pool *pool, const char *role)
{
	static const char name[] = "knockgw_verdict_duration_seconds";
	uint64_t count = 0;
	uint64_t nanoseconds = 0;

	for (unsigned int bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
		for (unsigned int i = 0; i < worker_pool_size(pool); i++)
			count += counter_read(&worker_pool_durations(pool, i)->buckets[bucket]);
		if (bucket < HISTOGRAM_BUCKETS - 1)
			line(writer, "%s_bucket{role=\"%s\",le=\"%g\"} %" PRIu64 "\n", name, role,
			     (double)histogram_bound(bucket) / 1e9, count);
	}
	for (unsigned int i = 0; i < worker_pool_size(pool); i++)
		nanoseconds += counter_read(&worker_pool_durations(pool, i)->nanoseconds);
	line(writer, "%s_bucket{role=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, role, count);
	line(writer, "%s_sum{role=\"%s\"} %.9f\n", name, role, (double)nanoseconds / 1e9);
	line(writer, "%s_count{role=\"%s\"} %" PRIu64 "\n", name, role, count);
}

static void write_durations(struct writer *writer, const struct view *view)
{
	family(writer, "verdict_duration_seconds", "histogram",
	       "From the receiving of a packet to the sending of its verdict.");
	for (int role = 0; role < ROLE_COUNT; role++) {
		const struct worker_pool *pool = pool_of(view, (enum role)role);
		if (pool != NULL)
			write_histogram(writer, pool, role_word((enum role)role));
	}
}

static void write_connections(struct writer *writer, const struct view *view)
{
	if (view->protect != NULL)
		single(writer, "pending_connections", "gauge",
		       "Connections of protected services whose payload check is still to come.",
		       protect_role_pending(view->protect));
	if (view->egress == NULL)
		return;
	family(writer, "flows", "gauge",
	       "Translated connections, by the state of TCP; half-made ones are syn-sent and "
	       "syn-received.");
	for (unsigned int state = 0; state < FLOW_STATES; state++)
		line(writer, "knockgw_flows{state=\"%s\"} %" PRIu64 "\n", flow_state_name(state),
		     egress_role_flows_in(view->egress, state));
	single(writer, "flows_limit", "gauge", "How many translated connections there may be.",
	       view->config->max_flows);
}

/* One value for each backend; checked: only for those with health checks. */
static void write_backend_values(struct writer *writer, const struct view *view, const char *name,
				 bool checked, uint64_t (*value)(const struct backend *backend))
{
	char text[ENDPOINT_TEXT_SIZE];

	for (size_t i = 0; i < view->config->service_count; i++) {
		const struct service_config *service = &view->config->services[i];
		if (service->retired || (checked && service->health.interval == 0))
			continue;
		for (size_t k = 0; k < service->backend_count; k++)
			line(writer, "knockgw_%s{service=\"%s\",backend=\"%s\"} %" PRIu64 "\n",
			     name, service->service.name,
			     backend_format(&service->backends[k], text),
			     value(&service->backends[k]));
	}
}

static uint64_t value_up(const struct backend *backend)
{
	return !backend->down;
}

static uint64_t value_drained(const struct backend *backend)
{
	return backend->drained || backend->state == BACKEND_DRAIN;
}

static uint64_t value_weight(const struct backend *backend)
{
	return backend->weight;
}

static uint64_t value_checks(const struct backend *backend)
{
	return backend->checks;
}

static uint64_t value_failures(const struct backend *backend)
{
	return backend->failures;
}

static void write_backends(struct writer *writer, const struct view *view)
{
	static const struct {
		const char *name;
		const char *type;
		const char *help;
		bool checked;
		uint64_t (*value)(const struct backend *backend);
	} metrics[] = {
		{"backend_up", "gauge", "1 unless the backend is down, by its health checks.", true,
		 value_up},
		{"backend_drained", "gauge", "1 if the backend gets no new connections by request.",
		 false, value_drained},
		{"backend_weight", "gauge", "Share of the backend in new connections.", false,
		 value_weight},
		{"backend_checks_total", "counter", "Health checks of the backend.", true,
		 value_checks},
		{"backend_check_failures_total", "counter", "Health checks that failed.", true,
		 value_failures},
	};

	for (size_t i = 0; i < sizeof(metrics) / sizeof(metrics[0]); i++) {
		family(writer, metrics[i].name, metrics[i].type, metrics[i].help);
		write_backend_values(writer, view, metrics[i].name, metrics[i].checked,
				     metrics[i].value);
	}
}

bool metrics_write(struct evbuffer *output, const struct view *view)
{
	struct writer writer = {.output = output};

	write_process(&writer, view);
	write_packets(&writer, view);
	write_verdicts(&writer, view);
	write_queues(&writer, view);
	write_durations(&writer, view);
	write_connections(&writer, view);
	if (view->protect != NULL)
		write_backends(&writer, view);
	return !writer.failed;
}
