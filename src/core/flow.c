/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "flow.h"

_Static_assert(sizeof(struct flow) == 72, "struct flow must have no padding: it is kept in files");

enum { MAX_SHIFT = 14 };

struct table_layout flow_table_layout(uint32_t capacity)
{
	return (struct table_layout){
		.capacity = capacity,
		.value_size = sizeof(struct flow),
		.fixed_size = offsetof(struct flow, next),
		.kind = 0x666c6f77, /* "flow" */
		.version = 1,
	};
}

unsigned int flow_shard(uint16_t client_port, unsigned int count)
{
	return (unsigned int)(client_port >> 1) % FLOW_SHARDS % count;
}

/* Sequence number comparisons modulo 2^32 (RFC 9293 3.4). */
static bool after(uint32_t left, uint32_t right)
{
	return (int32_t)(left - right) > 0;
}

static bool between(uint32_t number, uint32_t first, uint32_t last)
{
	return number - first <= last - first;
}

static uint8_t window_shift(const struct segment *segment)
{
	struct tcp_option option;

	if (!tcp_option_find(segment, TCP_OPTION_WINDOW_SCALE, &option) || option.length != 3)
		return UINT8_MAX;
	return option.data[0] > MAX_SHIFT ? MAX_SHIFT : option.data[0];
}

/* A flow that has seen nothing but its SYN. */
static void begin(struct flow *flow, const struct flow_syn *syn, uint32_t destination)
{
	struct flow_side *client = &flow->sides[FLOW_FROM_CLIENT];

	*flow = (struct flow){.syn = *syn, .destination = destination};
	client->sent = syn->isn + syn->delta + syn->length;
	flow->shifts[FLOW_FROM_CLIENT] = syn->shift;
}

static struct flow_syn remember(const struct segment *syn, uint32_t delta)
{
	return (struct flow_syn){
		.isn = syn->sequence,
		.delta = delta,
		.tsval = syn->tsval,
		.window = syn->window,
		.length = (uint16_t)segment_sequence_length(syn),
		.shift = window_shift(syn),
		.timestamp = syn->timestamp != 0,
	};
}

void flow_init(struct flow *flow, const struct segment *syn, uint32_t delta, uint32_t destination)
{
	struct flow_syn remembered = remember(syn, delta);

	begin(flow, &remembered, destination);
}

void flow_set_next(struct flow *flow, const struct segment *syn, uint32_t delta)
{
	flow->next = remember(syn, delta);
	flow->has_next = 1;
}

void flow_accept_next(struct flow *flow, const struct flow *old)
{
	begin(flow, &old->next, old->destination);
}

bool flow_answers_next(const struct flow *flow, const struct segment *segment)
{
	uint32_t token = flow->next.isn + flow->next.delta;

	return flow->has_next && (segment->flags & TCP_ACK) != 0 &&
	       (segment->flags & (TCP_SYN | TCP_RST)) != 0 &&
	       segment->acknowledgement - token - 1 < flow->next.length;
}

static enum flow_state state_of(const struct flow *flow)
{
	const uint8_t both = FLOW_CLIENT_FIN | FLOW_SERVER_FIN;

	if ((flow->flags & FLOW_RESET) != 0)
		return FLOW_STATE_CLOSED;
	if ((flow->flags & both) == both)
		return FLOW_STATE_TIME_WAIT;
	if ((flow->flags & both) != 0)
		return FLOW_STATE_FIN_WAIT;
	if ((flow->flags & FLOW_ESTABLISHED) != 0)
		return FLOW_STATE_ESTABLISHED;
	return (flow->flags & FLOW_ANSWERED) != 0 ? FLOW_STATE_SYN_RECEIVED : FLOW_STATE_SYN_SENT;
}

uint32_t flow_timeout(const struct flow *flow)
{
	static const uint32_t timeouts[] = {
		[FLOW_STATE_SYN_SENT] = FLOW_TIMEOUT_SYN_SENT,
		[FLOW_STATE_SYN_RECEIVED] = FLOW_TIMEOUT_SYN_RECEIVED,
		[FLOW_STATE_ESTABLISHED] = FLOW_TIMEOUT_ESTABLISHED,
		[FLOW_STATE_FIN_WAIT] = FLOW_TIMEOUT_FIN,
		[FLOW_STATE_TIME_WAIT] = FLOW_TIMEOUT_TIME_WAIT,
		[FLOW_STATE_CLOSED] = FLOW_TIMEOUT_CLOSED,
	};

	return timeouts[state_of(flow)];
}

const char *flow_state_name(unsigned int state)
{
	static const char *const words[] = {
		[FLOW_STATE_SYN_SENT] = "syn-sent",
		[FLOW_STATE_SYN_RECEIVED] = "syn-received",
		[FLOW_STATE_ESTABLISHED] = "established",
		[FLOW_STATE_FIN_WAIT] = "fin-wait",
		[FLOW_STATE_TIME_WAIT] = "time-wait",
		[FLOW_STATE_CLOSED] = "closed",
	};

	_Static_assert(sizeof(words) / sizeof(words[0]) == FLOW_STATES, "a word for each state");
	return words[state];
}

unsigned int flow_state_number(const void *flow)
{
	return state_of(flow);
}

const char *flow_state_word(const struct flow *flow)
{
	return flow_state_name(state_of(flow));
}

/* The server's SYN tells where its numbers begin and whether windows are scaled (RFC 7323 2.2). */
static void meet_server(struct flow *flow, const struct segment *segment)
{
	struct flow_side *client = &flow->sides[FLOW_FROM_CLIENT];
	struct flow_side *server = &flow->sides[FLOW_FROM_SERVER];
	uint8_t shift = window_shift(segment);

	flow->flags |= FLOW_SERVER_SYN;
	server->sent = segment->sequence + 1;
	server->acknowledged = flow->syn.isn + flow->syn.delta;
	server->limit = client->sent + segment->window;
	client->acknowledged = segment->sequence;
	client->limit = segment->sequence + 1 + flow->syn.window;
	flow->shifts[FLOW_FROM_SERVER] = shift;
	if (shift == UINT8_MAX || flow->shifts[FLOW_FROM_CLIENT] == UINT8_MAX)
		flow->shifts[0] = flow->shifts[1] = 0;
}

/* Takes in what the sender acknowledges, unless the receiver has not sent that yet. */
static void follow_acknowledgement(struct flow_side *sender, const struct flow_side *receiver,
				   const struct segment *segment, uint8_t shift)
{
	uint32_t window = (uint32_t)segment->window << ((segment->flags & TCP_SYN) ? 0 : shift);
	uint32_t limit = segment->acknowledgement + window;

	if (!between(segment->acknowledgement, sender->acknowledged, receiver->sent))
		return;
	sender->acknowledged = segment->acknowledgement;
	if (after(limit, sender->limit))
		sender->limit = limit;
}

/* Before the server's SYN: the only thing that counts is that SYN, or a refusal. */
static void follow_handshake(struct flow *flow, const struct segment *segment)
{
	uint32_t token = flow->syn.isn + flow->syn.delta;
	bool ours = (segment->flags & TCP_ACK) != 0 && between(segment->acknowledgement, token + 1,
							       flow->sides[FLOW_FROM_CLIENT].sent);

	if ((segment->flags & TCP_RST) != 0) {
		if (ours)
			flow->flags |= FLOW_RESET;
	} else if ((segment->flags & TCP_SYN) != 0 && (ours || (segment->flags & TCP_ACK) == 0)) {
		meet_server(flow, segment);
	}
}

uint32_t flow_follow(struct flow *flow, const struct segment *segment,
		     enum flow_direction direction)
{
	struct flow_side *sender = &flow->sides[direction];
	struct flow_side *receiver = &flow->sides[!direction];
	uint32_t end = segment->sequence + segment_sequence_length(segment);
	bool fin = (segment->flags & TCP_FIN) != 0;

	if ((flow->flags & FLOW_SERVER_SYN) == 0 && direction == FLOW_FROM_SERVER)
		follow_handshake(flow, segment);
	if ((flow->flags & FLOW_SERVER_SYN) == 0)
		return flow_timeout(flow);
	/* One byte more than the window: zero-window probes, and a FIN right behind it. */
	bool fits = between(end, receiver->acknowledged, receiver->limit + 1);
	if ((segment->flags & TCP_RST) != 0) {
		if (fits)
			flow->flags |= FLOW_RESET;
		return flow_timeout(flow);
	}
	/* A receiver that goes on has not believed the RST (RFC 5961 3.2). */
	flow->flags &= (uint8_t)~FLOW_RESET;
	if ((segment->flags & TCP_ACK) != 0) {
		follow_acknowledgement(sender, receiver, segment, flow->shifts[direction]);
		if (direction == FLOW_FROM_CLIENT && (flow->flags & FLOW_ANSWERED) != 0)
			flow->flags |= FLOW_ESTABLISHED;
		if (direction == FLOW_FROM_SERVER &&
		    after(sender->acknowledged, flow->syn.isn + flow->syn.delta))
			flow->flags |= FLOW_ANSWERED;
	}
	if (fits && after(end, sender->sent))
		sender->sent = end;
	if (fits && fin)
		flow->flags |= direction == FLOW_FROM_CLIENT ? FLOW_CLIENT_FIN : FLOW_SERVER_FIN;
	return flow_timeout(flow);
}
