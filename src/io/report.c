/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "report.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build-config.h"
#include "core/odds.h"
#include "log.h"

static json_int_t number(uint64_t value)
{
	return (json_int_t)value;
}

static void give(report_sink *sink, void *context, json_t *object)
{
	sink(context, object);
	json_decref(object);
}

static json_t *queue_object(const char *role, const struct pool_counters *counters)
{
	return json_pack(
		"{ss sI sI sI sI sI sI}", "role", role, "waiting", number(counters->waiting),
		"packets", number(counters->packets), "dropped", number(counters->dropped),
		"socket_dropped", number(counters->user_dropped), "verdict_errors",
		number(counters->verdict_errors), "malformed", number(counters->malformed));
}

/* The queues of each role that runs, summed up. */
static json_t *queue_sums(const struct view *view)
{
	json_t *list = json_array();

	if (view->protect != NULL) {
		struct pool_counters sum = worker_pool_counters(protect_role_pool(view->protect));
		json_array_append_new(list, queue_object(role_word(ROLE_PROTECT), &sum));
	}
	if (view->egress != NULL) {
		struct pool_counters sum = worker_pool_counters(egress_role_pool(view->egress));
		json_array_append_new(list, queue_object(role_word(ROLE_EGRESS), &sum));
	}
	return list;
}

/* Whether the file has changed since it was read. */
static bool is_stale(const struct view *view, json_int_t *age)
{
	struct stat status;

	*age = -1;
	if (stat(view->config->path, &status) != 0)
		return true;
	*age = time(NULL) - status.st_mtime;
	/* Somebody's clock is wrong. */
	if (*age < 0)
		*age = 0;
	return status.st_mtime > view->loaded;
}

void report_needs_restart(const struct view *view, report_sink *sink, void *context)
{
	const struct config *config = view->config;

	for (unsigned int i = 0; i < CONFIG_FIXED_COUNT; i++)
		if ((config->needs_restart & 1U << i) != 0)
			give(sink, context,
			     json_pack("{ss ss}", "key", config_fixed_keys[i], "place",
				       config->fixed_places[i] ? config->fixed_places[i]
							       : config->path));
}

static void append_key(void *context, const json_t *object)
{
	json_array_append(context, json_object_get(object, "key"));
}

static json_t *needs_restart(const struct view *view)
{
	json_t *list = json_array();

	report_needs_restart(view, append_key, list);
	return list;
}

static json_t *config_object(const struct view *view)
{
	json_int_t age;
	bool stale = is_stale(view, &age);

	return json_pack("{ss sI so sb sI sb so}", "file", view->config->path, "loaded",
			 (json_int_t)view->loaded, "file_age_s",
			 age >= 0 ? json_integer(age) : json_null(), "changed_since", stale,
			 "reloads", number(view->reloads), "last_reload_failed",
			 view->reload_failed, "needs_restart", needs_restart(view));
}

/* Without those that a reload has taken out of the file. */
static uint64_t count_services(const struct config *config)
{
	uint64_t count = 0;

	for (size_t i = 0; i < config->service_count; i++)
		count += !config->services[i].retired;
	return count;
}

static uint64_t count_destinations(const struct config *config)
{
	uint64_t count = 0;

	for (size_t i = 0; i < config->egress_count; i++)
		count += !config->egress[i].retired;
	return count;
}

/* The service that is guessed most easily; null without services. */
static json_t *weakest_object(const struct view *view)
{
	const struct service *weakest = NULL;
	char odds[ODDS_LINE_SIZE];

	for (size_t i = 0; i < view->config->service_count; i++) {
		const struct service *service = &view->config->services[i].service;
		if (view->config->services[i].retired)
			continue;
		if (weakest == NULL || odds_guesses(service) < odds_guesses(weakest))
			weakest = service;
	}
	if (weakest == NULL)
		return json_null();
	return json_pack("{ss sI ss}", "service", weakest->name, "one_in",
			 (json_int_t)odds_guesses(weakest), "odds", odds_line(weakest, odds));
}

void report_status(const struct view *view, report_sink *sink, void *context)
{
	const struct config *config = view->config;
	uint64_t flows = view->egress != NULL ? egress_role_flows(view->egress) : 0;
	uint64_t pending = view->protect != NULL ? protect_role_pending(view->protect) : 0;

	give(sink, context,
	     json_pack("{ss sI sI sI so ss ss sI sI so so sI sI sI ss ss sI}", "version",
		       PACKAGE_VERSION, "pid", (json_int_t)getpid(), "started",
		       (json_int_t)view->started, "uptime_s", number(view->uptime / 1000),
		       "configuration", config_object(view), "ruleset", view->ruleset, "log_level",
		       log_level_words[config->log_level], "services",
		       number(count_services(config)), "egress", number(count_destinations(config)),
		       "blind_guess", weakest_object(view), "queues", queue_sums(view), "flows",
		       number(flows), "max_flows", number(config->max_flows), "pending",
		       number(pending), "control_socket", config->control_socket, "state_directory",
		       config->state_directory, "log_lines_suppressed", number(log_suppressed())));
}

static json_t *endpoints_of(const struct service_config *service)
{
	char text[ENDPOINT_TEXT_SIZE];
	json_t *list = json_array();

	for (size_t i = 0; i < service->endpoint_count; i++)
		json_array_append_new(list,
				      json_string(endpoint_format(&service->endpoints[i], text)));
	return list;
}

static json_t *prefixes_of(const struct egress_config *egress)
{
	char text[ENDPOINT_TEXT_SIZE];
	json_t *list = json_array();

	for (size_t i = 0; i < egress->prefix_count; i++) {
		const struct prefix *prefix = &egress->prefixes[i];
		endpoint_format_address(&prefix->base, text);
		json_array_append_new(list,
				      prefix_is_address(prefix)
					      ? json_string(endpoint_format(&prefix->base, text))
					      : json_sprintf("%s/%u port %u", text, prefix->length,
							     prefix->base.port));
	}
	return list;
}

/* Of a service or destination, over all its keys. */
static uint64_t sum_reason(const struct counters *counters, enum role role, const char *name,
			   enum reason reason)
{
	const struct tally *tally = NULL;
	uint64_t sum = 0;

	while ((tally = counters_next(counters, tally)) != NULL)
		if (tally->role == role && strcmp(tally->service, name) == 0)
			sum += counters_reason(counters, tally, reason);
	return sum;
}

static uint64_t sum_refused(const struct counters *counters, const char *name)
{
	const struct tally *tally = NULL;
	uint64_t sum = 0;

	while ((tally = counters_next(counters, tally)) != NULL)
		if (tally->role == ROLE_PROTECT && strcmp(tally->service, name) == 0)
			sum += counters_verdict(counters, tally, VERDICT_CLOSED) +
			       counters_verdict(counters, tally, VERDICT_RESET);
	return sum;
}

void report_services(const struct view *view, report_sink *sink, void *context)
{
	const struct counters *counters = view->counters;

	for (size_t i = 0; i < view->config->service_count; i++) {
		const struct service_config *row = &view->config->services[i];
		const char *name = row->service.name;
		char odds[ODDS_LINE_SIZE];
		if (row->retired)
			continue;
		give(sink, context,
		     json_pack("{ss ss so sI sI sI ss sI ss sI sI}", "role", "protect", "service",
			       name, "endpoints", endpoints_of(row), "keys",
			       number(row->service.key_count), "integrity",
			       (json_int_t)row->service.integrity, "backends",
			       number(row->backend_count), "reject", reject_words[row->reject],
			       "guess_one_in", (json_int_t)odds_guesses(&row->service), "odds",
			       odds_line(&row->service, odds), "authorised",
			       number(sum_reason(counters, ROLE_PROTECT, name, REASON_TOKEN_VALID)),
			       "refused", number(sum_refused(counters, name))));
	}
	for (size_t i = 0; i < view->config->egress_count; i++) {
		const struct egress_config *row = &view->config->egress[i];
		const char *name = row->destination.name;
		if (row->retired)
			continue;
		give(sink, context,
		     json_pack("{ss ss so sI sI sI}", "role", "egress", "service", name,
			       "endpoints", prefixes_of(row), "keys", (json_int_t)1, "integrity",
			       (json_int_t)row->destination.integrity, "authorised",
			       number(sum_reason(counters, ROLE_EGRESS, name,
						 REASON_TOKEN_WRITTEN))));
	}
}

static const char *backend_word(const struct service_config *service, const struct backend *backend)
{
	if (backend->down)
		return "down";
	if (!backend_takes_connections(backend))
		return "drain";
	return service->health.interval > 0 ? "up" : "unchecked";
}

static json_t *last_error(const struct backend *backend)
{
	return backend->last_error != 0 ? json_string(strerror(backend->last_error)) : json_null();
}

static json_t *backend_object(const struct view *view, const struct service_config *service,
			      const struct backend *backend)
{
	char text[ENDPOINT_TEXT_SIZE];
	/* The first configuration says nothing of its own time. */
	int64_t since = backend->since > 0 ? backend->since : view->started;
	json_t *failed_at = backend->failed_at > 0 ? json_integer(backend->failed_at) : json_null();

	return json_pack("{ss ss sI ss sI so so sI sI}", "service", service->service.name,
			 "backend", backend_format(backend, text), "weight",
			 (json_int_t)backend->weight, "state", backend_word(service, backend),
			 "since", (json_int_t)since, "last_error", last_error(backend),
			 "last_error_time", failed_at, "checks", number(backend->checks),
			 "check_failures", number(backend->failures));
}

void report_backends(const struct view *view, const char *service, report_sink *sink, void *context)
{
	for (size_t i = 0; i < view->config->service_count; i++) {
		const struct service_config *row = &view->config->services[i];
		if (row->retired || (service != NULL && strcmp(row->service.name, service) != 0))
			continue;
		for (size_t k = 0; k < row->backend_count; k++)
			give(sink, context, backend_object(view, row, &row->backends[k]));
	}
}

void report_kicked(const char *service, uint64_t connections, report_sink *sink, void *context)
{
	give(sink, context,
	     json_pack("{ss sI}", "service", service, "connections", number(connections)));
}

static void report_tally(const struct counters *counters, const struct tally *tally,
			 report_sink *sink, void *context)
{
	for (int reason = 0; reason < REASON_COUNT; reason++) {
		uint64_t packets = counters_reason(counters, tally, (enum reason)reason);
		if (packets > 0)
			give(sink, context,
			     json_pack("{ss ss ss ss ss sI}", "kind", "packets", "role",
				       role_word(tally->role), "service", tally->service, "key",
				       tally->key, "reason", reason_word((enum reason)reason),
				       "packets", number(packets)));
	}
}

static void report_verdicts(const struct counters *counters, const struct tally *tally,
			    report_sink *sink, void *context)
{
	const char *word;

	for (unsigned int i = 0; (word = verdict_word_at(i)) != NULL; i++) {
		uint64_t packets = counters_verdict_word(counters, tally, word);
		if (packets > 0)
			give(sink, context,
			     json_pack("{ss ss ss ss ss sI}", "kind", "verdicts", "role",
				       role_word(tally->role), "service", tally->service, "key",
				       tally->key, "verdict", word, "packets", number(packets)));
	}
}

static void report_queues(enum role role, const struct worker_pool *pool, report_sink *sink,
			  void *context)
{
	for (unsigned int i = 0; i < worker_pool_size(pool); i++) {
		struct pool_counters counters = worker_pool_queue(pool, i);
		json_t *object = queue_object(role_word(role), &counters);
		json_object_set_new(object, "kind", json_string("queue"));
		json_object_set_new(object, "queue", json_integer(worker_pool_number(pool, i)));
		give(sink, context, object);
	}
}

void report_stats(const struct view *view, report_sink *sink, void *context)
{
	const struct tally *tally = NULL;

	while ((tally = counters_next(view->counters, tally)) != NULL)
		report_tally(view->counters, tally, sink, context);
	while ((tally = counters_next(view->counters, tally)) != NULL)
		report_verdicts(view->counters, tally, sink, context);
	if (view->protect != NULL)
		report_queues(ROLE_PROTECT, protect_role_pool(view->protect), sink, context);
	if (view->egress != NULL)
		report_queues(ROLE_EGRESS, egress_role_pool(view->egress), sink, context);
}
