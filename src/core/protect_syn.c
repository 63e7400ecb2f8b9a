/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYNs. Who sends one need not be who has a connection on that tuple: a SYN can be recorded and
 * sent again. So while there is one it changes nothing before the server has answered it. */
#include "protect_internal.h"

/* A tuple that has spoilt as many ISNs as can be remembered gets no other chance. */
static bool is_dead(const struct connection *connection, uint32_t isn)
{
	for (unsigned int i = 0; i < connection->dead_count; i++)
		if (connection->dead[i] == isn)
			return true;
	return connection->dead_count == DEAD_MAX;
}

/* Whether its ISN is known, and may be in use. */
static bool is_living(const struct connection *known)
{
	return known != NULL && (known->phase == PHASE_PENDING || known->phase == PHASE_VERIFIED);
}

/* A copy of the SYN with which the connection began. */
static bool is_repeated(const struct connection *known, const struct segment *segment)
{
	return is_living(known) && known->isn == segment->sequence;
}

/* What is to be remembered of an authorised SYN. A copy has a later TSval than the first one, with
 * which the token was made. */
static struct syn syn_of(const struct connection *known, const struct service *service,
			 const struct segment *segment)
{
	struct syn syn = {
		.isn = segment->sequence,
		.tsval = segment->tsval,
		.integrity = service->integrity,
		.present = true,
	};

	if (is_repeated(known, segment))
		syn.tsval = known->tsval;
	else if (known != NULL && known->candidate.present &&
		 known->candidate.isn == segment->sequence)
		syn.tsval = known->candidate.tsval;
	return syn;
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

/* The connection begins with this SYN, whatever it was before. */
static void begin(struct protect *protect, struct connection *connection, const struct syn *syn,
		  enum connection_phase phase, uint32_t timeout, uint64_t now)
{
	bool repeated = connection->phase == PHASE_PENDING && connection->isn == syn->isn;

	release_hold(protect, connection);
	set_phase(protect, connection, phase, timeout, now);
	connection->isn = syn->isn;
	connection->tsval = syn->tsval;
	connection->integrity = syn->integrity;
	connection->established = false;
	connection->candidate = (struct syn){0};
	/* The server may have answered the first copy, but no other SYN. */
	if (repeated)
		return;
	connection->server = (struct server_view){0};
	connection->ended = 0;
}

/* The connection of a tuple, known or new. Returns NULL when there is no room. */
static struct connection *provide(struct protect *protect, struct connection *known,
				  const struct tuple *tuple, uint64_t now)
{
	const struct connection connection = {.phase = PHASE_UNKNOWN};

	if (known != NULL)
		return known;
	return table_insert(protect->connections, tuple, &connection, now, VERIFIED_TIMEOUT);
}

/* Nothing may reach the application before the check, so Fast Open data stays behind; and the
 * stream shall be what the segments say. */
static void make_plain(struct segment *segment, struct decision *decision)
{
	blank_multipath(segment, decision);
	if (segment->payload_length == 0)
		return;
	segment_strip_payload(segment);
	decision->modified = true;
}

static void admit_pending(struct protect *protect, struct connection *known,
			  struct segment *segment, uint64_t now, struct decision *decision)
{
	const struct service *service = decision->service;
	const struct syn syn = syn_of(known, service, segment);
	bool repeated = is_repeated(known, segment) && known->phase == PHASE_PENDING;
	struct connection *connection = provide(protect, known, &segment->tuple, now);

	if (connection == NULL) {
		decide(decision, VERDICT_CLOSED, REASON_TABLE_FULL);
		return;
	}
	begin(protect, connection, &syn, PHASE_PENDING, service_pending_timeout(service), now);
	decide(decision, VERDICT_PENDING, repeated ? REASON_SYN_REPEATED : REASON_TOKEN_VALID);
	make_plain(segment, decision);
}

/* Authentication mode can do without memory: a retransmission is then simply judged again. */
static void admit_verified(struct protect *protect, struct connection *known,
			   const struct segment *segment, uint64_t now, struct decision *decision)
{
	const struct syn syn = syn_of(known, decision->service, segment);

	decide(decision, VERDICT_VERIFIED, REASON_SYN_REPEATED);
	if (is_repeated(known, segment)) {
		/* Or a new one with the same token, since a reload. */
		known->ended = 0;
		return;
	}
	decision->reason = REASON_TOKEN_VALID;
	struct connection *connection = provide(protect, known, &segment->tuple, now);
	if (connection != NULL)
		begin(protect, connection, &syn, PHASE_VERIFIED, VERIFIED_TIMEOUT, now);
}

static void admit(struct protect *protect, struct connection *known, struct segment *segment,
		  uint64_t now, struct decision *decision)
{
	if (decision->service->integrity > 0)
		admit_pending(protect, known, segment, now, decision);
	else
		admit_verified(protect, known, segment, now, decision);
}

void judge_syn(struct protect *protect, struct segment *segment, bool tracked, struct moment now,
	       struct decision *decision)
{
	const struct service *service = decision->service;
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
	enum reason reason =
		judge_token(protect, segment, syn_of(known, service, segment).tsval, now, decision);
	if (reason != REASON_TOKEN_VALID)
		decide(decision, VERDICT_CLOSED, reason);
	else if (tracked)
		decide(decision, VERDICT_LOOKUP, reason);
	else
		admit(protect, known, segment, now.steady, decision);
}

/* Goes on to the server, which knows whether it still has the connection: it then asks the client,
 * whose RST makes room (RFC 9293 3.10.7.4). */
static void leave_to_server(struct protect *protect, struct connection *known,
			    struct segment *segment, bool verified, uint64_t now,
			    struct decision *decision)
{
	struct connection *connection = provide(protect, known, &segment->tuple, now);

	if (connection == NULL) {
		decide(decision, VERDICT_CLOSED, REASON_TABLE_FULL);
		return;
	}
	connection->candidate = syn_of(known, decision->service, segment);
	if (connection->phase == PHASE_DEAD)
		connection->phase = PHASE_UNKNOWN;
	/* Remembered as long as there may be copies, but a check is not put off. */
	if (connection->phase != PHASE_PENDING)
		set_phase(protect, connection, (enum connection_phase)connection->phase,
			  VERIFIED_TIMEOUT, now);
	decide(decision, verified ? VERDICT_PASS : VERDICT_PENDING, REASON_TUPLE_BUSY);
	make_plain(segment, decision);
}

/* It must neither open anew without a check nor take the mark away from the connection that was
 * checked. */
static void repeat(const struct connection *known, struct segment *segment,
		   struct decision *decision)
{
	decide(decision, known->phase == PHASE_PENDING ? VERDICT_PENDING : VERDICT_DROP,
	       REASON_SYN_REPEATED);
	if (decision->verdict == VERDICT_PENDING)
		make_plain(segment, decision);
}

void resolve_syn(struct protect *protect, struct segment *segment, enum connection_state state,
		 struct moment now, struct decision *decision)
{
	struct connection *known = table_find(protect->connections, &segment->tuple);
	bool verified = state == CONNECTION_VERIFIED || state == CONNECTION_ENDING ||
			state == CONNECTION_ENDED;

	if (state == CONNECTION_UNKNOWN)
		decide(decision, VERDICT_DROP, REASON_TUPLE_BUSY);
	else if (decision->service->integrity > 0 && is_repeated(known, segment))
		repeat(known, segment, decision);
	else if (decision->service->integrity > 0 && (is_living(known) || verified))
		leave_to_server(protect, known, segment, verified, now.steady, decision);
	else
		admit(protect, known, segment, now.steady, decision);
}

/* The SYN of the connection, of which the server has made this new one; NULL: none that we know. */
static const struct syn *answered_syn(const struct connection *connection, uint32_t isn,
				      struct syn *own)
{
	*own = (struct syn){connection->isn, connection->tsval, connection->integrity, true, 0};
	if (is_living(connection) && connection->isn == isn)
		return own;
	if (connection->candidate.present && connection->candidate.isn == isn)
		return &connection->candidate;
	return NULL;
}

void judge_answer(struct protect *protect, struct connection *connection,
		  const struct segment *segment, bool verified, uint64_t now,
		  struct decision *decision)
{
	struct syn own;

	/* Since a reload it is in authentication mode. */
	if (decision->service->integrity == 0 && connection != NULL &&
	    connection->phase == PHASE_VERIFIED)
		return;
	decide(decision, VERDICT_DROP, REASON_PENDING_UNKNOWN);
	if (connection == NULL || (segment->flags & TCP_ACK) == 0)
		return;
	const struct syn *answered = answered_syn(connection, segment->acknowledgement - 1, &own);
	if (answered == NULL)
		return;
	const struct syn syn = *answered;
	const struct server_view *server = &connection->server;
	bool repeated =
		answered == &own && server->answered && server->first == segment->sequence + 1;
	bool first = answered == &own && !server->answered && connection->phase == PHASE_PENDING;
	if (!repeated && !first)
		begin(protect, connection, &syn, PHASE_PENDING,
		      service_pending_timeout(decision->service), now);
	if (!repeated)
		server_view_update(&connection->server, segment);
	decide(decision, VERDICT_PASS, REASON_SERVER_REPLY);
	if (verified && connection->phase == PHASE_PENDING)
		decision->verdict = VERDICT_PENDING;
}
