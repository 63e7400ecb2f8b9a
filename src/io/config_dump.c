/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration as text, for people and tests. Secrets are only counted. */
#include <inttypes.h>
#include <stdlib.h>

#include "config.h"
#include "core/calendar.h"

const char *const reject_words[] = {"closed", "reset", "drop", NULL};
const char *const schedule_words[] = {"hash", "random", "round-robin", NULL};
const char *const on_failure_words[] = {"drop", "pass", NULL};
const char *const log_level_words[] = {"error", "warning", "info", "debug", NULL};
const char *const log_format_words[] = {"text", "json", NULL};
const char *const backend_state_words[] = {"active", "drain", NULL};

static const char *truth(bool value)
{
	return value ? "true" : "false";
}

/* What a key says beside its secret. */
static void dump_key(const struct key *key, size_t number, FILE *stream)
{
	char text[ENDPOINT_TEXT_SIZE];
	char time[CALENDAR_TEXT_SIZE];
	bool plain = strtoul(key->name, NULL, 10) == number && key->not_before == 0 &&
		     key->not_after == 0 && key->source_count == 0;
	if (plain)
		return;
	fprintf(stream, "  key: %s", key->name);
	if (key->not_before != 0)
		fprintf(stream, ", not_before: %s", calendar_format(key->not_before, time));
	if (key->not_after != 0)
		fprintf(stream, ", not_after: %s", calendar_format(key->not_after, time));
	for (size_t i = 0; i < key->source_count; i++)
		fprintf(stream, "%s%s/%u", i == 0 ? ", source: " : " ",
			endpoint_format_address(&key->sources[i].base, text),
			key->sources[i].length);
	fputc('\n', stream);
}

static void dump_health(const struct health_config *health, FILE *stream)
{
	fprintf(stream, "  health: interval %u ms, timeout %u ms, rise %u, fall %u, jitter %u %%",
		health->interval, health->timeout, health->rise, health->fall, health->jitter);
	if (health->port != 0)
		fprintf(stream, ", port %u", health->port);
	fputc('\n', stream);
}

static void dump_service(const struct service_config *service, FILE *stream)
{
	char text[ENDPOINT_TEXT_SIZE];
	fprintf(stream, "service %" PRIu32 " %s (line %u)\n", service->service.index,
		service->service.name, service->line);
	for (size_t i = 0; i < service->endpoint_count; i++)
		fprintf(stream, "  endpoint: %s\n", endpoint_format(&service->endpoints[i], text));
	for (size_t i = 0; i < service->endpoint_count; i++) {
		struct endpoint public = service_public(&service->service, &service->endpoints[i]);
		if (!endpoint_equal(&public, &service->endpoints[i]))
			fprintf(stream, "  public: %s\n", endpoint_format(&public, text));
	}
	fprintf(stream, "  secret: %zu keys\n", service->service.key_count);
	for (size_t i = 0; i < service->service.key_count; i++)
		dump_key(&service->keys[i], i + 1, stream);
	fprintf(stream, "  integrity: %u, reassemble: %s\n", service->service.integrity,
		truth(service->service.reassemble));
	fprintf(stream, "  replay_window: %" PRIu32 "\n", service->service.replay_window);
	fprintf(stream, "  pending_timeout: %u, reassemble_timeout: %u\n",
		service->service.pending_timeout, service->service.reassemble_timeout);
	for (size_t i = 0; i < service->backend_count; i++)
		fprintf(stream, "  backend: %s, weight: %u%s\n",
			endpoint_format(&service->backends[i].endpoint, text),
			service->backends[i].weight,
			service->backends[i].state == BACKEND_DRAIN ? ", drain" : "");
	if (service->snat)
		fputs("  snat: true\n", stream);
	if (service->health.interval > 0)
		dump_health(&service->health, stream);
	fprintf(stream, "  schedule: %s, reject: %s, decoy_port: %u\n",
		schedule_words[service->schedule], reject_words[service->reject],
		service->decoy_port);
}

static void dump_egress(const struct egress_config *egress, FILE *stream)
{
	char text[ENDPOINT_TEXT_SIZE];
	fprintf(stream, "egress %" PRIu32 " %s (line %u)\n", egress->destination.index,
		egress->destination.name, egress->line);
	for (size_t i = 0; i < egress->prefix_count; i++)
		fprintf(stream, "  destination: %s/%u port %u\n",
			endpoint_format_address(&egress->prefixes[i].base, text),
			egress->prefixes[i].length, egress->prefixes[i].base.port);
	fprintf(stream, "  secret: 1 keys\n");
	fprintf(stream, "  integrity: %u, on_failure: %s\n", egress->destination.integrity,
		on_failure_words[egress->on_failure]);
}

static void dump_id(FILE *stream, const char *key, unsigned int id)
{
	if (id == UINT32_MAX)
		fprintf(stream, ", %s: none", key);
	else
		fprintf(stream, ", %s: %u", key, id);
}

static void dump_control(const struct config *config, FILE *stream)
{
	char text[ENDPOINT_TEXT_SIZE];
	fprintf(stream, "control.socket: %s, mode: %04o", config->control_socket,
		(unsigned int)config->control_mode);
	dump_id(stream, "owner", config->control_owner);
	dump_id(stream, "group", config->control_group);
	fputc('\n', stream);
	if (config->metrics_path)
		fprintf(stream, "metrics.listen: %s\n", config->metrics_path);
	else if (config->metrics.family)
		fprintf(stream, "metrics.listen: %s\n", endpoint_format(&config->metrics, text));
}

static void dump_integrity(const struct splice_limits *limits, FILE *stream)
{
	const struct splice_defaults *defaults = &limits->defaults;
	fprintf(stream,
		"egress_integrity: collect_timeout: %" PRIu32 ", on_timeout: %s, "
		"connect_timeout: %" PRIu32 "\n",
		limits->collect_timeout / 1000, limits->plain_after_timeout ? "plain" : "reset",
		limits->connect_timeout / 1000);
	fprintf(stream,
		"  mss_ipv4: %u, mss_ipv6: %u, window_scale: %d, sack: %s, timestamps: %s\n",
		defaults->mss_ipv4, defaults->mss_ipv6,
		defaults->window_scale ? defaults->window_shift : -1, truth(defaults->sack),
		truth(defaults->timestamps));
}

void config_dump(const struct config *config, FILE *stream)
{
	for (size_t i = 0; i < config->service_count; i++)
		dump_service(&config->services[i], stream);
	for (size_t i = 0; i < config->egress_count; i++)
		dump_egress(&config->egress[i], stream);
	if (config->integrity.buffer_size > splice_limits_default(0).buffer_size)
		dump_integrity(&config->integrity, stream);
	fprintf(stream, "queues: first: %u, count: %u\n", config->queue_first, config->queue_count);
	fprintf(stream, "mark: 0x%08" PRIx32 "\n", config->mark);
	fprintf(stream, "max_flows: %" PRIu32 "\n", config->max_flows);
	fprintf(stream,
		"limits: max_failures: %" PRIu32 ", back_off: %" PRIu32
		", max_service_failures: %" PRIu32 ", ipv4_prefix: %u, ipv6_prefix: %u\n",
		config->failures.max_failures, config->failures.back_off,
		config->failures.max_service_failures, config->failures.ipv4_prefix,
		config->failures.ipv6_prefix);
	fprintf(stream, "max_held: %" PRIu32 "\n", config->max_held);
	fprintf(stream, "manage_ruleset: %s\n", truth(config->manage_ruleset));
	if (config->user)
		fprintf(stream, "user: %s\n", config->user);
	fprintf(stream, "state_directory: %s\n", config->state_directory);
	dump_control(config, stream);
	fprintf(stream, "log.level: %s, log.format: %s\n", log_level_words[config->log_level],
		log_format_words[config->log_format]);
}
