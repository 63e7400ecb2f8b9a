/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "protect_internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "token.h"

enum { EXPIRE_BUDGET = 64 };

static struct table_layout connection_layout(uint32_t capacity)
{
	return (struct table_layout){
		.capacity = capacity,
		.value_size = sizeof(struct connection),
		.fixed_size = 0,
		.kind = 0x70726f74, /* "prot" */
		.version = 1,
	};
}

static void free_all(struct protect *protect)
{
	hold_pool_close(&protect->held);
	hold_pool_close(&protect->kept);
	free(protect);
}

struct protect *protect_new(const struct protect_options *options,
			    const uint8_t hash_key[static 16], uint64_t now)
{
	struct table_layout layout = connection_layout(options->capacity);
	struct protect *protect = calloc(1, sizeof(*protect));

	if (protect == NULL)
		return NULL;
	if (!hold_pool_open(&protect->held, options->holds) ||
	    !hold_pool_open(&protect->kept, options->capacity)) {
		free_all(protect);
		return NULL;
	}
	protect->output = options->output;
	protect->due = UINT64_MAX;
	protect->size = table_size(&layout);
	/* Mapped rather than allocated: pages that no connection ever uses cost nothing. */
	void *memory = mmap(NULL, protect->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		free_all(protect);
		return NULL;
	}
	protect->connections = table_init(memory, &layout, hash_key, now);
	return protect;
}

void protect_free(struct protect *protect)
{
	if (protect == NULL)
		return;
	munmap(protect->connections, protect->size);
	free_all(protect);
}

void protect_use_guards(struct protect *protect, struct guards *guards)
{
	protect->guards = guards;
}

void set_phase(struct protect *protect, struct connection *connection, enum connection_phase phase,
	       uint32_t timeout, uint64_t now)
{
	if (connection->phase == PHASE_PENDING)
		protect->pending--;
	if (phase == PHASE_PENDING)
		protect->pending++;
	connection->phase = (uint8_t)phase;
	/* One that is pending ends in time, and then is kept for as long: give_up(). */
	if (connection->dead_count > 0 && phase != PHASE_PENDING && timeout < DEAD_TIMEOUT)
		timeout = DEAD_TIMEOUT;
	table_touch(protect->connections, connection, now, timeout);
}

void bury(struct connection *connection)
{
	connection->phase = PHASE_DEAD;
	if (connection->dead_count < DEAD_MAX)
		connection->dead[connection->dead_count++] = connection->isn;
}

/* A tuple that has spoilt as many ISNs as can be remembered gets no other chance. */
static bool is_dead(const struct connection *connection, uint32_t isn)
{
	for (unsigned int i = 0; i < connection->dead_count; i++)
		if (connection->dead[i] == isn)
			return true;
	return connection->dead_count == DEAD_MAX;
}

void kill_connection(struct segment *segment, uint32_t server_expects, enum reason reason,
		     struct decision *decision)
{
	decision->peer_sequence = segment->acknowledgement;
	segment_become_reset(segment, server_expects);
	decision->modified = true;
	decide(decision, VERDICT_RESET, reason);
}

/* A copy of a SYN that was authorised. It is judged like the first one, since its key may no longer
 * be good; but a copy has a later TSval, and the token was made with the first. */
static bool is_repeated(const struct connection *known, const struct segment *segment)
{
	return known != NULL && known->isn == segment->sequence && known->phase != PHASE_DEAD;
}

/* Whether a key of the service, good now and for this client, made the token. */
static enum reason judge_token(struct protect *protect, const struct segment *segment,
			       uint32_t tsval, struct moment now, struct decision *decision)
{
	const struct service *service = decision->service;
	enum reason reason = service_judge_token(service, &segment->tuple, tsval, segment->sequence,
						 now.wall, &decision->key);

	if (reason != REASON_TOKEN_VALID)
		return reason;
	if (guards_replayed(protect->guards, service, &segment->tuple, segment->sequence, tsval,
			    now.steady, &decision->alarms))
		return REASON_TOKEN_REPLAYED;
	if (service->integrity > 0 && (segment->flags & TCP_URG) != 0)
		return REASON_URGENT;
	return reason;
}

/* Remembers an authorised SYN. Returns false when there is no room and the connection cannot do
 * without: in authentication mode a retransmission is simply judged again. */
static bool remember(struct protect *protect, struct connection *known,
		     const struct service *service, const struct segment *segment, uint64_t now)
{
	bool integrity = service->integrity > 0;
	struct connection connection = {
		.isn = segment->sequence,
		.tsval = segment->tsval,
		.phase = integrity ? PHASE_PENDING : PHASE_VERIFIED,
		.integrity = service->integrity,
	};
	uint32_t timeout = integrity ? service_pending_timeout(service) : VERIFIED_TIMEOUT;

	if (known != NULL) {
		release_hold(protect, known);
		set_phase(protect, known, connection.phase, timeout, now);
		known->isn = connection.isn;
		known->tsval = connection.tsval;
		known->integrity = connection.integrity;
		known->established = false;
		known->server = connection.server;
		return true;
	}
	if (table_insert(protect->connections, &segment->tuple, &connection, now, timeout) == NULL)
		return !integrity;
	protect->pending += integrity;
	return true;
}

static void judge_syn(struct protect *protect, struct segment *segment, struct moment now,
		      struct decision *decision)
{
	const struct service *service = decision->service;
	bool integrity = service->integrity > 0;
	bool whole = segment->packet->captured >= segment->packet->length;
	struct connection *known = table_find(protect->connections, &segment->tuple);

	if (guards_hold(protect->guards, service, &segment->tuple.source, now.steady)) {
		decide(decision, VERDICT_CLOSED, REASON_SOURCE_HELD);
		return;
	}
	/* Of a SYN with data the kernel may have handed over the headers only: conntrack, which has
	 * seen all of it, has then checked it for us. */
	if (whole && !segment_checksum_valid(segment)) {
		decide(decision, VERDICT_CLOSED, REASON_CHECKSUM_WRONG);
		return;
	}
	if (known != NULL && is_dead(known, segment->sequence)) {
		decide(decision, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
		return;
	}
	bool repeated = is_repeated(known, segment);
	enum reason reason = judge_token(protect, segment, repeated ? known->tsval : segment->tsval,
					 now, decision);
	if (reason != REASON_TOKEN_VALID) {
		decide(decision, VERDICT_CLOSED, reason);
		return;
	}
	if (!repeated && !remember(protect, known, service, segment, now.steady)) {
		decide(decision, VERDICT_CLOSED, REASON_TABLE_FULL);
		return;
	}
	decide(decision, integrity ? VERDICT_PENDING : VERDICT_VERIFIED,
	       repeated ? REASON_SYN_REPEATED : REASON_TOKEN_VALID);
	/* In integrity mode it must neither open anew without a check nor take the mark away from
	 * the connection that was checked. */
	if (repeated && integrity && known->phase == PHASE_VERIFIED)
		decision->verdict = VERDICT_DROP;
	/* Nothing may reach the application before the check, so Fast Open data stays behind. */
	if (decision->verdict == VERDICT_PENDING && segment->payload_length > 0) {
		segment_strip_payload(segment);
		decision->modified = true;
	}
}

static void judge_segment(struct protect *protect, struct segment *segment, struct moment now,
			  struct decision *decision)
{
	if (segment_is_initial_syn(segment)) {
		judge_syn(protect, segment, now, decision);
		return;
	}
	struct connection *connection = table_find(protect->connections, &segment->tuple);
	if (connection == NULL)
		decide(decision, VERDICT_LOOKUP, REASON_NO_CONNECTION);
	else if (connection->phase == PHASE_PENDING)
		judge_pending(protect, connection, segment, now, decision);
	else if (connection->phase == PHASE_VERIFIED)
		decide(decision, VERDICT_PASS, REASON_CONNECTION_VERIFIED);
	else if ((segment->flags & TCP_RST) != 0 && segment->payload_length == 0)
		/* Maybe our own, on its way to a server on this host. It opens nothing. */
		decide(decision, VERDICT_PENDING, REASON_CONNECTION_DEAD);
	else
		decide(decision, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
}

void protect_judge(struct protect *protect, const struct service_table *services,
		   struct segment *segment, struct moment now, struct decision *decision)
{
	struct endpoint source = segment->tuple.source;

	*decision = (struct decision){.verdict = VERDICT_CLOSED};
	decision->service = service_table_find(services, &segment->tuple.destination);
	if (decision->service == NULL) {
		decide(decision, VERDICT_CLOSED, REASON_NO_SERVICE);
		return;
	}
	judge_segment(protect, segment, now, decision);
	guards_note(protect->guards, decision, &source, now.steady);
}

void protect_resolve(struct segment *segment, enum connection_state state,
		     struct decision *decision)
{
	switch (state) {
	case CONNECTION_VERIFIED:
		decide(decision, VERDICT_PASS, REASON_CONNECTION_VERIFIED);
		break;
	case CONNECTION_PENDING:
		kill_connection(segment, segment->sequence, REASON_PENDING_UNKNOWN, decision);
		/* An earlier daemon may have acknowledged what the server does not have: the server
		 * then says what it expects, and protect_reply takes it from there. */
		decision->keep_entry = true;
		break;
	default:
		decide(decision, VERDICT_CLOSED, REASON_NO_CONNECTION);
		break;
	}
}

struct expiry {
	struct protect *protect;
	unsigned int count;
	struct {
		struct tuple tuple;
		struct connection connection;
	} list[EXPIRE_BUDGET];
};

static void forget(void *context, const struct tuple *tuple, void *value)
{
	struct expiry *expiry = context;
	const struct connection *connection = value;

	if (connection->phase != PHASE_PENDING)
		return;
	expiry->protect->pending--;
	expiry->list[expiry->count].tuple = *tuple;
	expiry->list[expiry->count++].connection = *connection;
}

uint64_t protect_tick(struct protect *protect, uint64_t now)
{
	struct expiry expiry = {.protect = protect};

	table_expire(protect->connections, now, EXPIRE_BUDGET, forget, &expiry);
	for (unsigned int i = 0; i < expiry.count; i++)
		give_up(protect, &expiry.list[i].tuple, &expiry.list[i].connection, now);
	if (now >= protect->due)
		tick_holds(protect, now);
	return protect->due;
}

uint32_t protect_held(const struct protect *protect)
{
	return protect->held.used;
}

uint32_t protect_pending(const struct protect *protect)
{
	return protect->pending;
}
