/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "health.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

/* Between a failed check and the next one, until it is clear that the backend is down. */
enum { CONFIRM_DELAY = 50 }; /* milliseconds, or what is left of the interval for it */

/* One backend under watch. */
struct probe {
	struct health *health;
	const struct service_config *service;
	struct backend *backend;
	struct endpoint target;
	struct event *timer;   /* the next check, */
	struct event *attempt; /* or the one that is under way */
	int fd;                /* -1: none */
	uint16_t failures;     /* in a row */
	uint16_t successes;
	bool kept; /* while another configuration is taken over */
};

struct health {
	struct event_base *base;
	void (*changed)(void *context);
	void *context;
	struct probe **probes;
	size_t count;
};

struct health *health_new(struct event_base *base, void (*changed)(void *context), void *context)
{
	struct health *health = calloc(1, sizeof(*health));

	if (health != NULL)
		*health = (struct health){.base = base, .changed = changed, .context = context};
	return health;
}

static void close_attempt(struct probe *probe)
{
	/* An RST: neither side need remember a connection that never was one. */
	const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	if (probe->attempt != NULL)
		event_free(probe->attempt);
	probe->attempt = NULL;
	if (probe->fd < 0)
		return;
	setsockopt(probe->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(probe->fd);
	probe->fd = -1;
}

static void probe_free(struct probe *probe)
{
	close_attempt(probe);
	event_free(probe->timer);
	free(probe);
}

void health_free(struct health *health)
{
	if (health == NULL)
		return;
	for (size_t i = 0; i < health->count; i++)
		probe_free(health->probes[i]);
	free(health->probes);
	free(health);
}

static struct timeval timeval_of(uint32_t milliseconds)
{
	return (struct timeval){.tv_sec = milliseconds / 1000,
				.tv_usec = (suseconds_t)(milliseconds % 1000) * 1000};
}

static void schedule(struct probe *probe, uint32_t delay)
{
	struct timeval when = timeval_of(delay);

	event_add(probe->timer, &when);
}

static uint16_t percent_by_chance(uint16_t most)
{
	uint16_t number;

	evutil_secure_rng_get_bytes(&number, sizeof(number));
	return (uint16_t)(number % (most + 1U));
}

/* What is left of the interval when a backend that falls silent right after a check has failed all
 * checks that it takes: so it is out within one interval. */
static uint32_t pause_of(const struct health_config *config)
{
	uint32_t pause = config->interval - config->fall * config->timeout;
	uint32_t confirm = (uint32_t)(config->fall - 1) * CONFIRM_DELAY;

	pause -= confirm < pause / 2 ? confirm : pause / 2;
	return pause - (uint32_t)((uint64_t)pause * percent_by_chance(config->jitter) / 100);
}

static uint32_t confirm_delay(const struct health_config *config)
{
	uint32_t left = (config->interval - config->fall * config->timeout) / 2 / config->fall;

	return left < CONFIRM_DELAY ? left : CONFIRM_DELAY;
}

static void tell(const struct probe *probe, const char *reason)
{
	char text[ENDPOINT_TEXT_SIZE];
	bool down = probe->backend->down;

	log_event(down ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, down ? "backend-down" : "backend-up",
		  "service=%s backend=%s reason=\"%s\"", probe->service->service.name,
		  endpoint_format(&probe->target, text), reason);
}

/* Whether the service has another backend of that family that takes connections. */
static bool has_another(const struct probe *probe)
{
	for (size_t i = 0; i < probe->service->backend_count; i++) {
		const struct backend *other = &probe->service->backends[i];
		if (other != probe->backend &&
		    other->endpoint.family == probe->backend->endpoint.family &&
		    backend_takes_connections(other))
			return true;
	}
	return false;
}

static void tell_of_service(const struct probe *probe)
{
	bool down = probe->backend->down;

	if (has_another(probe))
		return;
	log_event(down ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, down ? "service-down" : "service-up",
		  "service=%s family=%s reason=\"%s\"", probe->service->service.name,
		  probe->backend->endpoint.family == FAMILY_IPV4 ? "IPv4" : "IPv6",
		  down ? "no backend takes connections, its ports are closed"
		       : "a backend takes connections again");
}

/* Takes the result of a check into account. failure: an errno, 0 for none. */
static void conclude(struct probe *probe, int failure)
{
	const struct health_config *config = &probe->service->health;
	struct backend *backend = probe->backend;
	bool before = backend->down;

	close_attempt(probe);
	backend->checks++;
	if (failure != 0) {
		backend->failures++;
		backend->last_error = failure;
		backend->failed_at = time(NULL);
	}
	probe->failures = failure == 0 ? 0 : (uint16_t)(probe->failures + 1);
	probe->successes = failure != 0 ? 0 : (uint16_t)(probe->successes + 1);
	if (!before && probe->failures >= config->fall)
		backend->down = true;
	else if (before && probe->successes >= config->rise)
		backend->down = false;
	bool doubtful = !backend->down && failure != 0;
	if (probe->failures > config->fall)
		probe->failures = config->fall;
	if (probe->successes > config->rise)
		probe->successes = config->rise;
	schedule(probe, doubtful ? confirm_delay(config) : pause_of(config));
	if (backend->down == before)
		return;
	backend->since = time(NULL);
	tell(probe, failure != 0 ? strerror(failure) : "it accepts connections");
	tell_of_service(probe);
	probe->health->changed(probe->health->context);
}

static void on_attempt(evutil_socket_t fd, short events, void *context)
{
	struct probe *probe = context;
	int failure = ETIMEDOUT;
	socklen_t length = sizeof(failure);

	if ((events & EV_WRITE) != 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0)
		failure = errno;
	conclude(probe, failure);
}

static int begin_connecting(int fd, const struct endpoint *target)
{
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(target->port)};
	struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(target->port)};

	memcpy(&to4.sin_addr, target->address, sizeof(to4.sin_addr));
	memcpy(&to6.sin6_addr, target->address, sizeof(to6.sin6_addr));
	if (target->family == FAMILY_IPV4)
		return connect(fd, (const struct sockaddr *)&to4, sizeof(to4));
	return connect(fd, (const struct sockaddr *)&to6, sizeof(to6));
}

static void on_timer(evutil_socket_t unused, short events, void *context)
{
	struct probe *probe = context;
	struct timeval limit = timeval_of(probe->service->health.timeout);
	int family = probe->target.family == FAMILY_IPV4 ? AF_INET : AF_INET6;

	(void)unused;
	(void)events;
	probe->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe->fd < 0 ||
	    (begin_connecting(probe->fd, &probe->target) != 0 && errno != EINPROGRESS)) {
		conclude(probe, errno);
		return;
	}
	probe->attempt = event_new(probe->health->base, probe->fd, EV_WRITE, on_attempt, probe);
	if (probe->attempt == NULL || event_add(probe->attempt, &limit) != 0)
		conclude(probe, ENOMEM);
}

/* Where a check connects to: without a port of its own, where the first of the service's ports
 * leads. */
static struct endpoint target_of(const struct service_config *service,
				 const struct backend *backend)
{
	struct endpoint target = backend->endpoint;

	if (service->health.port != 0)
		target.port = service->health.port;
	else if (target.port == 0 && service->endpoint_count > 0)
		target.port = service->endpoints[0].port;
	return target;
}

/* The probe of that backend in the configuration before; NULL when it had none. */
static struct probe *find(const struct health *health, const struct service_config *service,
			  const struct backend *backend)
{
	struct endpoint target = target_of(service, backend);

	for (size_t i = 0; i < health->count; i++) {
		struct probe *probe = health->probes[i];
		if (strcmp(probe->service->service.name, service->service.name) == 0 &&
		    endpoint_equal(&probe->backend->endpoint, &backend->endpoint) &&
		    endpoint_equal(&probe->target, &target))
			return probe;
	}
	return NULL;
}

static struct probe *probe_new(struct health *health, struct service_config *service,
			       struct backend *backend)
{
	struct probe *probe = malloc(sizeof(*probe));

	if (probe == NULL)
		return NULL;
	*probe = (struct probe){.health = health, .service = service, .backend = backend, .fd = -1};
	probe->target = target_of(service, backend);
	probe->timer = evtimer_new(health->base, on_timer, probe);
	if (probe->timer != NULL)
		return probe;
	free(probe);
	return NULL;
}

/* Probes of a configuration: those that are there already, and new ones. */
struct plan {
	struct health *health;
	struct planned {
		struct probe *probe;
		struct service_config *service;
		struct backend *backend;
		bool known;
	} * list;
	size_t count;
};

static bool plan_probe(struct plan *plan, struct service_config *service, struct backend *backend)
{
	struct probe *known = find(plan->health, service, backend);
	struct probe *probe = known != NULL ? known : probe_new(plan->health, service, backend);

	if (probe == NULL)
		return false;
	plan->list[plan->count++] = (struct planned){probe, service, backend, known != NULL};
	return true;
}

static bool plan_probes(struct plan *plan, struct config *config)
{
	bool fine = true;

	for (size_t i = 0; i < config->service_count; i++) {
		struct service_config *service = &config->services[i];
		bool checked = service->health.interval > 0 && !service->retired;
		for (size_t k = 0; checked && fine && k < service->backend_count; k++)
			fine = plan_probe(plan, service, &service->backends[k]);
	}
	return fine;
}

static bool same_health(const struct health_config *left, const struct health_config *right)
{
	return left->interval == right->interval && left->timeout == right->timeout &&
	       left->rise == right->rise && left->fall == right->fall &&
	       left->jitter == right->jitter && left->port == right->port;
}

/* A check that is under way, and the time of the next one, stay: whoever reloads all the time must
 * not keep a dead backend in. */
static void take_over(struct probe *probe, const struct planned *planned, uint32_t delay)
{
	bool same = same_health(&probe->service->health, &planned->service->health);

	if (probe->backend->down)
		planned->backend->since = probe->backend->since;
	planned->backend->down = probe->backend->down;
	probe->service = planned->service;
	probe->backend = planned->backend;
	probe->kept = true;
	if (same)
		return;
	close_attempt(probe);
	schedule(probe, delay);
}

static void use_plan(struct health *health, const struct plan *plan, struct probe **probes)
{
	for (size_t i = 0; i < plan->count; i++) {
		/* Soon, but not all at once. */
		uint32_t delay = (uint32_t)i * 10 % 500;
		probes[i] = plan->list[i].probe;
		if (plan->list[i].known)
			take_over(probes[i], &plan->list[i], delay);
		else
			schedule(probes[i], delay);
	}
	for (size_t i = 0; i < health->count; i++) {
		if (!health->probes[i]->kept)
			probe_free(health->probes[i]);
	}
	for (size_t i = 0; i < plan->count; i++)
		probes[i]->kept = false;
	free(health->probes);
	health->probes = probes;
	health->count = plan->count;
}

bool health_use(struct health *health, struct config *config)
{
	struct plan plan = {.health = health};
	size_t room = 1;

	for (size_t i = 0; i < config->service_count; i++)
		room += config->services[i].backend_count;
	struct probe **probes = calloc(room, sizeof(struct probe *));
	plan.list = calloc(room, sizeof(*plan.list));
	bool fine = probes != NULL && plan.list != NULL && plan_probes(&plan, config);
	if (fine) {
		use_plan(health, &plan, probes);
	} else {
		for (size_t i = 0; i < plan.count; i++)
			if (!plan.list[i].known)
				probe_free(plan.list[i].probe);
		free(probes);
	}
	free(plan.list);
	return fine;
}
