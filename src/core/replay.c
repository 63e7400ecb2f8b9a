/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "replay.h"

#include <stdlib.h>

#include "protect.h"
#include "siphash.h"

enum { ENGINE_HOLDS = 1024 };

enum outcome { OUTCOME_REFUSED_SYN, OUTCOME_PENDING, OUTCOME_OPENED, OUTCOME_REFUSED_DATA };

/* A connection of the capture. */
struct attempt {
	struct tuple tuple;
	uint32_t isn;
	enum outcome outcome;
	bool open;      /* the kernel would forward it without asking */
	uint64_t begun; /* counts SYNs: by its latest one that was authorised */
	size_t older;   /* the next older one in the same bucket, counted from 1; 0: none */
};

enum { BUCKETS = 65536 };

struct replay {
	const struct service_table *services;
	struct protect *engine;
	struct attempt *attempts;
	size_t count;
	size_t room;
	uint64_t syns;
	size_t newest[BUCKETS]; /* of each bucket, counted from 1; 0: none */
};

/* Nobody attacks the hash table of a program that reads a file. */
static const uint8_t hash_key[16];

static size_t *bucket_of(struct replay *replay, const struct tuple *tuple)
{
	return &replay->newest[siphash(hash_key, tuple, sizeof(*tuple)) % BUCKETS];
}

/* What the daemon would send of its own is in the capture, or it is not. */
static void ignore(void *context, const struct protect_action *action)
{
	(void)context;
	(void)action;
}

struct replay *replay_new(const struct service_table *services, uint32_t capacity)
{
	const struct protect_options options = {
		.capacity = capacity,
		.holds = ENGINE_HOLDS,
		.client_only = true,
		.output = {.act = ignore},
	};
	struct replay *replay = calloc(1, sizeof(*replay));

	if (replay == NULL)
		return NULL;
	replay->services = services;
	replay->engine = protect_new(&options, hash_key, 0);
	if (replay->engine == NULL) {
		free(replay);
		return NULL;
	}
	return replay;
}

void replay_use_guards(struct replay *replay, struct guards *guards)
{
	protect_use_guards(replay->engine, guards);
}

void replay_free(struct replay *replay)
{
	if (replay == NULL)
		return;
	protect_free(replay->engine);
	free(replay->attempts);
	free(replay);
}

bool replay_read(struct packet *packet, struct segment *segment, uint8_t *bytes, size_t length)
{
	if (packet_parse(packet, bytes, length) != REASON_NONE ||
	    segment_parse(segment, packet) != REASON_NONE)
		return false;
	packet->checksum_ready = !segment_checksum_is_partial(segment);
	return true;
}

const char *replay_kind(const struct segment *segment)
{
	if (segment_is_initial_syn(segment))
		return "syn";
	return segment->payload_length > 0 ? "data" : "other";
}

/* The one that segments behind the SYN belong to: that of their tuple which was authorised last,
 * and it may be an old one whose SYN came again. A SYN that was refused in between takes nothing
 * over. */
static struct attempt *attempt_of_tuple(struct replay *replay, const struct tuple *tuple)
{
	struct attempt *latest = NULL;

	for (size_t i = *bucket_of(replay, tuple); i > 0; i = replay->attempts[i - 1].older) {
		struct attempt *attempt = &replay->attempts[i - 1];

		if (attempt->begun > (latest != NULL ? latest->begun : 0) &&
		    tuple_equal(&attempt->tuple, tuple))
			latest = attempt;
	}
	return latest;
}

static struct attempt *attempt_of_syn(struct replay *replay, const struct segment *segment)
{
	size_t *newest = bucket_of(replay, &segment->tuple);

	for (size_t i = *newest; i > 0; i = replay->attempts[i - 1].older)
		if (replay->attempts[i - 1].isn == segment->sequence &&
		    tuple_equal(&replay->attempts[i - 1].tuple, &segment->tuple))
			return &replay->attempts[i - 1];
	if (replay->count == replay->room) {
		size_t room = replay->room == 0 ? 64 : replay->room * 2;
		struct attempt *grown = realloc(replay->attempts, room * sizeof(*grown));
		if (grown == NULL)
			return NULL;
		replay->attempts = grown;
		replay->room = room;
	}
	struct attempt *attempt = &replay->attempts[replay->count++];
	*attempt = (struct attempt){
		.tuple = segment->tuple, .isn = segment->sequence, .older = *newest};
	*newest = replay->count;
	return attempt;
}

static enum outcome outcome_after(enum outcome before, const struct decision *decision)
{
	switch (decision->verdict) {
	case VERDICT_VERIFIED:
	case VERDICT_DELIVER:
		return OUTCOME_OPENED;
	case VERDICT_PENDING:
		return before == OUTCOME_REFUSED_SYN ? OUTCOME_PENDING : before;
	case VERDICT_RESET:
		return OUTCOME_REFUSED_DATA;
	default:
		return before;
	}
}

static void note(struct replay *replay, struct attempt *attempt, bool syn,
		 const struct decision *decision)
{
	attempt->outcome = outcome_after(attempt->outcome, decision);
	if (decision->verdict == VERDICT_VERIFIED || decision->verdict == VERDICT_DELIVER)
		attempt->open = true;
	if (!syn || decision->verdict == VERDICT_CLOSED)
		return;
	attempt->begun = ++replay->syns;
	/* Its bytes are to be checked once more. */
	if (decision->verdict == VERDICT_PENDING && decision->reason == REASON_TOKEN_VALID)
		attempt->open = false;
}

bool replay_segment(struct replay *replay, struct segment *segment, struct moment now,
		    struct decision *decision)
{
	bool syn = segment_is_initial_syn(segment);

	if (service_table_find(replay->services, &segment->tuple.destination) == NULL)
		return false;
	struct attempt *attempt =
		syn ? attempt_of_syn(replay, segment) : attempt_of_tuple(replay, &segment->tuple);
	if (!syn && attempt != NULL && attempt->open)
		return false;
	protect_tick(replay->engine, now.steady);
	/* What conntrack would know is not in a capture: each SYN begins a connection. */
	protect_judge(replay->engine, replay->services, segment, false, now, decision);
	if (decision->verdict == VERDICT_LOOKUP)
		protect_resolve(replay->engine, segment, CONNECTION_UNKNOWN, now, decision);
	if (attempt != NULL)
		note(replay, attempt, syn, decision);
	return true;
}

struct replay_summary replay_summary(const struct replay *replay)
{
	struct replay_summary summary = {.connections = replay->count};

	for (size_t i = 0; i < replay->count; i++) {
		enum outcome outcome = replay->attempts[i].outcome;

		summary.opened += outcome == OUTCOME_OPENED;
		summary.pending += outcome == OUTCOME_PENDING;
		summary.refused_syn += outcome == OUTCOME_REFUSED_SYN;
		summary.refused_data += outcome == OUTCOME_REFUSED_DATA;
	}
	return summary;
}
