/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes from the server: its handshake joins the halves, later everything is translated. */
#include "splice_internal.h"

static void decide(struct splice_result *result, enum verdict verdict, enum reason reason)
{
	result->decision.verdict = verdict;
	result->decision.reason = reason;
}

/* What the server took up of the real SYN's offers. */
static void learn(struct splice_call *call, const struct half *half,
		  const struct handshake_options *answer)
{
	const struct handshake_options *offered = &half->offered;
	struct server_habits habits = {.mss = answer->mss_value,
				       .window_shift = answer->window_shift};

	if (offered->window_scale)
		habits.window_scale = answer->window_scale ? HABIT_PRESENT : HABIT_ABSENT;
	if (offered->sack_permitted)
		habits.sack_permitted = answer->sack_permitted ? HABIT_PRESENT : HABIT_ABSENT;
	if (half->promised.timestamps)
		habits.timestamps = answer->timestamps ? HABIT_PRESENT : HABIT_ABSENT;
	promise_learn(call->splice->promises, &half->tuple.destination, &habits, call->now);
}

/* Whether the promises to the client can be kept. */
static enum reason compare_promise(struct half *half, const struct handshake_options *answer)
{
	uint32_t options = half->promised.timestamps ? 12 : 0;
	uint32_t headers = (half->tuple.source.family == FAMILY_IPV4 ? 40 : 60) + options;
	uint32_t room = answer->mss_value > options ? answer->mss_value - options : 0;
	uint32_t modest = SPLICE_PACKET_MOST - headers;

	if (modest < half->required)
		modest = half->required;
	half->segment_size = room < modest ? room : modest;
	if (half->promised.timestamps && !answer->timestamps)
		return REASON_PROMISE_BROKEN;
	if (answer->mss_value < half->promised.mss_value)
		return REASON_PROMISE_BROKEN;
	if (room < half->required || room == 0)
		return REASON_PAYLOAD_TOO_LONG;
	return REASON_NONE;
}

/* The translation record: all that is known once both handshakes are. */
static struct splice_flow make_flow(const struct splice_call *call, const struct half *half,
				    const struct handshake_options *answer,
				    const struct segment *segment)
{
	const struct handshake_options *promised = &half->promised;
	const struct handshake_options *offered = &half->offered;
	struct splice_flow flow = *half->flow;
	bool server_scales = offered->window_scale && answer->window_scale;
	unsigned int flags = 0;

	flow.server_isn = segment->sequence;
	flow.server_sent = segment->sequence + 1;
	if (promised->window_scale)
		flow.promised_shift = promised->window_shift;
	if (server_scales)
		flow.server_shift = answer->window_shift;
	else if (promised->window_scale)
		flow.client_shift = offered->window_shift;
	if (promised->timestamps) {
		flow.server_tsval = segment->tsval;
		flow.tsval_delta = (uint32_t)call->now + half->clock_base - segment->tsval;
		flags |= SPLICE_TIMESTAMPS;
	}
	if (promised->sack_permitted)
		flags |= SPLICE_SACK_TO_CLIENT;
	if (offered->sack_permitted && answer->sack_permitted)
		flags |= SPLICE_SACK_TO_SERVER;
	flow.flags = (uint8_t)flags;
	flow.stage = half->required != 0 ? SPLICE_DELIVERING : SPLICE_DRAINING;
	return flow;
}

/* Three times the round trip of the SYN (RFC 6298 2.2 with half of it as variance), if it was sent
 * only once. */
static uint32_t first_interval(const struct splice_call *call, const struct half *half)
{
	uint64_t interval = 3 * (call->now - half->sent_at);

	if (half->transmissions != 1 || interval > SPLICE_RETRANSMIT_FIRST)
		return SPLICE_RETRANSMIT_FIRST;
	return interval < SPLICE_RETRANSMIT_LEAST ? SPLICE_RETRANSMIT_LEAST : (uint32_t)interval;
}

/* The half-made connection has done its work when the server has all that we took. */
static void finish_delivery(struct splice_call *call, struct half *half)
{
	if (half->acknowledged < half->collected + (half->fin ? 1U : 0U))
		return;
	half->flow->stage = SPLICE_JOINED;
	if (half->fin)
		half->flow->closing |= SPLICE_CLIENT_FIN;
	half_release(call, half, REASON_HALVES_JOINED);
}

/* The server's SYN+ACK. */
static void join(struct splice_call *call, struct half *half, const struct segment *segment,
		 struct splice_result *result)
{
	struct handshake_options answer;
	struct splice_flow flow;
	enum reason broken;

	handshake_options_read(&answer, segment);
	if (!answer.mss)
		answer.mss_value = handshake_default_mss(segment->packet->family);
	learn(call, half, &answer);
	broken = compare_promise(half, &answer);
	decide(result, VERDICT_DROP, broken != REASON_NONE ? broken : REASON_HALVES_JOINED);
	if (broken != REASON_NONE) {
		half_reset_both(call, half, broken);
		return;
	}
	flow = make_flow(call, half, &answer, segment);
	if (!half_replace_flow(call, half, &flow))
		return;
	half_set_timers(call, half, call->splice->limits.connect_timeout,
			first_interval(call, half));
	half->transmissions = 0;
	half->promised_next = half_client_next(half);
	half->first_length =
		half->collected < half->segment_size ? half->collected : half->segment_size;
	half->server_next = segment->sequence + 1;
	half->server_acknowledgement = segment->sequence + 1;
	half->server_tsval = segment->tsval;
	emit_collected(call, half);
	finish_delivery(call, half);
	splice_follow(call, half->flow, &half->flow->server_sent, segment->sequence, segment,
		      SPLICE_SERVER_FIN);
}

/* RFC 9293 3.10.7.3: a server that answers with something else does not mean this SYN. */
static void connect_answer(struct splice_call *call, struct half *half, struct segment *segment,
			   struct splice_result *result)
{
	bool ours = (segment->flags & TCP_ACK) != 0 &&
		    segment->acknowledgement == half->flow->token + 1;

	decide(result, VERDICT_DROP, REASON_NO_CONNECTION);
	if ((segment->flags & TCP_RST) != 0 && ours) {
		segment_set_sequence(segment, half->flow->iss + 1);
		segment_set_acknowledgement(segment, half_client_next(half));
		result->decision.modified = true;
		half_abandon(call, half, REASON_SERVER_REFUSED);
		decide(result, VERDICT_PASS, REASON_SERVER_REFUSED);
	} else if ((segment->flags & TCP_SYN) != 0 && ours) {
		join(call, half, segment, result);
	} else if ((segment->flags & (TCP_ACK | TCP_RST)) == TCP_ACK && !ours) {
		emit_reset_answer(call, segment, false, REASON_NO_CONNECTION);
	}
}

/* What the server sent and acknowledged while we still hold bytes for it. Returns false for what
 * the server cannot have sent: an acknowledgement of bytes that it never got, a wild RST, a number
 * far from all others. Once taken for the server's, that would be the end of the connection. */
static bool note_server(struct splice_call *call, struct half *half, const struct segment *segment)
{
	uint32_t acknowledged = segment->acknowledgement - half->flow->token - 1;
	uint32_t end = segment->sequence + segment_sequence_length(segment);
	/* What was collected after that may be passed on by now. */
	uint32_t sent = half->flow->stage == SPLICE_DELIVERING ? half->first_length
							       : half->collected + SPLICE_REACH;

	/* Whoever guesses blindly shall not break what is being built (RFC 5961 3.2). */
	if ((segment->flags & TCP_RST) != 0 && segment->sequence - half->server_next > UINT16_MAX)
		return false;
	if (segment->sequence - half->server_next + SPLICE_REACH >= 2U * SPLICE_REACH)
		return false;
	if ((segment->flags & TCP_ACK) != 0 && acknowledged > sent)
		return false;

	if ((segment->flags & TCP_ACK) != 0 && (int32_t)(acknowledged - half->acknowledged) > 0)
		half->acknowledged = acknowledged;
	if ((int32_t)(end - half->server_next) > 0)
		half->server_next = end;
	if (segment->timestamp != 0 && (int32_t)(segment->tsval - half->server_tsval) > 0)
		half->server_tsval = segment->tsval;
	if (half->flow->stage == SPLICE_DELIVERING && half->acknowledged >= half->required) {
		half->flow->stage = SPLICE_DRAINING;
		half->transmissions = 0;
		if (half->acknowledged < half->collected + (half->fin ? 1U : 0U))
			emit_collected(call, half);
	}
	return true;
}

static void pass_translated(struct splice_call *call, struct splice_flow *flow,
			    struct segment *segment, struct splice_result *result)
{
	struct half *half = half_of(call->splice, flow);
	uint32_t sequence = segment->sequence;

	if (half != NULL && (segment->flags & TCP_SYN) != 0) {
		/* the server did not get our answer to its SYN+ACK */
		emit_collected(call, half);
		decide(result, VERDICT_DROP, REASON_HALVES_JOINED);
		return;
	}
	if (half != NULL && !note_server(call, half, segment)) {
		decide(result, VERDICT_DROP, REASON_NO_CONNECTION);
		return;
	}
	translate_to_client(call->splice, flow, half, segment);
	result->decision.modified = true;
	decide(result, VERDICT_PASS, REASON_TRANSLATED);
	if (half != NULL && (segment->flags & TCP_RST) != 0) {
		/* It took the SYN and not the bytes: perhaps it checks another number of them. */
		flow->stage = SPLICE_JOINED;
		half_release(call, half, REASON_SERVER_REFUSED);
		decide(result, VERDICT_PASS, REASON_SERVER_REFUSED);
	} else if (half != NULL) {
		finish_delivery(call, half);
	}
	splice_follow(call, flow, &flow->server_sent, sequence, segment, SPLICE_SERVER_FIN);
}

static void answer_broken(struct splice_call *call, const struct splice_flow *flow,
			  const struct segment *segment, struct splice_result *result)
{
	struct tuple tuple = tuple_reverse(&segment->tuple);

	emit_reset_answer(call, segment, false, REASON_NO_CONNECTION);
	emit_bare_reset(call, &tuple, flow, true);
	decide(result, VERDICT_DROP, REASON_NO_CONNECTION);
}

void splice_from_server(struct splice *splice, struct segment *segment, uint64_t now,
			const struct splice_output *output, struct splice_result *result)
{
	struct splice_call call = {.splice = splice, .output = output, .now = now};
	struct tuple tuple = tuple_reverse(&segment->tuple);
	struct splice_flow *flow = table_find(splice->flows, &tuple);

	*result = (struct splice_result){.hold = false};
	if (flow == NULL)
		decide(result, VERDICT_PASS, REASON_FLOW_UNKNOWN);
	else if (flow->stage == SPLICE_COLLECTING)
		decide(result, VERDICT_DROP, REASON_NO_CONNECTION); /* about an earlier one */
	else if (flow->half != 0 && !segment_checksum_valid(segment))
		decide(result, VERDICT_DROP, REASON_CHECKSUM_WRONG);
	else if (flow->stage == SPLICE_CONNECTING)
		connect_answer(&call, half_of(splice, flow), segment, result);
	else if (flow->stage == SPLICE_BROKEN)
		answer_broken(&call, flow, segment, result);
	else
		pass_translated(&call, flow, segment, result);
}

bool splice_unreachable(struct splice *splice, const struct tuple *tuple, uint32_t sequence,
			uint64_t now, const struct splice_output *output)
{
	struct splice_call call = {.splice = splice, .output = output, .now = now};
	struct splice_flow *flow = table_find(splice->flows, tuple);
	struct half *half = flow != NULL ? half_of(splice, flow) : NULL;

	/* RFC 5927 4.1: who quotes another number guesses. */
	if (half == NULL || flow->stage != SPLICE_CONNECTING || sequence != flow->token)
		return false;
	emit_client_reset(&call, half, REASON_SERVER_UNREACHABLE);
	half_abandon(&call, half, REASON_SERVER_UNREACHABLE);
	return true;
}
