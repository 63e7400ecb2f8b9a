/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the SYN until the server has the first bytes, and nothing else in their place. They come in
 * one segment or, with reassemble, in several. */
#include "protect_internal.h"
#include "token.h"

static void act(struct protect *protect, enum protect_action_kind kind, enum reason reason,
		const struct tuple *tuple, const struct segment_plan *plan)
{
	const struct protect_action action = {
		.kind = kind, .reason = reason, .tuple = *tuple, .plan = plan};

	protect->output.act(protect->output.context, &action);
}

static void send_reset(struct protect *protect, enum protect_action_kind kind, enum reason reason,
		       const struct tuple *tuple, uint32_t sequence)
{
	const struct segment_plan plan = {
		.tuple = kind == PROTECT_TO_CLIENT ? tuple_reverse(tuple) : *tuple,
		.sequence = sequence,
		.flags = TCP_RST,
		.hop_limit = 64,
		.dont_fragment = true,
	};

	act(protect, kind, reason, tuple, &plan);
}

void give_up(struct protect *protect, const struct tuple *tuple, struct connection *connection,
	     uint64_t now)
{
	const struct hold *hold = hold_of(protect, connection);
	bool delivering = hold != NULL && hold->checked;
	enum reason reason = delivering ? REASON_SERVER_SILENT : REASON_PENDING_TIMEOUT;
	uint32_t expects = hold != NULL ? hold_server_expects(hold) : connection->isn + 1;

	release_hold(protect, connection);
	connection->phase = PHASE_DEAD;
	if (connection->established)
		bury(connection);
	/* What is dead stays dead; and an RST to a server on this host comes by here once more. */
	if (connection->dead_count > 0)
		table_insert(protect->connections, tuple, connection, now, DEAD_TIMEOUT);
	/* A handshake that was never completed ends by itself. */
	if (!connection->established)
		return;
	send_reset(protect, PROTECT_TO_SERVER, reason, tuple, expects);
	send_reset(protect, PROTECT_TO_CLIENT, reason, tuple, connection->acknowledgement);
	act(protect, PROTECT_FORGET, reason, tuple, NULL);
}

/* The first bytes against the hash in the ISN (thesis 3.4). A key may have expired, or been
 * revoked, since the SYN. */
static enum reason check_payload(const struct connection *connection, const struct segment *segment,
				 const uint8_t *payload, struct moment now,
				 struct decision *decision)
{
	const struct service *service = decision->service;
	enum reason reason = service_judge_token(service, &segment->tuple, connection->tsval,
						 connection->isn, now.wall, &decision->key);

	if (reason != REASON_TOKEN_VALID)
		return reason;
	uint16_t hash = token_payload_hash(&decision->key->secret, payload, connection->integrity);
	return token_equal16(hash, (uint16_t)connection->isn) ? REASON_PAYLOAD_VALID
							      : REASON_PAYLOAD_WRONG;
}

/* Ends a connection that was not checked, nor ever will be. */
static void end(struct protect *protect, struct connection *connection, struct segment *segment,
		enum reason reason, uint64_t now, struct decision *decision)
{
	release_hold(protect, connection);
	set_phase(protect, connection, PHASE_DEAD, DEAD_TIMEOUT, now);
	kill_connection(segment, connection->isn + 1, reason, decision);
}

static void fail(struct protect *protect, struct connection *connection, struct segment *segment,
		 enum reason reason, uint64_t now, struct decision *decision)
{
	end(protect, connection, segment, reason, now, decision);
	bury(connection);
}

/* All bytes of the check in one segment. */
static void judge_payload(struct protect *protect, struct connection *connection,
			  struct segment *segment, struct moment now, struct decision *decision)
{
	const uint8_t *payload = segment->packet->bytes + segment->payload;
	enum reason reason = REASON_PAYLOAD_SHORT;

	if (segment->payload_length >= connection->integrity)
		reason = check_payload(connection, segment, payload, now, decision);
	if (reason != REASON_PAYLOAD_VALID) {
		fail(protect, connection, segment, reason, now.steady, decision);
		return;
	}
	/* This very segment may be lost or thrown away behind us, and whoever is on the way can see
	 * to that. So the connection is not verified before the server has said what it has. */
	if (take_hold(protect, connection, segment, true) == NULL) {
		decide(decision, VERDICT_DROP, REASON_HOLD_FULL);
		return;
	}
	table_touch(protect->connections, connection, now.steady, DELIVERY_TIMEOUT);
	decide(decision, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
}

static void become_acknowledgement(const struct hold *hold, struct segment *segment,
				   struct decision *decision)
{
	segment_strip_payload(segment);
	segment_set_sequence(segment, hold_server_expects(hold));
	decision->modified = true;
}

/* The payload stays here; an acknowledgement that the server does not have yet goes on. */
static void hold_back(struct hold *hold, struct segment *segment, struct decision *decision)
{
	bool news = segment->acknowledgement != hold->passed_acknowledgement;

	decide(decision, VERDICT_DROP, REASON_PAYLOAD_HELD);
	if (!news)
		return;
	hold->passed_acknowledgement = segment->acknowledgement;
	become_acknowledgement(hold, segment, decision);
	decision->verdict = VERDICT_PENDING;
}

static void deliver(struct protect *protect, struct connection *connection, struct hold *hold,
		    struct segment *segment, struct moment now, struct decision *decision)
{
	enum reason reason = check_payload(connection, segment, hold->stream.bytes, now, decision);

	if (reason != REASON_PAYLOAD_VALID) {
		fail(protect, connection, segment, reason, now.steady, decision);
		return;
	}
	table_touch(protect->connections, connection, now.steady, DELIVERY_TIMEOUT);
	bool passes = hold_deliver(hold, segment, now.steady, &protect->output);
	decide(decision, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	if (passes)
		return;
	/* It came with other bytes than an earlier copy, or begins late: without them it is an
	 * acknowledgement. */
	become_acknowledgement(hold, segment, decision);
}

static void collect(struct protect *protect, struct connection *connection, struct hold *hold,
		    struct segment *segment, struct moment now, struct decision *decision)
{
	switch (hold_collect(hold, segment, now.steady, &protect->output)) {
	case HOLD_OUTSIDE:
		decide(decision, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
		break;
	case HOLD_WAITING:
		hold_back(hold, segment, decision);
		break;
	case HOLD_ENDED:
		fail(protect, connection, segment, REASON_PAYLOAD_SHORT, now.steady, decision);
		break;
	case HOLD_COMPLETE:
		deliver(protect, connection, hold, segment, now, decision);
		break;
	}
}

/* The check was passed, but the server has not acknowledged all of it. Only these very bytes may
 * reach it: from us, or from a client that sends them again. */
static void follow(const struct hold *hold, struct segment *segment, struct decision *decision)
{
	const struct server_view *server = &hold->server;
	uint32_t harmless = server_view_step_back(server, hold->isn, segment->sequence,
						  segment->acknowledgement);
	bool late = server_view_begins_late(server, hold->isn, segment->sequence, harmless);

	decide(decision, VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	if (hold_contradicts(hold, segment)) {
		decide(decision, VERDICT_DROP, REASON_PAYLOAD_CONFLICT);
	} else if (harmless != segment->acknowledgement) {
		segment_set_acknowledgement(segment, harmless);
		decision->modified = true;
	} else if (hold->delivered == 0 && late) {
		decide(decision, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	}
}

/* A client that gives up knows what it has sent, the server only what it got from us. */
static void judge_reset(struct protect *protect, struct connection *connection,
			struct segment *segment, struct decision *decision)
{
	const struct hold *hold = hold_of(protect, connection);

	decide(decision, VERDICT_PENDING, REASON_PENDING_EMPTY);
	/* Nobody is left to be told when time is up, unless there are signs of life. */
	connection->established = false;
	if (hold == NULL || hold->forwarded ||
	    segment->sequence != connection->isn + 1 + hold->stream.contiguous)
		return;
	uint32_t expects = hold_server_expects(hold);
	release_hold(protect, connection);
	segment_become_reset(segment, expects);
	decision->modified = true;
}

/* The server knows nothing of the bytes that are held. */
static void pass_empty(const struct hold *hold, struct segment *segment, struct decision *decision)
{
	uint32_t expects = hold_server_expects(hold);

	decide(decision, VERDICT_PENDING, REASON_PENDING_EMPTY);
	if ((int32_t)(segment->sequence - expects) <= 0)
		return;
	segment_set_sequence(segment, expects);
	decision->modified = true;
}

/* What comes once the first bytes are held, or on their way. */
static void judge_further(struct protect *protect, struct connection *connection, struct hold *hold,
			  struct segment *segment, struct moment now, struct decision *decision)
{
	hold_note_client(hold, segment);
	if (hold->checked)
		follow(hold, segment, decision);
	else if (segment->payload_length == 0 && (segment->flags & TCP_FIN) == 0)
		pass_empty(hold, segment, decision);
	else
		collect(protect, connection, hold, segment, now, decision);
}

/* Nothing yet, and this segment brings nothing. An end in the middle of nowhere would take the
 * place of a byte that is yet to be checked; and the stream shall not begin there. */
static void judge_empty(const struct connection *connection, const struct segment *segment,
			struct decision *decision)
{
	bool fin = (segment->flags & TCP_FIN) != 0;

	if ((fin && segment->sequence != connection->isn + 1) ||
	    server_view_begins_late(&connection->server, connection->isn, segment->sequence,
				    segment->acknowledgement))
		decide(decision, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	else
		decide(decision, VERDICT_PENDING, REASON_PENDING_EMPTY);
}

/* The first bytes of a connection of which nothing is held yet. */
static void judge_first(struct protect *protect, struct connection *connection,
			struct segment *segment, struct moment now, struct decision *decision)
{
	const struct service *service = decision->service;
	bool whole = segment->payload_length >= connection->integrity;

	if (segment->sequence == connection->isn + 1 && (whole || !service->reassemble)) {
		judge_payload(protect, connection, segment, now, decision);
		return;
	}
	/* A blind guess shall not begin the time that the bytes may take. */
	if (!service->reassemble ||
	    segment->sequence - (connection->isn + 1) >= hold_room(connection->integrity)) {
		decide(decision, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
		return;
	}
	struct hold *hold = take_hold(protect, connection, segment, false);
	if (hold == NULL) {
		decide(decision, VERDICT_DROP, REASON_HOLD_FULL);
		return;
	}
	table_touch(protect->connections, connection, now.steady,
		    service_reassemble_timeout(service));
	hold_note_client(hold, segment);
	collect(protect, connection, hold, segment, now, decision);
}

static void judge_data(struct protect *protect, struct connection *connection,
		       struct segment *segment, struct moment now, struct decision *decision)
{
	struct hold *hold = hold_of(protect, connection);

	if (hold == NULL && segment->payload_length == 0)
		judge_empty(connection, segment, decision);
	else if ((segment->flags & TCP_ACK) == 0)
		decide(decision, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	else if (hold == NULL)
		judge_first(protect, connection, segment, now, decision);
	else
		judge_further(protect, connection, hold, segment, now, decision);
	/* Whoever has just been reset has no hold any more. */
	hold = hold_of(protect, connection);
	if (hold != NULL && hold->due < protect->due)
		protect->due = hold->due;
}

/* Whether a reload has changed what the check means. What was checked already goes on. */
static bool is_outdated(const struct protect *protect, const struct connection *connection,
			const struct service *service)
{
	const struct hold *hold = hold_of(protect, connection);

	return service->integrity != connection->integrity && (hold == NULL || !hold->checked);
}

/* Whether a byte of the check could be taken out of the stream: an urgent pointer says so, even in
 * a segment that brings no byte (RFC 9293 3.8.5). */
static bool is_urgent(const struct connection *connection, const struct segment *segment)
{
	uint32_t end = connection->isn + 1 + connection->integrity;

	return (segment->flags & TCP_URG) != 0 && (int32_t)(segment->sequence - end) < 0;
}

/* Whether the client acknowledges what the server has said in this very connection. A server may be
 * in another one, which began with another SYN: it, and an ACK of its handshake that reaches a
 * server with SYN cookies, must not be taken for this one. */
static bool is_in_step(const struct protect *protect, const struct connection *connection,
		       const struct segment *segment)
{
	return protect->client_only ||
	       server_view_has_said(&connection->server, segment->acknowledgement);
}

void judge_pending(struct protect *protect, struct connection *connection, struct segment *segment,
		   struct moment now, struct decision *decision)
{
	bool empty = segment->payload_length == 0;
	bool strange = (segment->flags & (TCP_SYN | TCP_RST)) != 0;

	if (segment->packet->captured < segment->packet->length) {
		decide(decision, VERDICT_DROP, REASON_TRUNCATED);
		return;
	}
	if (!segment_checksum_valid(segment)) {
		decide(decision, VERDICT_DROP, REASON_CHECKSUM_WRONG);
		return;
	}
	if (is_urgent(connection, segment)) {
		decide(decision, VERDICT_DROP, REASON_URGENT);
		return;
	}
	/* A server with SYN cookies has forgotten that the SYN was without, and believes the ACK.
	 */
	blank_multipath(segment, decision);
	if ((segment->flags & TCP_ACK) != 0 && !strange) {
		if (!is_in_step(protect, connection, segment)) {
			decide(decision, VERDICT_DROP, REASON_ACKNOWLEDGEMENT_WRONG);
			return;
		}
		connection->acknowledgement = segment->acknowledgement;
		connection->established = true;
	}
	if (empty && (segment->flags & TCP_RST) != 0)
		judge_reset(protect, connection, segment, decision);
	else if (strange)
		decide(decision, empty ? VERDICT_PENDING : VERDICT_DROP,
		       empty ? REASON_PENDING_EMPTY : REASON_PAYLOAD_OUT_OF_ORDER);
	else if (is_outdated(protect, connection, decision->service))
		end(protect, connection, segment, REASON_CONFIGURATION_CHANGED, now.steady,
		    decision);
	else
		judge_data(protect, connection, segment, now, decision);
}

/* What the server acknowledged of the bytes that we deliver. */
static void follow_reply(struct protect *protect, struct connection *connection,
			 const struct segment *segment, uint64_t now)
{
	struct hold *hold = hold_of(protect, connection);

	if (hold == NULL || (segment->flags & TCP_ACK) == 0)
		return;
	const struct tuple tuple = hold->tuple;
	hold->server = connection->server;
	if (hold_acknowledged(hold, segment->acknowledgement, now, &protect->output)) {
		release_hold(protect, connection);
		set_phase(protect, connection, PHASE_VERIFIED, VERIFIED_TIMEOUT, now);
		act(protect, PROTECT_VERIFY, REASON_PAYLOAD_VALID, &tuple, NULL);
	} else if (hold->due < protect->due) {
		protect->due = hold->due;
	}
}

void protect_reply(struct protect *protect, const struct service_table *services,
		   struct segment *segment, bool verified, uint64_t now, struct decision *decision)
{
	const struct tuple tuple = tuple_reverse(&segment->tuple);
	struct connection *connection = table_find(protect->connections, &tuple);

	*decision = (struct decision){.verdict = VERDICT_PASS, .reason = REASON_SERVER_REPLY};
	decision->service = service_table_find(services, &tuple.destination);
	if (decision->service == NULL || (verified && decision->service->integrity == 0))
		return;
	if ((segment->flags & TCP_RST) != 0) {
		if (connection != NULL && connection->phase == PHASE_PENDING) {
			release_hold(protect, connection);
			connection->established = false;
			/* What may follow is a handshake. */
			connection->server.answered = false;
		}
		return;
	}
	if ((segment->flags & TCP_SYN) != 0 && (verified || connection != NULL)) {
		judge_answer(protect, connection, segment, verified, now, decision);
		return;
	}
	if (connection != NULL && (segment->flags & TCP_FIN) != 0)
		note_end(protect, connection, SIDE_SERVER, now);
	if (verified)
		return;
	/* The kernel calls it pending and nobody will ever check it: an earlier daemon may have
	 * acknowledged bytes that are lost. */
	if (connection == NULL || connection->phase == PHASE_DEAD ||
	    connection->phase == PHASE_UNKNOWN) {
		kill_connection(segment, segment->sequence, REASON_PENDING_UNKNOWN, decision);
		return;
	}
	/* Without a SYN+ACK it speaks of another connection: it asks the client whether that is
	 * gone (RFC 9293 3.10.7.4). */
	if (connection->phase != PHASE_PENDING || !connection->server.answered)
		return;
	server_view_update(&connection->server, segment);
	follow_reply(protect, connection, segment, now);
}
