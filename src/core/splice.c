/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pool of half-made connections, their timers, and the flows that outlive them. */
#include "splice.h"

#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "secret.h"
#include "siphash.h"
#include "splice_internal.h"

/* Timeouts of joined flows in ms, as conntrack's. */
enum {
	TIMEOUT_ESTABLISHED = 432000000,
	TIMEOUT_CLOSING = 120000, /* a FIN was seen */
	TIMEOUT_DOUBTED = 300000, /* an RST was seen, but not everybody believed it */
	TIMEOUT_RESET = 10000,
};

enum {
	EXPIRE_BUDGET = 256,
	LAYOUT_KIND = 0x73706c63, /* "splc" */
	LAYOUT_VERSION = 1,
};

_Static_assert(sizeof(struct splice_flow) == 48, "no padding: it is kept in files");

struct splice_limits splice_limits_default(uint16_t longest_integrity)
{
	return (struct splice_limits){
		.half_made = 1024,
		.half_made_per_client = 64,
		.buffer_size = (uint32_t)longest_integrity + 1460,
		.collect_timeout = 10000,
		.connect_timeout = 127000, /* Linux: six retransmissions of a SYN */
		.defaults = {.mss_ipv4 = 536, .mss_ipv6 = 1220},
	};
}

struct table_layout splice_table_layout(uint32_t capacity)
{
	return (struct table_layout){
		.capacity = capacity,
		.value_size = sizeof(struct splice_flow),
		.fixed_size = offsetof(struct splice_flow, client_sent),
		.kind = LAYOUT_KIND,
		.version = LAYOUT_VERSION,
	};
}

/* Half-made connections of an earlier process are lost with their bytes. Returns whether there were
 * any. */
static bool break_halves(struct table *flows, uint64_t now)
{
	bool broken = false;

	for (uint32_t slot = 0; slot < table_capacity(flows); slot++) {
		struct splice_flow *flow = table_slot(flows, slot);

		if (flow == NULL)
			continue;
		/* A process may have died between the last stage and the end of its half, whose
		 * place is another connection's soon. */
		flow->half = 0;
		if (flow->stage == SPLICE_JOINED)
			continue;
		flow->stage = SPLICE_BROKEN;
		table_touch(flows, flow, now, TIMEOUT_DOUBTED);
		broken = true;
	}
	return broken;
}

/* Who believes to be connected is told. Where a number is not the exact one, the answer to it asks
 * again (RFC 5961 3.2), and gets the exact one. */
static void reset_broken(struct splice_call *call)
{
	struct table *flows = call->splice->flows;

	for (uint32_t slot = 0; slot < table_capacity(flows); slot++) {
		const struct splice_flow *flow = table_slot(flows, slot);

		if (flow == NULL || flow->stage != SPLICE_BROKEN)
			continue;
		emit_bare_reset(call, table_tuple(flow), flow, true);
		if (flow->token != 0)
			emit_bare_reset(call, table_tuple(flow), flow, false);
	}
}

static void free_wiped(void *memory, size_t size)
{
	if (memory != NULL)
		secret_wipe(memory, size);
	free(memory);
}

static size_t scratch_size(uint32_t buffer_size)
{
	return SEGMENT_HEADERS_MAX + (size_t)buffer_size;
}

static bool allocate(struct splice *splice)
{
	const struct splice_limits *limits = &splice->limits;
	uint32_t buckets = 16;

	while (buckets < UINT32_MAX / 8 && buckets < limits->half_made * 4ULL)
		buckets *= 2;
	splice->clients_mask = buckets - 1;
	splice->scratch_size = scratch_size(limits->buffer_size);
	splice->clients = calloc(buckets, sizeof(*splice->clients));
	splice->halves = calloc(limits->half_made, sizeof(*splice->halves));
	splice->buffers = calloc(limits->half_made, limits->buffer_size);
	splice->scratch = malloc(splice->scratch_size);
	return splice->clients != NULL && splice->halves != NULL && splice->buffers != NULL &&
	       splice->scratch != NULL;
}

struct splice *splice_new(struct table *flows, struct promise_cache *promises,
			  const struct splice_limits *limits, const uint8_t key[static 16],
			  uint64_t now)
{
	struct splice *splice;

	if (limits->half_made == 0 || limits->half_made > UINT16_MAX || limits->buffer_size == 0)
		return NULL;
	splice = calloc(1, sizeof(*splice));
	if (splice == NULL)
		return NULL;
	splice->flows = flows;
	splice->promises = promises;
	splice->limits = *limits;
	splice->next_due = UINT64_MAX;
	memcpy(splice->key, key, sizeof(splice->key));
	if (!allocate(splice)) {
		splice_free(splice);
		return NULL;
	}
	for (uint32_t slot = limits->half_made; slot-- > 0;) {
		struct half *half = &splice->halves[slot];

		half->slot = slot;
		half->buffer = splice->buffers + (size_t)slot * limits->buffer_size;
		half->next_free = splice->free;
		splice->free = slot + 1;
	}
	splice->has_broken = break_halves(flows, now);
	return splice;
}

/* Moves what was collected to longer buffers. */
static bool grow_buffers(struct splice *splice, uint32_t size)
{
	const struct splice_limits *limits = &splice->limits;
	uint8_t *buffers = calloc(limits->half_made, size);
	uint8_t *scratch = malloc(scratch_size(size));

	if (buffers == NULL || scratch == NULL) {
		free(buffers);
		free(scratch);
		return false;
	}
	for (uint32_t slot = 0; slot < limits->half_made; slot++) {
		struct half *half = &splice->halves[slot];
		uint8_t *buffer = buffers + (size_t)slot * size;

		if (half->used)
			memcpy(buffer, half->buffer, half->collected);
		half->buffer = buffer;
	}
	free_wiped(splice->buffers, (size_t)limits->half_made * limits->buffer_size);
	free_wiped(splice->scratch, splice->scratch_size);
	splice->buffers = buffers;
	splice->scratch = scratch;
	splice->scratch_size = scratch_size(size);
	return true;
}

bool splice_use_limits(struct splice *splice, const struct splice_limits *limits)
{
	struct splice_limits old = splice->limits;
	bool grown =
		limits->buffer_size <= old.buffer_size || grow_buffers(splice, limits->buffer_size);

	splice->limits = *limits;
	splice->limits.half_made = old.half_made;
	splice->limits.half_made_per_client = old.half_made_per_client;
	if (!grown || limits->buffer_size < old.buffer_size)
		splice->limits.buffer_size = old.buffer_size;
	return grown;
}

void splice_free(struct splice *splice)
{
	if (splice == NULL)
		return;
	free_wiped(splice->buffers, (size_t)splice->limits.half_made * splice->limits.buffer_size);
	free_wiped(splice->scratch, splice->scratch_size);
	secret_wipe(splice->key, sizeof(splice->key));
	free(splice->clients);
	free(splice->halves);
	free(splice);
}

uint32_t splice_hash32(struct splice *splice, const void *bytes, size_t length, uint64_t salt)
{
	uint8_t message[sizeof(struct tuple) + sizeof(salt)];

	memcpy(message, bytes, length);
	memcpy(message + length, &salt, sizeof(salt));
	return (uint32_t)siphash(splice->key, message, length + sizeof(salt));
}

/* Clients whose addresses hash to the same bucket share one limit; with four buckets for each
 * connection this is rare, and the key keeps it from being arranged. */
static uint16_t *client_count(struct splice *splice, const struct tuple *tuple)
{
	uint32_t hash =
		splice_hash32(splice, tuple->source.address, sizeof(tuple->source.address), 0);

	return &splice->clients[hash & splice->clients_mask];
}

struct half *half_of(struct splice *splice, const struct splice_flow *flow)
{
	struct half *half;

	if (flow->half == 0 || flow->half > splice->limits.half_made)
		return NULL;
	half = &splice->halves[flow->half - 1];
	return half->used ? half : NULL;
}

/* Entries of half-made connections are removed with them; this is for those whose process died. */
static uint32_t half_flow_timeout(const struct splice *splice)
{
	return splice->limits.collect_timeout + 2 * splice->limits.connect_timeout + 60000;
}

struct half *half_take(struct splice_call *call, const struct tuple *tuple,
		       const struct splice_flow *flow)
{
	struct splice *splice = call->splice;
	uint16_t *count = client_count(splice, tuple);
	struct half *half;
	struct splice_flow value = *flow;

	if (splice->free == 0 || *count >= splice->limits.half_made_per_client)
		return NULL;
	half = &splice->halves[splice->free - 1];
	value.half = half->slot + 1;
	half->flow =
		table_insert(splice->flows, tuple, &value, call->now, half_flow_timeout(splice));
	if (half->flow == NULL)
		return NULL;
	splice->free = half->next_free;
	*half = (struct half){.slot = half->slot,
			      .used = true,
			      .tuple = *tuple,
			      .flow = half->flow,
			      .buffer = half->buffer,
			      .deadline = UINT64_MAX,
			      .retransmit_at = UINT64_MAX};
	++*count;
	splice->count++;
	return half;
}

/* Leaves the flow alone. */
static void half_give_back(struct splice *splice, struct half *half)
{
	--*client_count(splice, &half->tuple);
	splice->count--;
	half->used = false;
	half->next_free = splice->free;
	splice->free = half->slot + 1;
}

void half_release(struct splice_call *call, struct half *half, enum reason reason)
{
	if (half->held)
		emit_drop_held(call, half, reason);
	half->flow->half = 0;
	half_give_back(call->splice, half);
}

void half_abandon(struct splice_call *call, struct half *half, enum reason reason)
{
	struct splice_flow *flow = half->flow;

	half_release(call, half, reason);
	table_remove(call->splice->flows, flow);
}

bool half_replace_flow(struct splice_call *call, struct half *half, const struct splice_flow *flow)
{
	struct table *flows = call->splice->flows;
	struct splice_flow value = *flow;

	table_remove(flows, half->flow);
	half->flow = table_insert(flows, &half->tuple, &value, call->now,
				  half_flow_timeout(call->splice));
	if (half->flow != NULL)
		return true;
	/* cannot be, its place was just freed; but nothing may point to nowhere */
	if (half->held)
		emit_drop_held(call, half, REASON_TABLE_FULL);
	half_give_back(call->splice, half);
	return false;
}

void half_set_timers(struct splice_call *call, struct half *half, uint32_t timeout,
		     uint32_t interval)
{
	uint64_t due;

	half->deadline = call->now + timeout;
	half->interval = interval;
	half->retransmit_at = interval == 0 ? UINT64_MAX : call->now + interval;
	due = half->retransmit_at < half->deadline ? half->retransmit_at : half->deadline;
	if (due < call->splice->next_due)
		call->splice->next_due = due;
}

void half_reset_both(struct splice_call *call, struct half *half, enum reason reason)
{
	emit_client_reset(call, half, reason);
	if (half->flow->stage != SPLICE_COLLECTING)
		emit_server_reset(call, half, half->acknowledged, reason);
	half_abandon(call, half, reason);
}

void half_connect(struct splice_call *call, struct half *half, uint32_t token)
{
	struct splice_flow flow = *half->flow;

	flow.token = token;
	flow.stage = SPLICE_CONNECTING;
	if (!half_replace_flow(call, half, &flow))
		return;
	half_set_timers(call, half, call->splice->limits.connect_timeout, SPLICE_RETRANSMIT_FIRST);
	half->sent_at = call->now;
	half->transmissions = 0;
	emit_syn(call, half);
}

void splice_follow(struct splice_call *call, struct splice_flow *flow, uint32_t *sent,
		   uint32_t sequence, const struct segment *segment, enum splice_closing fin)
{
	uint32_t end = sequence + segment_sequence_length(segment);
	bool near = sequence - *sent + SPLICE_REACH < 2U * SPLICE_REACH;
	bool reset = (segment->flags & TCP_RST) != 0 && near;
	uint32_t timeout = TIMEOUT_ESTABLISHED;

	if (near && (int32_t)(end - *sent) > 0)
		*sent = end;
	if ((segment->flags & TCP_FIN) != 0 && near)
		flow->closing = (uint8_t)(flow->closing | fin);
	if (reset)
		flow->closing |= SPLICE_RESET;
	if (flow->half != 0)
		return; /* the timers of the half-made connection count */
	if (reset)
		timeout = TIMEOUT_RESET;
	else if ((flow->closing & SPLICE_RESET) != 0)
		timeout = TIMEOUT_DOUBTED;
	else if ((flow->closing & (SPLICE_CLIENT_FIN | SPLICE_SERVER_FIN)) != 0)
		timeout = TIMEOUT_CLOSING;
	table_touch(call->splice->flows, flow, call->now, timeout);
}

static void half_expire(struct splice_call *call, struct half *half)
{
	if (half->flow->stage != SPLICE_COLLECTING) {
		half_reset_both(call, half, REASON_SERVER_SILENT);
	} else if (half->plain_after_timeout) {
		half->required = 0;
		half_connect(call, half, half->auth_token);
	} else {
		half_reset_both(call, half, REASON_COLLECT_TIMEOUT);
	}
}

static void half_retransmit(struct splice_call *call, struct half *half)
{
	half->interval = half->interval * 2 < SPLICE_RETRANSMIT_MOST ? half->interval * 2
								     : SPLICE_RETRANSMIT_MOST;
	half->retransmit_at = call->now + half->interval;
	if (half->flow->stage == SPLICE_CONNECTING)
		emit_syn(call, half);
	else
		emit_collected(call, half);
}

static void splice_flow_expired(void *context, const struct tuple *tuple, void *value)
{
	struct splice_call *call = context;
	struct half *half = half_of(call->splice, value);

	(void)tuple;
	if (half != NULL)
		half_release(call, half, REASON_COLLECT_TIMEOUT);
}

uint64_t splice_tick(struct splice *splice, uint64_t now, const struct splice_output *output)
{
	struct splice_call call = {.splice = splice, .output = output, .now = now};

	if (splice->has_broken)
		reset_broken(&call);
	splice->has_broken = false;
	table_expire(splice->flows, now, EXPIRE_BUDGET, splice_flow_expired, &call);
	if (now < splice->next_due)
		return splice->next_due;
	splice->next_due = UINT64_MAX;
	for (uint32_t slot = 0; slot < splice->limits.half_made; slot++) {
		struct half *half = &splice->halves[slot];

		if (!half->used)
			continue;
		if (now >= half->deadline)
			half_expire(&call, half);
		else if (now >= half->retransmit_at)
			half_retransmit(&call, half);
		if (!half->used)
			continue;
		if (half->deadline < splice->next_due)
			splice->next_due = half->deadline;
		if (half->retransmit_at < splice->next_due)
			splice->next_due = half->retransmit_at;
	}
	return splice->next_due;
}

void splice_end_halves(struct splice *splice, uint64_t now, const struct splice_output *output)
{
	struct splice_call call = {.splice = splice, .output = output, .now = now};

	for (uint32_t slot = 0; slot < splice->limits.half_made; slot++) {
		struct half *half = &splice->halves[slot];

		if (!half->used)
			continue;
		/* Where the server is beyond what it has acknowledged. */
		if (half->flow->stage == SPLICE_DELIVERING || half->flow->stage == SPLICE_DRAINING)
			emit_bare_reset(&call, &half->tuple, half->flow, false);
		half_reset_both(&call, half, REASON_STOPPED);
	}
}

bool splice_deltas(struct splice *splice, const struct tuple *tuple, struct splice_deltas *deltas)
{
	const struct splice_flow *flow = table_find(splice->flows, tuple);

	if (flow == NULL || flow->stage == SPLICE_COLLECTING)
		return false;
	*deltas = (struct splice_deltas){.client = splice_client_delta(flow)};
	if (flow->stage != SPLICE_CONNECTING) {
		deltas->server = splice_server_delta(flow);
		deltas->tsval = flow->tsval_delta;
	}
	return true;
}

uint32_t splice_half_made(const struct splice *splice)
{
	return splice->count;
}

unsigned int splice_state_number(const void *value)
{
	const struct splice_flow *flow = value;
	const uint8_t both = SPLICE_CLIENT_FIN | SPLICE_SERVER_FIN;

	if (flow->stage == SPLICE_COLLECTING || flow->stage == SPLICE_CONNECTING)
		return FLOW_STATE_SYN_SENT;
	if (flow->stage == SPLICE_BROKEN || (flow->closing & SPLICE_RESET) != 0)
		return FLOW_STATE_CLOSED;
	if (flow->stage != SPLICE_JOINED)
		return FLOW_STATE_SYN_RECEIVED;
	if ((flow->closing & both) == both)
		return FLOW_STATE_TIME_WAIT;
	return (flow->closing & both) != 0 ? FLOW_STATE_FIN_WAIT : FLOW_STATE_ESTABLISHED;
}

const char *splice_state_word(const struct splice_flow *flow)
{
	static const char *const words[] = {
		[SPLICE_COLLECTING] = "collecting", [SPLICE_CONNECTING] = "connecting",
		[SPLICE_DELIVERING] = "delivering", [SPLICE_DRAINING] = "delivering",
		[SPLICE_BROKEN] = "broken",
	};

	if (flow->stage < SPLICE_COLLECTING || flow->stage > SPLICE_BROKEN)
		return "unknown";
	if (flow->stage != SPLICE_JOINED)
		return words[flow->stage];
	return flow_state_name(splice_state_number(flow));
}
