/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reload.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

enum { QUOTED_SIZE = 900 };

static void log_diagnostics(const struct diagnostics *diagnostics)
{
	char quoted[QUOTED_SIZE];

	for (size_t i = 0; i < diagnostics->count; i++) {
		const struct diagnostic *diagnostic = &diagnostics->list[i];

		log_event(diagnostic->error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING,
			  diagnostic->error ? "configuration-error" : "configuration-warning",
			  "text=%s", log_quote(quoted, sizeof(quoted), diagnostic->text));
	}
}

static bool same_text(const char *left, const char *right)
{
	return strcmp(left != NULL ? left : "", right != NULL ? right : "") == 0;
}

static bool same_control(const struct config *left, const struct config *right)
{
	return strcmp(left->control_socket, right->control_socket) == 0 &&
	       left->control_owner == right->control_owner &&
	       left->control_group == right->control_group &&
	       left->control_mode == right->control_mode;
}

static bool same_fixed(const struct config *left, const struct config *right,
		       enum config_fixed setting)
{
	switch (setting) {
	case CONFIG_FIXED_QUEUES:
		return left->queue_first == right->queue_first &&
		       left->queue_count == right->queue_count;
	case CONFIG_FIXED_MARK:
		return left->mark == right->mark;
	case CONFIG_FIXED_MAX_FLOWS:
		return left->max_flows == right->max_flows;
	case CONFIG_FIXED_MAX_HELD:
		return left->max_held == right->max_held;
	case CONFIG_FIXED_MANAGE_RULESET:
		return left->manage_ruleset == right->manage_ruleset;
	case CONFIG_FIXED_USER:
		return same_text(left->user, right->user);
	case CONFIG_FIXED_STATE_DIRECTORY:
		return strcmp(left->state_directory, right->state_directory) == 0;
	case CONFIG_FIXED_CONTROL:
		return same_control(left, right);
	case CONFIG_FIXED_METRICS:
		return same_text(left->metrics_path, right->metrics_path) &&
		       endpoint_equal(&left->metrics, &right->metrics);
	default:
		return true;
	}
}

/* Says so at each reload, until the restart or until the file has the old value again. */
static void warn_of_fixed(struct config *config, const struct config *old)
{
	for (unsigned int i = 0; i < CONFIG_FIXED_COUNT; i++) {
		char quoted[QUOTED_SIZE];
		const char *place = config->fixed_places[i];
		if (same_fixed(config, old, (enum config_fixed)i))
			continue;
		config->needs_restart |= 1U << i;
		log_event(LOG_LEVEL_WARNING, "needs-restart",
			  "key=%s place=%s reason=\"a reload does not change it; the old value "
			  "stays until a restart\"",
			  config_fixed_keys[i],
			  log_quote(quoted, sizeof(quoted), place ? place : config->path));
	}
}

static void swap_text(char **left, char **right)
{
	char *kept = *left;

	*left = *right;
	*right = kept;
}

/* Queues, tables, files and sockets stay for the life of the daemon, and so does what the
 * configuration in use says of them. Returns false when memory is short. */
static bool keep_fixed(struct config *config, const struct config *old)
{
	char *user = old->user ? strdup(old->user) : NULL;
	char *state_directory = strdup(old->state_directory);
	char *control_socket = strdup(old->control_socket);
	char *metrics_path = old->metrics_path ? strdup(old->metrics_path) : NULL;
	bool fine = state_directory && control_socket && (user || !old->user) &&
		    (metrics_path || !old->metrics_path);

	if (fine) {
		swap_text(&config->user, &user);
		swap_text(&config->state_directory, &state_directory);
		swap_text(&config->control_socket, &control_socket);
		swap_text(&config->metrics_path, &metrics_path);
	}
	free(user);
	free(state_directory);
	free(control_socket);
	free(metrics_path);
	config->queue_first = old->queue_first;
	config->queue_count = old->queue_count;
	config->mark = old->mark;
	config->max_flows = old->max_flows;
	config->max_held = old->max_held;
	config->manage_ruleset = old->manage_ruleset;
	config->control_owner = old->control_owner;
	config->control_group = old->control_group;
	config->control_mode = old->control_mode;
	config->metrics = old->metrics;
	return fine;
}

static bool has_endpoint(const struct service_config *service, const struct endpoint *endpoint)
{
	for (size_t i = 0; i < service->endpoint_count; i++)
		if (endpoint_equal(&service->endpoints[i], endpoint))
			return true;
	return false;
}

static bool config_has_endpoint(const struct config *config, const struct endpoint *endpoint)
{
	for (size_t i = 0; i < config->service_count; i++)
		if (has_endpoint(&config->services[i], endpoint))
			return true;
	return false;
}

/* A copy of a service without keys: nobody is let in, and whatever it had of addresses that config
 * does not have stays closed. Returns false when memory is short. */
static bool retire_service(struct service_config *retired, const struct service_config *service,
			   const struct config *config)
{
	*retired = *service;
	retired->retired = true;
	retired->keys = NULL;
	retired->service.keys = NULL;
	retired->service.key_count = 0;
	retired->service.failures = NULL; /* of the old configuration; nobody gets in anyway */
	retired->endpoint_count = 0;
	retired->endpoints = calloc(service->endpoint_count + 1, sizeof(*retired->endpoints));
	retired->backends = calloc(service->backend_count + 1, sizeof(*retired->backends));
	if (retired->endpoints == NULL || retired->backends == NULL)
		return false;
	for (size_t i = 0; i < service->backend_count; i++)
		retired->backends[i] = service->backends[i];
	for (size_t i = 0; i < service->endpoint_count; i++)
		if (!config_has_endpoint(config, &service->endpoints[i]))
			retired->endpoints[retired->endpoint_count++] = service->endpoints[i];
	return true;
}

/* What was hidden until now may be a server that listens: unauthorised clients must not be sent
 * there. */
static bool check_decoys(const struct config *config, const struct service_config *retired,
			 char error[static RELOAD_ERROR_SIZE])
{
	for (size_t i = 0; i < config->service_count; i++) {
		const struct service_config *service = &config->services[i];
		for (size_t k = 0; service->reject == REJECT_CLOSED && k < service->endpoint_count;
		     k++) {
			struct endpoint decoy = service->endpoints[k];
			decoy.port = service->decoy_port;
			if (!has_endpoint(retired, &decoy))
				continue;
			snprintf(error, RELOAD_ERROR_SIZE,
				 "%s:%u: decoy_port %u of \"%s\" was the hidden port of \"%s\" "
				 "until now; choose another one, or restart",
				 config->path, service->line, decoy.port, service->service.name,
				 retired->service.name);
			return false;
		}
	}
	return true;
}

static bool retire_services(struct config *config, const struct config *old,
			    char error[static RELOAD_ERROR_SIZE])
{
	size_t kept = config->service_count;
	struct service_config *grown = reallocarray(config->services, kept + old->service_count + 1,
						    sizeof(*config->services));

	if (grown == NULL)
		return false;
	config->services = grown;
	for (size_t i = 0; i < old->service_count; i++) {
		struct service_config retired;
		bool fine = retire_service(&retired, &old->services[i], config);
		if (fine && retired.endpoint_count > 0 && check_decoys(config, &retired, error)) {
			retired.service.index = (uint32_t)config->service_count;
			config->services[config->service_count++] = retired;
			continue;
		}
		fine = fine && retired.endpoint_count == 0;
		free(retired.endpoints);
		free(retired.backends);
		if (!fine)
			return false;
	}
	return true;
}

/* Connections of authentication mode and of integrity mode are translated in different places, so a
 * destination that changed its mode is carried on in the old one as well. */
static bool same_mode(const struct egress_config *left, const struct egress_config *right)
{
	return (left->destination.integrity > 0) == (right->destination.integrity > 0);
}

/* The parts of a prefix that lie in no prefix of config of the same mode are added to egress. */
static bool add_remainder(struct egress_config *egress, const struct prefix *prefix,
			  const struct config *config)
{
	bool apart = true;

	for (size_t i = 0; i < config->egress_count; i++) {
		for (size_t k = 0; k < config->egress[i].prefix_count; k++) {
			const struct prefix *other = &config->egress[i].prefixes[k];
			if (!same_mode(egress, &config->egress[i]))
				continue;
			if (other->length <= prefix->length && prefix_holds(other, &prefix->base))
				return true;
			apart = apart && !(prefix->length < other->length &&
					   prefix_holds(prefix, &other->base));
		}
	}
	if (apart) {
		struct prefix *grown = reallocarray(egress->prefixes, egress->prefix_count + 1,
						    sizeof(*egress->prefixes));
		if (grown == NULL)
			return false;
		egress->prefixes = grown;
		egress->prefixes[egress->prefix_count++] = *prefix;
		return true;
	}
	struct prefix half = *prefix;
	half.length++;
	if (!add_remainder(egress, &half, config))
		return false;
	half.base.address[prefix->length / 8] |= (uint8_t)(0x80 >> prefix->length % 8);
	return add_remainder(egress, &half, config);
}

static bool retire_egress(struct config *config, const struct config *old)
{
	size_t kept = config->egress_count;
	struct egress_config *grown =
		reallocarray(config->egress, kept + old->egress_count + 1, sizeof(*config->egress));

	if (grown == NULL)
		return false;
	config->egress = grown;
	for (size_t i = 0; i < old->egress_count; i++) {
		struct egress_config retired = old->egress[i];
		bool fine = true;

		retired.retired = true;
		retired.key = NULL;
		retired.destination.key = NULL;
		retired.prefixes = NULL;
		retired.prefix_count = 0;
		for (size_t k = 0; fine && k < old->egress[i].prefix_count; k++)
			fine = add_remainder(&retired, &old->egress[i].prefixes[k], config);
		if (!fine || retired.prefix_count == 0) {
			free(retired.prefixes);
			if (!fine)
				return false;
			continue;
		}
		retired.destination.index = (uint32_t)config->egress_count;
		config->egress[config->egress_count++] = retired;
	}
	return true;
}

static const struct backend *find_backend(const struct config *old, const char *service,
					  const struct endpoint *endpoint)
{
	for (size_t i = 0; i < old->service_count; i++) {
		const struct service_config *row = &old->services[i];
		for (size_t k = 0; !row->retired && k < row->backend_count; k++)
			if (strcmp(row->service.name, service) == 0 &&
			    endpoint_equal(&row->backends[k].endpoint, endpoint))
				return &row->backends[k];
	}
	return NULL;
}

/* What a command has drained stays so, and what was seen of a backend stays known. Whether it is
 * down depends on what is checked now: see health_use. */
static void carry_backends(struct config *config, const struct config *old)
{
	for (size_t i = 0; i < config->service_count; i++) {
		struct service_config *row = &config->services[i];
		for (size_t k = 0; k < row->backend_count; k++) {
			struct backend *backend = &row->backends[k];
			const struct backend *known =
				find_backend(old, row->service.name, &backend->endpoint);
			backend->since = time(NULL);
			if (known == NULL)
				continue;
			backend->drained = known->drained;
			backend->last_error = known->last_error;
			backend->failed_at = known->failed_at;
			backend->checks = known->checks;
			backend->failures = known->failures;
			if (known->state == backend->state && !known->down)
				backend->since = known->since;
		}
	}
}

bool reload_retire(struct config *config, const struct config *old,
		   char error[static RELOAD_ERROR_SIZE])
{
	snprintf(error, RELOAD_ERROR_SIZE, "out of memory");
	return retire_services(config, old, error) && retire_egress(config, old);
}

struct generation *reload_next(const struct generation *current,
			       char error[static RELOAD_ERROR_SIZE])
{
	struct diagnostics diagnostics = {0};
	struct generation *next = NULL;
	struct config *config = config_load(current->config->path, &diagnostics);

	if (config == NULL)
		snprintf(error, RELOAD_ERROR_SIZE, "%s",
			 diagnostics.count > 0 ? diagnostics.list[0].text : "out of memory");
	for (size_t i = 0; config == NULL && i < diagnostics.count; i++) {
		if (!diagnostics.list[i].error)
			continue;
		snprintf(error, RELOAD_ERROR_SIZE, "%s", diagnostics.list[i].text);
		break;
	}
	log_diagnostics(&diagnostics);
	diagnostics_free(&diagnostics);
	if (config == NULL)
		return NULL;
	warn_of_fixed(config, current->config);
	carry_backends(config, current->config);
	snprintf(error, RELOAD_ERROR_SIZE, "out of memory");
	if (keep_fixed(config, current->config) && reload_retire(config, current->config, error))
		next = generation_new(config);
	if (next == NULL)
		config_free(config);
	else
		next->number = current->number + 1;
	return next;
}
