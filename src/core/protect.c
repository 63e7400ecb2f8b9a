/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "protect.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "token.h"

/* A SYN may be sent again for 127 seconds (tcp_syn_retries = 6); a client may think that long and
 * more before its first payload; a failed connection must outlive every copy of its SYN. */
enum {
	VERIFIED_TIMEOUT = 130 * 1000,
	PENDING_TIMEOUT = 300 * 1000,
	DEAD_TIMEOUT = 300 * 1000,
	EXPIRE_BUDGET = 64,
	DEAD_MAX = 4, /* ISNs that one tuple may spoil */
};

enum connection_phase { PHASE_PENDING = 1, PHASE_VERIFIED, PHASE_DEAD };

struct connection {
	uint32_t isn;
	uint32_t tsval; /* of the SYN: the key is found again with it, so that a reload may revoke
			   it */
	uint8_t phase;
	uint8_t dead_count;
	uint8_t reserved[2];
	/* ISNs whose payload was wrong. They outlive the SYNs that follow on this tuple: else two
	 * tokens in turn would give the 16-bit hash of either any number of tries. */
	uint32_t dead[DEAD_MAX];
};

struct protect {
	struct table *connections;
	size_t size;
	struct guards *guards; /* shared; NULL: none */
	uint32_t pending;
};

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

struct protect *protect_new(uint32_t capacity, const uint8_t hash_key[static 16], uint64_t now)
{
	struct table_layout layout = connection_layout(capacity);
	struct protect *protect = calloc(1, sizeof(*protect));
	if (protect == NULL)
		return NULL;
	protect->size = table_size(&layout);
	/* Mapped rather than allocated: pages that no connection ever uses cost nothing. */
	void *memory = mmap(NULL, protect->size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		free(protect);
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
	free(protect);
}

void protect_use_guards(struct protect *protect, struct guards *guards)
{
	protect->guards = guards;
}

static void decide(struct decision *decision, enum verdict verdict, enum reason reason)
{
	decision->verdict = verdict;
	decision->reason = reason;
}

static void set_phase(struct protect *protect, struct connection *connection,
		      enum connection_phase phase, uint32_t timeout, uint64_t now)
{
	if (connection->phase == PHASE_PENDING)
		protect->pending--;
	if (phase == PHASE_PENDING)
		protect->pending++;
	connection->phase = (uint8_t)phase;
	if (connection->dead_count > 0 && timeout < DEAD_TIMEOUT)
		timeout = DEAD_TIMEOUT;
	table_touch(protect->connections, connection, now, timeout);
}

static void bury(struct protect *protect, struct connection *connection, uint64_t now)
{
	connection->dead[connection->dead_count++] = connection->isn;
	set_phase(protect, connection, PHASE_DEAD, DEAD_TIMEOUT, now);
}

/* A tuple that has spoilt as many ISNs as can be remembered gets no other chance. */
static bool is_dead(const struct connection *connection, uint32_t isn)
{
	for (unsigned int i = 0; i < connection->dead_count; i++)
		if (connection->dead[i] == isn)
			return true;
	return connection->dead_count == DEAD_MAX;
}

/* A wrong check ends it for both sides and for good: what the client sent becomes the RST that the
 * server gets (RFC 9293 3.10.7.4: it must stand exactly at what the server expects next). */
static void kill_connection(struct segment *segment, uint32_t server_expects, enum reason reason,
			    struct decision *decision)
{
	decision->peer_sequence = segment->acknowledgement;
	segment_become_reset(segment, server_expects);
	decision->modified = true;
	decide(decision, VERDICT_RESET, reason);
}

/* The SYN of a connection that is known already. Returns true when that settles it. */
static bool judge_known_syn(const struct connection *connection, const struct segment *segment,
			    struct decision *decision)
{
	bool integrity = decision->service->integrity > 0;

	if (is_dead(connection, segment->sequence)) {
		decide(decision, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
		return true;
	}
	if (connection->isn != segment->sequence)
		return false;
	/* In integrity mode it must neither open anew without a check nor take the mark away from
	 * the connection that was checked. */
	if (connection->phase == PHASE_VERIFIED)
		decide(decision, integrity ? VERDICT_DROP : VERDICT_VERIFIED, REASON_SYN_REPEATED);
	else
		decide(decision, VERDICT_PENDING, REASON_SYN_REPEATED);
	return true;
}

/* Remembers an authorised SYN. Returns false when there is no room and the connection cannot do
 * without: in authentication mode a retransmission is simply judged again. */
static bool remember(struct protect *protect, struct connection *known,
		     const struct segment *segment, bool integrity, uint64_t now)
{
	struct connection connection = {
		.isn = segment->sequence,
		.tsval = segment->tsval,
		.phase = integrity ? PHASE_PENDING : PHASE_VERIFIED,
	};
	uint32_t timeout = integrity ? PENDING_TIMEOUT : VERIFIED_TIMEOUT;

	if (known != NULL) {
		set_phase(protect, known, connection.phase, timeout, now);
		known->isn = connection.isn;
		known->tsval = connection.tsval;
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
	if (known == NULL || !judge_known_syn(known, segment, decision)) {
		enum reason reason =
			service_judge_token(service, &segment->tuple, segment->tsval,
					    segment->sequence, now.wall, &decision->key);
		if (reason == REASON_TOKEN_VALID &&
		    guards_replayed(protect->guards, service, &segment->tuple, segment->sequence,
				    segment->tsval, now.steady, &decision->alarms))
			reason = REASON_TOKEN_REPLAYED;
		if (reason != REASON_TOKEN_VALID) {
			decide(decision, VERDICT_CLOSED, reason);
			return;
		}
		if (!remember(protect, known, segment, integrity, now.steady)) {
			decide(decision, VERDICT_CLOSED, REASON_TABLE_FULL);
			return;
		}
		decide(decision, integrity ? VERDICT_PENDING : VERDICT_VERIFIED,
		       REASON_TOKEN_VALID);
	}
	/* Nothing may reach the application before the check, so Fast Open data stays behind. */
	if (decision->verdict == VERDICT_PENDING && segment->payload_length > 0) {
		segment_strip_payload(segment);
		decision->modified = true;
	}
}

/* The first payload against the hash in the ISN (thesis 3.4). */
static void judge_payload(struct protect *protect, struct connection *connection,
			  struct segment *segment, struct moment now, struct decision *decision)
{
	const struct service *service = decision->service;
	const uint8_t *payload = segment->packet->bytes + segment->payload;
	enum reason reason = REASON_PAYLOAD_WRONG;
	enum reason token = service_judge_token(service, &segment->tuple, connection->tsval,
						connection->isn, now.wall, &decision->key);

	if (segment->payload_length < service->integrity) {
		reason = REASON_PAYLOAD_SHORT;
	} else if (token != REASON_TOKEN_VALID) {
		/* Expired or revoked since the SYN. */
		reason = token;
	} else {
		uint16_t hash =
			token_payload_hash(&decision->key->secret, payload, service->integrity);
		if (token_equal16(hash, (uint16_t)connection->isn)) {
			set_phase(protect, connection, PHASE_VERIFIED, VERIFIED_TIMEOUT,
				  now.steady);
			decide(decision, VERDICT_VERIFIED, REASON_PAYLOAD_VALID);
			return;
		}
	}
	bury(protect, connection, now.steady);
	kill_connection(segment, connection->isn + 1, reason, decision);
}

static void judge_pending(struct protect *protect, struct connection *connection,
			  struct segment *segment, struct moment now, struct decision *decision)
{
	if (segment->packet->captured < segment->packet->length)
		decide(decision, VERDICT_DROP, REASON_TRUNCATED);
	else if (!segment_checksum_valid(segment))
		decide(decision, VERDICT_DROP, REASON_CHECKSUM_WRONG);
	else if (segment->payload_length == 0)
		decide(decision, VERDICT_PENDING, REASON_PENDING_EMPTY);
	else if (segment->sequence != connection->isn + 1 ||
		 (segment->flags & (TCP_SYN | TCP_RST)) != 0)
		decide(decision, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	else
		judge_payload(protect, connection, segment, now, decision);
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
		break;
	default:
		decide(decision, VERDICT_CLOSED, REASON_NO_CONNECTION);
		break;
	}
}

static void forget(void *context, const struct tuple *tuple, void *value)
{
	struct protect *protect = context;
	const struct connection *connection = value;

	(void)tuple;
	protect->pending -= connection->phase == PHASE_PENDING;
}

void protect_expire(struct protect *protect, uint64_t now)
{
	table_expire(protect->connections, now, EXPIRE_BUDGET, forget, protect);
}

uint32_t protect_pending(const struct protect *protect)
{
	return protect->pending;
}
