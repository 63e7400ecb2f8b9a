/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "background.h"
#include "build-config.h"
#include "core/calendar.h"
#include "counters.h"
#include "egress_role.h"
#include "generation.h"
#include "health.h"
#include "interfaces.h"
#include "kick.h"
#include "log.h"
#include "outlets.h"
#include "overruns.h"
#include "privileges.h"
#include "protect_role.h"
#include "reload.h"
#include "ruleset.h"
#include "ruleset_keeper.h"
#include "seccomp.h"
#include "watchdog.h"

/* How often the kernel is asked how many packets its queues had to drop. */
static const struct timeval OVERRUN_INTERVAL = {.tv_sec = 5};

struct daemon {
	struct generation *generation;
	struct counters *counters;
	struct outlets outlets;
	struct ruleset_keeper *ruleset;
	struct health *health;
	struct interfaces *interfaces;
	struct protect_role *protect; /* NULL without services */
	struct egress_role *egress;   /* NULL without egress destinations */
	struct event_base *base;
	struct event *signals[4];
	struct event *overruns;
	struct watchdog *watchdog;
	struct event *interface_changes;
	struct event *failures[2];
	struct overruns protect_overruns;
	struct overruns egress_overruns;
	bool failed;
	time_t started;
	time_t loaded;      /* when the configuration was read */
	uint64_t beginning; /* milliseconds of worker_now */
	uint64_t reloads;
	bool reload_failed; /* the last one did */
};

static void on_stop_signal(evutil_socket_t signal, short events, void *context)
{
	struct daemon *daemon = context;

	(void)events;
	log_event(LOG_LEVEL_INFO, "stopping", "signal=%s", sigabbrev_np(signal));
	event_base_loopbreak(daemon->base);
}

static void log_counters(const struct daemon *daemon, enum role role)
{
	for (int reason = 0; reason < REASON_COUNT; reason++) {
		uint64_t sum = counters_total(daemon->counters, role, (enum reason)reason);
		if (sum > 0)
			log_event(LOG_LEVEL_INFO, "statistics", "role=%s reason=%s packets=%llu",
				  role_word(role), reason_word((enum reason)reason),
				  (unsigned long long)sum);
	}
}

/* Which keys are in use, and which no longer are. */
static void log_keys(const struct daemon *daemon)
{
	const struct tally *tally = NULL;

	while ((tally = counters_next(daemon->counters, tally)) != NULL) {
		int64_t used = counters_last_used(daemon->counters, tally);
		char time[CALENDAR_TEXT_SIZE] = "never";
		if (tally->role != ROLE_PROTECT || tally->key[0] == '\0')
			continue;
		if (used > 0)
			calendar_format(used, time);
		log_event(LOG_LEVEL_INFO, "key-statistics",
			  "service=%s key=%s opened=%llu last_used=%s", tally->service, tally->key,
			  (unsigned long long)counters_verdict(daemon->counters, tally,
							       VERDICT_VERIFIED),
			  time);
	}
}

static void log_alarms(const struct protect_role *role)
{
	struct protect_alarms alarms = protect_role_alarms(role);

	log_event(LOG_LEVEL_INFO, "alarm-statistics", "source_alarms=%llu service_alarms=%llu",
		  (unsigned long long)alarms.sources, (unsigned long long)alarms.services);
}

static void on_statistics_signal(evutil_socket_t signal, short events, void *context)
{
	struct daemon *daemon = context;

	(void)signal;
	(void)events;
	if (daemon->protect != NULL) {
		log_counters(daemon, ROLE_PROTECT);
		log_keys(daemon);
		log_alarms(daemon->protect);
	}
	if (daemon->egress == NULL)
		return;
	log_counters(daemon, ROLE_EGRESS);
	log_event(LOG_LEVEL_INFO, "statistics", "role=egress flows=%llu",
		  (unsigned long long)egress_role_flows(daemon->egress));
}

static void on_reload_signal(evutil_socket_t signal, short events, void *context)
{
	char error[DAEMON_ERROR_SIZE];

	(void)signal;
	(void)events;
	/* It has logged why it failed, if it did. */
	daemon_reload(context, error);
}

static void on_overrun_timer(evutil_socket_t fd, short events, void *context)
{
	struct daemon *daemon = context;

	(void)fd;
	(void)events;
	if (daemon->protect != NULL)
		overruns_report(&daemon->protect_overruns, "protect",
				protect_role_pool(daemon->protect));
	if (daemon->egress != NULL)
		overruns_report(&daemon->egress_overruns, "egress",
				egress_role_pool(daemon->egress));
	log_flush();
}

static void on_interface_change(evutil_socket_t fd, short events, void *context)
{
	struct daemon *daemon = context;

	(void)fd;
	(void)events;
	interfaces_catch(daemon->interfaces);
}

/* A worker that cannot go on means that a share of all clients is locked out: give up, so that a
 * service manager starts afresh. Until then those ports are closed. */
static void on_worker_failure(evutil_socket_t fd, short events, void *context)
{
	struct daemon *daemon = context;

	(void)fd;
	(void)events;
	log_event(LOG_LEVEL_ERROR, "worker-failed", "action=exit");
	daemon->failed = true;
	event_base_loopbreak(daemon->base);
}

static uint64_t longest_silence(void *context)
{
	const struct daemon *daemon = context;
	uint64_t protect = 0;
	uint64_t egress = 0;

	if (daemon->protect != NULL)
		protect = worker_pool_silence(protect_role_pool(daemon->protect));
	if (daemon->egress != NULL)
		egress = worker_pool_silence(egress_role_pool(daemon->egress));
	return protect > egress ? protect : egress;
}

static bool watch_signals(struct daemon *daemon)
{
	static const struct {
		int signal;
		event_callback_fn callback;
	} watched[] = {
		{SIGTERM, on_stop_signal},
		{SIGINT, on_stop_signal},
		{SIGHUP, on_reload_signal},
		{SIGUSR1, on_statistics_signal},
	};

	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++) {
		daemon->signals[i] =
			evsignal_new(daemon->base, watched[i].signal, watched[i].callback, daemon);
		if (daemon->signals[i] == NULL || event_add(daemon->signals[i], NULL) != 0)
			return false;
	}
	return true;
}

static bool add_event(struct event *event, const struct timeval *interval)
{
	return event != NULL && event_add(event, interval) == 0;
}

static bool watch_events(struct daemon *daemon)
{
	daemon->watchdog = watchdog_new(daemon->base, longest_silence, daemon);
	daemon->overruns = event_new(daemon->base, -1, EV_PERSIST, on_overrun_timer, daemon);
	daemon->interface_changes = event_new(daemon->base, interfaces_fd(daemon->interfaces),
					      EV_READ | EV_PERSIST, on_interface_change, daemon);
	return daemon->watchdog != NULL && add_event(daemon->overruns, &OVERRUN_INTERVAL) &&
	       add_event(daemon->interface_changes, NULL);
}

static void on_backend_change(void *context)
{
	const struct daemon *daemon = context;

	ruleset_keeper_follow(daemon->ruleset);
}

static bool watch_pool(struct daemon *daemon, const struct worker_pool *pool, struct event **event)
{
	*event = event_new(daemon->base, worker_pool_failure_fd(pool), EV_READ | EV_PERSIST,
			   on_worker_failure, daemon);
	if (add_event(*event, NULL))
		return true;
	log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"libevent refuses events\"");
	return false;
}

/* Starts those roles that the generation asks for and that do not run yet. */
static bool start_roles(struct daemon *daemon, const struct generation *generation)
{
	if (generation->config->service_count > 0 && daemon->protect == NULL) {
		daemon->protect =
			protect_role_start(generation, daemon->interfaces, daemon->counters);
		if (daemon->protect == NULL ||
		    !watch_pool(daemon, protect_role_pool(daemon->protect), &daemon->failures[0]))
			return false;
	}
	if (generation->config->egress_count > 0 && daemon->egress == NULL) {
		daemon->egress = egress_role_start(generation, daemon->counters);
		if (daemon->egress == NULL ||
		    !watch_pool(daemon, egress_role_pool(daemon->egress), &daemon->failures[1]))
			return false;
	}
	return daemon->egress == NULL || egress_role_extend(daemon->egress, generation);
}

/* The sockets come first: where they belong only root may make them. */
static bool open_and_drop(struct outlets *outlets, const struct config *config)
{
	char error[PRIVILEGES_ERROR_SIZE];

	if (!privileges_suffice(error)) {
		log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"%s\"", error);
		return false;
	}
	if (!outlets_open(outlets, config))
		return false;
	if (!queue_statistics_open())
		log_event(LOG_LEVEL_WARNING, "queue-statistics-missing",
			  "reason=\"/proc/net/netfilter/nfnetlink_queue cannot be read, nor is it "
			  "standard input\"");
	if (privileges_drop(config, error))
		return true;
	log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"%s\"", error);
	return false;
}

static bool confine(void)
{
	char error[SECCOMP_ERROR_SIZE];

	if (seccomp_confine(error))
		return true;
	log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"%s\"", error);
	return false;
}

static void free_event(struct event **event)
{
	if (*event != NULL)
		event_free(*event);
	*event = NULL;
}

static void stop_protect(struct daemon *daemon)
{
	free_event(&daemon->failures[0]);
	protect_role_stop(daemon->protect);
	daemon->protect = NULL;
}

static void stop_egress(struct daemon *daemon)
{
	free_event(&daemon->failures[1]);
	egress_role_stop(daemon->egress);
	daemon->egress = NULL;
}

static void look(void *context, struct view *view)
{
	const struct daemon *daemon = context;

	*view = (struct view){
		.config = daemon->generation->config,
		.counters = daemon->counters,
		.protect = daemon->protect,
		.egress = daemon->egress,
		.ruleset = ruleset_keeper_word(daemon->ruleset),
		.started = daemon->started,
		.loaded = daemon->loaded,
		.uptime = worker_now() - daemon->beginning,
		.reloads = daemon->reloads,
		.reload_failed = daemon->reload_failed,
	};
}

static bool reload(void *context, char error[static ACTION_ERROR_SIZE])
{
	_Static_assert((int)ACTION_ERROR_SIZE >= (int)DAEMON_ERROR_SIZE, "room for the error");
	return daemon_reload(context, error);
}

static bool drain(void *context, const char *service, const char *backend, bool drain,
		  char error[static ACTION_ERROR_SIZE])
{
	return daemon_drain(context, service, backend, drain, error);
}

/* Of a role: that of egress has twice as many when some destinations are of integrity mode, and a
 * reload may bring the first one. */
static unsigned int most_workers(const struct config *config)
{
	return config->queue_count + ruleset_egress_queues(config);
}

static bool kick_connections(void *context, const char *service, const char *const *ends,
			     size_t count, uint64_t *kicked, char error[static ACTION_ERROR_SIZE])
{
	struct daemon *daemon = context;
	bool done = kick(daemon->generation->config, service, ends, count, kicked, error);

	if (*kicked > 0)
		log_event(LOG_LEVEL_INFO, "kicked", "service=%s connections=%llu", service,
			  (unsigned long long)*kicked);
	return done;
}

static bool start(struct daemon *daemon)
{
	daemon->base = event_base_new();
	daemon->interfaces = interfaces_open();
	daemon->counters = counters_new(most_workers(daemon->generation->config));
	if (daemon->base == NULL || daemon->interfaces == NULL || daemon->counters == NULL ||
	    !counters_bind(daemon->counters, daemon->generation->config)) {
		log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"%s\"", strerror(errno));
		return false;
	}
	if (!start_roles(daemon, daemon->generation))
		return false;
	if (!watch_signals(daemon) || !watch_events(daemon)) {
		log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"libevent refuses events\"");
		return false;
	}
	const struct daemon_interface interface = {look, reload, drain, kick_connections, daemon};
	if (!outlets_start(&daemon->outlets, daemon->base, &interface))
		return false;
	daemon->health = health_new(daemon->base, on_backend_change, daemon);
	if (daemon->health == NULL || !health_use(daemon->health, daemon->generation->config)) {
		log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"out of memory\"");
		return false;
	}
	daemon->ruleset = ruleset_keeper_start(daemon->base, daemon->generation->config);
	if (daemon->ruleset == NULL)
		return false;
	if (daemon->egress != NULL)
		egress_role_ruled(daemon->egress, daemon->generation);
	return true;
}

static void stop(struct daemon *daemon)
{
	ruleset_keeper_stop(daemon->ruleset);
	health_free(daemon->health);
	watchdog_free(daemon->watchdog);
	for (size_t i = 0; i < sizeof(daemon->signals) / sizeof(daemon->signals[0]); i++)
		free_event(&daemon->signals[i]);
	free_event(&daemon->overruns);
	free_event(&daemon->interface_changes);
	stop_protect(daemon);
	stop_egress(daemon);
	outlets_close(&daemon->outlets);
	counters_free(daemon->counters);
	interfaces_close(daemon->interfaces);
	if (daemon->base != NULL)
		event_base_free(daemon->base);
	libevent_global_shutdown();
}

/* Workers first: what a new rule queues they know already, and whom they no longer let in no old
 * rule lets in. */
static void use(struct daemon *daemon, const struct generation *generation)
{
	if (daemon->protect != NULL)
		protect_role_use(daemon->protect, generation);
	if (daemon->egress != NULL)
		egress_role_use(daemon->egress, generation);
}

/* One that no worker uses any more. */
static void drop_generation(struct daemon *daemon, struct generation *generation)
{
	counters_release(daemon->counters, generation->config);
	generation_free(generation);
}

static bool go_over(struct daemon *daemon, struct generation *next,
		    char error[static DAEMON_ERROR_SIZE])
{
	bool had_protect = daemon->protect != NULL;
	bool had_egress = daemon->egress != NULL;

	if (!counters_bind(daemon->counters, next->config)) {
		snprintf(error, DAEMON_ERROR_SIZE, "out of memory");
		drop_generation(daemon, next);
		return false;
	}
	snprintf(error, DAEMON_ERROR_SIZE, "a role does not start, see the log");
	use(daemon, next);
	if (start_roles(daemon, next) && health_use(daemon->health, next->config) &&
	    ruleset_keeper_update(daemon->ruleset, next->config, error)) {
		if (daemon->egress != NULL)
			egress_role_ruled(daemon->egress, next);
		drop_generation(daemon, daemon->generation);
		daemon->generation = next;
		return true;
	}
	use(daemon, daemon->generation);
	health_use(daemon->health, daemon->generation->config);
	ruleset_keeper_mend(daemon->ruleset);
	if (!had_protect)
		stop_protect(daemon);
	if (!had_egress)
		stop_egress(daemon);
	drop_generation(daemon, next);
	return false;
}

bool daemon_drain(struct daemon *daemon, const char *service_name, const char *backend_text,
		  bool drain, char error[static DAEMON_ERROR_SIZE])
{
	struct backend *backend = config_find_backend(daemon->generation->config, service_name,
						      backend_text, error, DAEMON_ERROR_SIZE);

	if (backend == NULL)
		return false;
	if (!drain && backend->state == BACKEND_DRAIN) {
		snprintf(error, DAEMON_ERROR_SIZE,
			 "%s says state = \"drain\" of it: change that, and reload",
			 daemon->generation->config->path);
		return false;
	}
	bool before = backend->drained;
	backend->drained = drain;
	if (before == drain)
		return true;
	if (!ruleset_keeper_update(daemon->ruleset, daemon->generation->config, error)) {
		log_event(LOG_LEVEL_ERROR, "backends-not-changed", "reason=\"%s\" action=none",
			  error);
		backend->drained = before;
		ruleset_keeper_mend(daemon->ruleset);
		return false;
	}
	backend->since = time(NULL);
	log_event(LOG_LEVEL_INFO, drain ? "backend-drained" : "backend-undrained",
		  "service=%s backend=%s", service_name, backend_text);
	return true;
}

static void tell_manager_of_reload(void)
{
	struct timespec now;
	char text[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
	sd_notify(0, text);
}

bool daemon_reload(struct daemon *daemon, char error[static DAEMON_ERROR_SIZE])
{
	char text[DAEMON_ERROR_SIZE + 64];

	tell_manager_of_reload();
	struct generation *next = reload_next(daemon->generation, error);
	bool done = next != NULL && go_over(daemon, next, error);
	daemon->reload_failed = !done;
	if (done) {
		daemon->reloads++;
		daemon->loaded = time(NULL);
		const struct config *config = daemon->generation->config;
		log_change(config->log_level, config->log_format);
		log_event(LOG_LEVEL_INFO, "reloaded", "services=%zu egress=%zu",
			  config->service_count, config->egress_count);
	} else {
		log_event(LOG_LEVEL_ERROR, "reload-failed", "action=none reason=%s",
			  log_quote(text, sizeof(text), error));
	}
	/* Not sd_notifyf, which says nothing when memory is short: the manager waits for this. */
	snprintf(text, sizeof(text), "READY=1\nSTATUS=%s%s",
		 done ? "serving" : "the last reload failed: ", done ? "" : error);
	sd_notify(0, text);
	return done;
}

static void announce(struct background *background)
{
	log_event(LOG_LEVEL_INFO, "ready", "version=" PACKAGE_VERSION);
	if (background == NULL)
		fputs("knockgw: ready\n", stderr);
	else
		background_ready(background);
	sd_notify(0, "READY=1");
}

bool daemon_run(struct config *config, struct background *background)
{
	time_t now = time(NULL);
	struct daemon daemon = {
		.generation = generation_new(config),
		.started = now,
		.loaded = now,
		.beginning = worker_now(),
	};

	privileges_forbid_dumps();
	/* A client of a socket that leaves before its answer must not end the daemon. */
	signal(SIGPIPE, SIG_IGN);
	log_open(config->log_level, config->log_format, background == NULL);
	if (daemon.generation == NULL) {
		log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"out of memory\"");
		config_free(config);
		return false;
	}
	privileges_prepare(config);
	/* Threads inherit the filter: none of them serves a moment without it. */
	bool started = open_and_drop(&daemon.outlets, config) && confine() && start(&daemon);
	if (started) {
		announce(background);
		event_base_dispatch(daemon.base);
		sd_notify(0, "STOPPING=1");
	}
	daemon.failed = daemon.failed || !started;
	stop(&daemon);
	generation_free(daemon.generation);
	log_event(LOG_LEVEL_INFO, "stopped", "status=%d", daemon.failed ? 1 : 0);
	log_close();
	return !daemon.failed;
}
