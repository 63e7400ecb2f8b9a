/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ruleset_keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "offload.h"
#include "ruleset.h"
#include "ruleset_watch.h"

/* Somebody who removes the table again and again is answered once in that time. */
static const struct timeval RESTORE_INTERVAL = {.tv_sec = 1};

/* Rules of others often change many times in a row: they are looked at once for all. */
static const struct timeval OFFLOAD_INTERVAL = {.tv_sec = 1};

/* How long to wait before a change that failed is tried again: twice as long each time. */
enum { FIRST_PAUSE = 100, LONGEST_PAUSE = 10000 }; /* milliseconds */

struct ruleset_keeper {
	const struct config *config;
	struct nft *nft; /* NULL with manage_ruleset = false */
	struct ruleset_watch *watch;
	struct event *changes;
	struct event *rest;   /* until the watch is looked at again */
	struct event *others; /* rules of others are to be looked at */
	struct event *again;  /* follows the states of backends */
	unsigned int failed;  /* attempts to do so, in a row: the table lags behind */
	bool installed;
	char offload[OFFLOAD_TEXT_SIZE]; /* what was last said of them */
};

/* Rules of others that take connections out of our sight, each told once. */
static void look_for_offload(struct ruleset_keeper *keeper)
{
	char text[OFFLOAD_TEXT_SIZE] = "";

	if (offload_find(keeper->config, text) < 0)
		snprintf(text, sizeof(text), "reason=\"rules cannot be listed: %s\"",
			 strerror(errno));
	if (text[0] != '\0' && strcmp(text, keeper->offload) != 0)
		log_event(LOG_LEVEL_WARNING, "offload", "%s", text);
	memcpy(keeper->offload, text, sizeof(text));
}

static void on_others(evutil_socket_t fd, short events, void *context)
{
	(void)fd;
	(void)events;
	look_for_offload(context);
}

static void others_changed(struct ruleset_keeper *keeper)
{
	if (!event_pending(keeper->others, EV_TIMEOUT, NULL))
		event_add(keeper->others, &OFFLOAD_INTERVAL);
}

/* What the kernel tells about our own changes is no news. */
static void forget_changes(struct ruleset_keeper *keeper)
{
	if (keeper->watch != NULL)
		ruleset_watch_forget(keeper->watch);
}

/* The table is what config wants, states of backends and all. */
static void settled(struct ruleset_keeper *keeper, const struct config *config)
{
	keeper->config = config;
	if (keeper->again != NULL)
		event_del(keeper->again);
	if (keeper->failed > 0)
		log_event(LOG_LEVEL_WARNING, "backends-changed", "failed_attempts=%u",
			  keeper->failed);
	keeper->failed = 0;
}

static bool install(struct ruleset_keeper *keeper, const struct config *config,
		    char error[static NFT_ERROR_SIZE])
{
	bool installed = nft_install(keeper->nft, config, error);

	forget_changes(keeper);
	keeper->installed = keeper->installed || installed;
	if (installed)
		settled(keeper, config);
	return installed;
}

/* Connections that were opened meanwhile carry no mark: with the table back they are refused. */
static void restore(struct ruleset_keeper *keeper)
{
	char error[NFT_ERROR_SIZE];

	keeper->installed = false;
	if (install(keeper, keeper->config, error))
		log_event(LOG_LEVEL_WARNING, "ruleset-restored",
			  "table=\"inet " RULESET_TABLE "\"");
	else
		log_event(LOG_LEVEL_ERROR, "ruleset-not-restored",
			  "reason=\"%s\" action=\"try again\"", error);
	event_del(keeper->changes);
	event_add(keeper->rest, &RESTORE_INTERVAL);
}

static void on_change(evutil_socket_t fd, short events, void *context)
{
	struct ruleset_keeper *keeper = context;
	char who[RULESET_WATCH_WHO_SIZE];
	bool others;

	(void)fd;
	(void)events;
	bool ours = ruleset_watch_changed(keeper->watch, who, &others);
	/* What is forgotten when our table is restored may be about others. */
	if (ours || others)
		others_changed(keeper);
	if (!ours)
		return;
	log_event(LOG_LEVEL_ERROR, "ruleset-changed",
		  "table=\"inet " RULESET_TABLE "\" by=%s action=restore", who);
	restore(keeper);
}

static void on_rest(evutil_socket_t fd, short events, void *context)
{
	struct ruleset_keeper *keeper = context;

	(void)fd;
	(void)events;
	if (keeper->installed)
		event_add(keeper->changes, NULL);
	else
		restore(keeper);
}

static void follow_in(struct ruleset_keeper *keeper, unsigned int milliseconds)
{
	const struct timeval pause = {.tv_sec = milliseconds / 1000,
				      .tv_usec = (suseconds_t)(milliseconds % 1000) * 1000};

	event_add(keeper->again, &pause);
}

static void on_again(evutil_socket_t fd, short events, void *context)
{
	struct ruleset_keeper *keeper = context;
	unsigned int pause = LONGEST_PAUSE;
	char error[NFT_ERROR_SIZE];

	(void)fd;
	(void)events;
	if (ruleset_keeper_update(keeper, keeper->config, error))
		return;
	if (keeper->failed < 7)
		pause = (unsigned int)FIRST_PAUSE << keeper->failed;
	keeper->failed++;
	log_event(LOG_LEVEL_ERROR, "backends-not-changed",
		  "reason=\"%s\" action=\"try again\" after_ms=%u", error, pause);
	follow_in(keeper, pause);
	ruleset_keeper_mend(keeper);
}

static bool watch(struct ruleset_keeper *keeper, struct event_base *base)
{
	keeper->watch = ruleset_watch_open();
	if (keeper->watch == NULL)
		return false;
	keeper->changes = event_new(base, ruleset_watch_fd(keeper->watch), EV_READ | EV_PERSIST,
				    on_change, keeper);
	keeper->rest = event_new(base, -1, 0, on_rest, keeper);
	keeper->others = event_new(base, -1, 0, on_others, keeper);
	keeper->again = event_new(base, -1, 0, on_again, keeper);
	return keeper->changes != NULL && keeper->rest != NULL && keeper->others != NULL &&
	       keeper->again != NULL && event_add(keeper->changes, NULL) == 0;
}

static bool start(struct ruleset_keeper *keeper, struct event_base *base,
		  char error[static NFT_ERROR_SIZE])
{
	if (!keeper->config->manage_ruleset) {
		log_event(LOG_LEVEL_INFO, "ruleset-left-alone", "manage_ruleset=false");
		return true;
	}
	keeper->nft = nft_open();
	if (keeper->nft == NULL) {
		snprintf(error, NFT_ERROR_SIZE, "libnftables does not start");
		return false;
	}
	if (!watch(keeper, base)) {
		snprintf(error, NFT_ERROR_SIZE, "changes of rules cannot be watched: %s",
			 strerror(errno));
		return false;
	}
	if (!install(keeper, keeper->config, error))
		return false;
	log_event(LOG_LEVEL_INFO, "ruleset-installed", "table=\"inet " RULESET_TABLE "\" queue=%s",
		  nft_native_queue(keeper->nft) ? "native" : "xtables");
	return true;
}

struct ruleset_keeper *ruleset_keeper_start(struct event_base *base, const struct config *config)
{
	char error[NFT_ERROR_SIZE] = "out of memory";
	struct ruleset_keeper *keeper = calloc(1, sizeof(*keeper));

	if (keeper != NULL) {
		keeper->config = config;
		if (start(keeper, base, error)) {
			look_for_offload(keeper);
			return keeper;
		}
	}
	log_event(LOG_LEVEL_ERROR, "start-failed", "reason=\"%s\"", error);
	ruleset_keeper_stop(keeper);
	return NULL;
}

bool ruleset_keeper_update(struct ruleset_keeper *keeper, const struct config *config,
			   char error[static NFT_ERROR_SIZE])
{
	bool other = config != keeper->config;
	bool updated = keeper->nft == NULL;

	if (!updated) {
		snprintf(error, NFT_ERROR_SIZE, "the table is not there");
		updated = keeper->installed && nft_update(keeper->nft, config, error);
		forget_changes(keeper);
	}
	if (updated)
		settled(keeper, config);
	if (!updated) {
		/* Somebody else has removed or changed the table, and was not noticed yet. */
		log_event(LOG_LEVEL_WARNING, "ruleset-lost", "reason=\"%s\" action=install", error);
		updated = install(keeper, config, error);
	}
	/* Backends that change do not list all rules each time; what was forgotten may be about
	 * others. */
	if (updated && other)
		look_for_offload(keeper);
	else if (updated && keeper->others != NULL)
		others_changed(keeper);
	return updated;
}

void ruleset_keeper_follow(struct ruleset_keeper *keeper)
{
	if (keeper->again != NULL)
		follow_in(keeper, 0);
}

const char *ruleset_keeper_word(const struct ruleset_keeper *keeper)
{
	if (!keeper->installed)
		return "unmanaged";
	return nft_native_queue(keeper->nft) ? "native" : "xtables";
}

void ruleset_keeper_mend(struct ruleset_keeper *keeper)
{
	if (keeper->nft != NULL && !nft_whole(keeper->nft))
		restore(keeper);
}

void ruleset_keeper_stop(struct ruleset_keeper *keeper)
{
	if (keeper == NULL)
		return;
	if (keeper->nft != NULL && nft_present(keeper->nft))
		log_event(LOG_LEVEL_WARNING, "ruleset-kept",
			  "reason=\"ports stay closed, and egress connections wait, until "
			  "knockgw serves again\" " RULESET_TO_REMOVE);
	if (keeper->changes != NULL)
		event_free(keeper->changes);
	if (keeper->rest != NULL)
		event_free(keeper->rest);
	if (keeper->others != NULL)
		event_free(keeper->others);
	if (keeper->again != NULL)
		event_free(keeper->again);
	ruleset_watch_close(keeper->watch);
	nft_close(keeper->nft);
	free(keeper);
}

bool ruleset_keeper_remove(char error[static NFT_ERROR_SIZE])
{
	struct nft *nft = nft_open();

	if (nft == NULL) {
		snprintf(error, NFT_ERROR_SIZE, "libnftables does not start");
		return false;
	}
	bool removed = nft_remove(nft, error);
	nft_close(nft);
	return removed;
}
