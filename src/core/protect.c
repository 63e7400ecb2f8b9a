/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "protect_internal.h"

#include <stdlib.h>
#include <sys/mman.h>

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
	protect->client_only = options->client_only;
	protect->began = now;
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

void kill_connection(struct segment *segment, uint32_t server_expects, enum reason reason,
		     struct decision *decision)
{
	decision->peer_sequence = segment->acknowledgement;
	segment_become_reset(segment, server_expects);
	decision->modified = true;
	decide(decision, VERDICT_RESET, reason);
}

void blank_multipath(struct segment *segment, struct decision *decision)
{
	struct tcp_option option;

	while (tcp_option_find(segment, TCP_OPTION_MPTCP, &option)) {
		segment_blank_option(segment, &option);
		decision->modified = true;
	}
}

/* A server with SYN cookies takes the ACK of a handshake once more when the connection is gone, and
 * the kernel still calls it verified. Without payload that comes to nothing, and a cookie is good
 * for two minutes: when the handshake is forgotten, so is the cookie. */
static bool may_begin_anew(const struct protect *protect, const struct connection *known,
			   const struct segment *segment, struct moment now,
			   const struct decision *decision)
{
	return decision->service->integrity > 0 && segment->payload_length > 0 &&
	       (known != NULL || now.steady - protect->began < VERIFIED_TIMEOUT);
}

void note_end(struct protect *protect, struct connection *connection, unsigned int sides,
	      uint64_t now)
{
	connection->ended |= (uint8_t)sides;
	if (connection->phase == PHASE_VERIFIED && connection->ended == BOTH_SIDES)
		set_phase(protect, connection, PHASE_VERIFIED, VERIFIED_TIMEOUT, now);
}

/* Of a segment of the client that is decided about; known is NULL for a connection that we do not
 * know. What goes no further ends nothing. */
static void note_segment(struct protect *protect, struct connection *known,
			 const struct segment *segment, const struct decision *decision,
			 uint64_t now)
{
	bool goes_on = decision->verdict != VERDICT_DROP || decision->reason == REASON_PAYLOAD_HELD;
	/* A FIN with SYN is one for nobody. */
	bool fin = (segment->flags & (TCP_FIN | TCP_SYN)) == TCP_FIN;

	if (known != NULL && goes_on)
		note_end(protect, known, fin ? SIDE_CLIENT : 0, now);
}

/* conntrack takes a FIN that comes twice for one of either side, and does not count those that it
 * holds for out of window. Of a connection that we know we have seen both. */
static enum connection_state true_state(const struct connection *known, enum connection_state state)
{
	if (state != CONNECTION_VERIFIED && state != CONNECTION_ENDING)
		return state;
	if (known != NULL && known->phase == PHASE_VERIFIED)
		return known->ended == BOTH_SIDES ? CONNECTION_ENDED : CONNECTION_VERIFIED;
	return state == CONNECTION_ENDING ? CONNECTION_ENDED : state;
}

static bool is_checked_reset(const struct segment *segment, const struct decision *decision)
{
	return decision->service->integrity > 0 && (segment->flags & TCP_RST) != 0;
}

/* The kernel holds that the server may not take this RST, and the connection is living. If the
 * server took it all the same, none would know but whoever sent it. So the server is made to say
 * where it is, and the client's answer, when it is gone, is an RST that stands there exactly. */
static void become_question(struct segment *segment, struct decision *decision)
{
	segment_become_question(segment);
	decision->modified = true;
}

static void judge_segment(struct protect *protect, struct segment *segment, bool tracked,
			  struct moment now, struct decision *decision)
{
	if (segment_is_initial_syn(segment)) {
		judge_syn(protect, segment, tracked, now, decision);
		return;
	}
	struct connection *connection = table_find(protect->connections, &segment->tuple);
	if (connection == NULL || connection->phase == PHASE_UNKNOWN)
		decide(decision, VERDICT_LOOKUP, REASON_NO_CONNECTION);
	else if (connection->phase == PHASE_PENDING)
		judge_pending(protect, connection, segment, now, decision);
	else if (connection->phase == PHASE_VERIFIED)
		decide(decision,
		       may_begin_anew(protect, connection, segment, now, decision) ||
				       is_checked_reset(segment, decision)
			       ? VERDICT_LOOKUP
			       : VERDICT_PASS,
		       REASON_CONNECTION_VERIFIED);
	else if ((segment->flags & TCP_RST) != 0 && segment->payload_length == 0)
		/* Maybe our own, on its way to a server on this host. It opens nothing. */
		decide(decision, VERDICT_PENDING, REASON_CONNECTION_DEAD);
	else
		decide(decision, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
}

void protect_judge(struct protect *protect, const struct service_table *services,
		   struct segment *segment, bool tracked, struct moment now,
		   struct decision *decision)
{
	struct endpoint source = segment->tuple.source;

	*decision = (struct decision){.verdict = VERDICT_CLOSED};
	decision->service = service_table_find(services, &segment->tuple.destination);
	if (decision->service == NULL) {
		decide(decision, VERDICT_CLOSED, REASON_NO_SERVICE);
		return;
	}
	judge_segment(protect, segment, tracked, now, decision);
	if (decision->verdict != VERDICT_LOOKUP)
		note_segment(protect, table_find(protect->connections, &segment->tuple), segment,
			     decision, now.steady);
	guards_note(protect->guards, decision, &source, now.steady);
}

void protect_resolve(struct protect *protect, struct segment *segment, enum connection_state state,
		     struct moment now, struct decision *decision)
{
	if (segment_is_initial_syn(segment)) {
		resolve_syn(protect, segment, state, now, decision);
		return;
	}
	struct connection *known = table_find(protect->connections, &segment->tuple);
	if (known != NULL && known->phase == PHASE_VERIFIED && state == CONNECTION_ENDED)
		known->ended = BOTH_SIDES;
	switch (true_state(known, state)) {
	case CONNECTION_ENDED:
		decide(decision,
		       may_begin_anew(protect, known, segment, now, decision) ? VERDICT_DROP
									      : VERDICT_PASS,
		       REASON_CONNECTION_ENDED);
		break;
	case CONNECTION_VERIFIED:
		decide(decision, VERDICT_PASS, REASON_CONNECTION_VERIFIED);
		if (is_checked_reset(segment, decision))
			become_question(segment, decision);
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
	note_segment(protect, known, segment, decision, now.steady);
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

	if (connection->phase == PHASE_PENDING)
		expiry->protect->pending--;
	else if (connection->phase != PHASE_VERIFIED || connection->ended != BOTH_SIDES)
		return;
	expiry->list[expiry->count].tuple = *tuple;
	expiry->list[expiry->count++].connection = *connection;
}

/* Nobody has spoken for the client for longer than the kernel keeps an ended connection. If its
 * entry is there all the same, the server still speaks: in a connection, maybe, that it began with
 * a recorded ACK while its cookie was good. What follows must not pass now that we forget. */
static void shut(struct protect *protect, const struct tuple *tuple)
{
	const struct protect_action action = {
		.kind = PROTECT_SHUT, .reason = REASON_CONNECTION_ENDED, .tuple = *tuple};

	protect->output.act(protect->output.context, &action);
}

uint64_t protect_tick(struct protect *protect, uint64_t now)
{
	struct expiry expiry = {.protect = protect};

	table_expire(protect->connections, now, EXPIRE_BUDGET, forget, &expiry);
	for (unsigned int i = 0; i < expiry.count; i++) {
		if (expiry.list[i].connection.phase == PHASE_PENDING)
			give_up(protect, &expiry.list[i].tuple, &expiry.list[i].connection, now);
		else
			shut(protect, &expiry.list[i].tuple);
	}
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
