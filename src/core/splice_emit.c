/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The packets that the splice engine originates. */
#include "splice_internal.h"

enum { OUR_HOP_LIMIT = 64, WINDOW_MOST = UINT16_MAX };

static void emit_plan(struct splice_call *call, enum emission_kind kind, uint32_t packet_id,
		      const struct segment_plan *plan, enum reason reason)
{
	struct splice *splice = call->splice;
	bool to_client = kind == EMIT_TO_CLIENT;
	struct emission emission = {
		.kind = kind,
		.packet_id = packet_id,
		.reason = reason,
		.tuple = to_client ? tuple_reverse(&plan->tuple) : plan->tuple,
		.bytes = splice->scratch,
	};

	emission.length = segment_build(plan, splice->scratch, splice->scratch_size);
	if (emission.length != 0)
		call->output->emit(call->output->context, &emission);
}

void emit_drop_held(struct splice_call *call, const struct half *half, enum reason reason)
{
	struct emission emission = {.kind = EMIT_DROP_HELD,
				    .packet_id = half->packet_id,
				    .reason = reason,
				    .tuple = half->tuple};

	call->output->emit(call->output->context, &emission);
}

/* What we can still take from the client, as a window field. Rounded up: a window that looks closed
 * would silence the client, and bytes that do not fit are sent again anyway. */
static uint16_t collect_window(const struct splice_call *call, const struct half *half, bool syn)
{
	uint32_t room = call->splice->limits.buffer_size - half->collected;
	uint8_t shift = syn || !half->promised.window_scale ? 0 : half->promised.window_shift;
	uint32_t field = (room + (1U << shift) - 1) >> shift;

	return (uint16_t)(field < WINDOW_MOST ? field : WINDOW_MOST);
}

/* A segment in the server's name while the server is not there yet. */
static struct segment_plan client_plan(const struct splice_call *call, const struct half *half)
{
	return (struct segment_plan){
		.tuple = tuple_reverse(&half->tuple),
		.sequence = half->flow->iss + 1,
		.acknowledgement = half_client_next(half),
		.flags = TCP_ACK,
		.hop_limit = OUR_HOP_LIMIT,
		.dont_fragment = true,
		.options = {.timestamp = half->promised.timestamps,
			    .tsval = (uint32_t)call->now + half->clock_base,
			    .tsecr = half->tsval},
	};
}

void emit_syn_ack(struct splice_call *call, const struct half *half)
{
	const struct handshake_options *promised = &half->promised;
	struct segment_plan plan = client_plan(call, half);

	plan.sequence = half->flow->iss;
	plan.acknowledgement = half->flow->client_isn + 1;
	plan.flags = TCP_SYN | TCP_ACK;
	plan.window = collect_window(call, half, true);
	plan.options.mss = true;
	plan.options.mss_value = promised->mss_value;
	plan.options.window_scale = promised->window_scale;
	plan.options.window_shift = promised->window_shift;
	plan.options.sack_permitted = promised->sack_permitted;
	emit_plan(call, EMIT_TO_CLIENT, 0, &plan, REASON_HANDSHAKE_ANSWERED);
}

void emit_client_ack(struct splice_call *call, const struct half *half)
{
	struct segment_plan plan = client_plan(call, half);

	plan.window = collect_window(call, half, false);
	emit_plan(call, EMIT_TO_CLIENT, 0, &plan, REASON_PAYLOAD_COLLECTED);
}

void emit_client_reset(struct splice_call *call, const struct half *half, enum reason reason)
{
	struct segment_plan plan = client_plan(call, half);

	if (half->flow->stage != SPLICE_COLLECTING && half->flow->stage != SPLICE_CONNECTING)
		plan.sequence = half->server_next + splice_server_delta(half->flow);
	plan.flags = TCP_RST | TCP_ACK;
	plan.options.timestamp = false;
	emit_plan(call, EMIT_TO_CLIENT, 0, &plan, reason);
}

/* A segment in the client's name, at the first payload byte. */
static struct segment_plan server_plan(const struct half *half)
{
	return (struct segment_plan){
		.tuple = half->tuple,
		.sequence = half->flow->token + 1,
		.hop_limit = half->hop_limit,
		.traffic_class = half->traffic_class,
		.flow_label = half->flow_label,
		.dont_fragment = half->dont_fragment,
	};
}

void emit_syn(struct splice_call *call, struct half *half)
{
	const struct handshake_options *offered = &half->offered;
	struct segment_plan plan = server_plan(half);
	bool scaled = half->promised.window_scale;

	plan.sequence = half->flow->token;
	plan.flags = TCP_SYN;
	plan.window = half->syn_window;
	/* A scale that the client was not promised is offered as 0: nothing changes for the client,
	 * and the server tells its own. */
	plan.options = (struct segment_options){
		.mss = offered->mss,
		.mss_value = offered->mss_value,
		.window_scale = offered->window_scale,
		.window_shift = scaled ? offered->window_shift : 0,
		.sack_permitted = offered->sack_permitted,
		.timestamp = half->promised.timestamps,
		.tsval = half->syn_tsval,
	};
	half->transmissions++;
	emit_plan(call, half->held ? EMIT_RELEASE_HELD : EMIT_TO_SERVER, half->packet_id, &plan,
		  REASON_TOKEN_WRITTEN);
	half->held = false;
}

uint16_t window_for_server(const struct splice_flow *flow, uint16_t window)
{
	uint32_t bytes = (uint32_t)window << flow->client_shift;

	return (uint16_t)(bytes < WINDOW_MOST ? bytes : WINDOW_MOST);
}

/* One segment with length collected bytes from offset on, or the FIN behind them, or both. */
static void emit_piece(struct splice_call *call, const struct half *half, uint32_t offset,
		       uint32_t length, bool fin)
{
	struct segment_plan plan = server_plan(half);

	plan.sequence += offset;
	plan.acknowledgement = half->server_acknowledgement;
	plan.window = window_for_server(half->flow, half->window);
	plan.flags = (uint8_t)(TCP_ACK | (length != 0 ? TCP_PSH : 0) | (fin ? TCP_FIN : 0));
	plan.options.timestamp = (half->flow->flags & SPLICE_TIMESTAMPS) != 0;
	plan.options.tsval = half->tsval;
	plan.options.tsecr = half->server_tsval;
	plan.payload = half->buffer + offset;
	plan.payload_length = length;
	if (half->transmissions > SPLICE_FRAGMENT_AFTER && plan.dont_fragment) {
		/* maybe the path is narrower than the server's MSS says, and nobody tells us */
		plan.dont_fragment = false;
		plan.identification = (uint16_t)splice_hash32(
			call->splice, &half->tuple, sizeof(half->tuple), call->splice->counter++);
	}
	emit_plan(call, EMIT_TO_SERVER, 0, &plan, REASON_HALVES_JOINED);
}

void emit_collected(struct splice_call *call, struct half *half)
{
	bool judged = half->flow->stage != SPLICE_DELIVERING;
	uint32_t end = judged ? half->collected : half->first_length;
	bool fin = judged && half->fin;
	uint32_t offset = half->acknowledged < end ? half->acknowledged : end;

	half->transmissions++;
	half->sent_at = call->now;
	do {
		uint32_t length =
			end - offset < half->segment_size ? end - offset : half->segment_size;

		emit_piece(call, half, offset, length, fin && offset + length == end);
		offset += length;
	} while (offset < end);
	half->flow->client_sent = half->flow->client_isn + 1 + end + (fin ? 1U : 0U);
}

void emit_server_reset(struct splice_call *call, const struct half *half, uint32_t offset,
		       enum reason reason)
{
	struct segment_plan plan = server_plan(half);

	plan.sequence += offset;
	plan.flags = TCP_RST;
	emit_plan(call, EMIT_TO_SERVER, 0, &plan, reason);
}

void emit_reset_answer(struct splice_call *call, const struct segment *segment, bool to_client,
		       enum reason reason)
{
	struct segment_plan plan = {
		.tuple = tuple_reverse(&segment->tuple),
		.flags = TCP_RST,
		.hop_limit = OUR_HOP_LIMIT,
		.dont_fragment = true,
	};

	if ((segment->flags & TCP_RST) != 0)
		return;
	if ((segment->flags & TCP_ACK) != 0) {
		plan.sequence = segment->acknowledgement;
	} else {
		plan.acknowledgement = segment->sequence + segment_sequence_length(segment);
		plan.flags |= TCP_ACK;
	}
	emit_plan(call, to_client ? EMIT_TO_CLIENT : EMIT_TO_SERVER, 0, &plan, reason);
}

void emit_bare_reset(struct splice_call *call, const struct tuple *tuple,
		     const struct splice_flow *flow, bool to_client)
{
	struct segment_plan plan = {
		.tuple = to_client ? tuple_reverse(tuple) : *tuple,
		.sequence = to_client ? flow->server_sent + splice_server_delta(flow)
				      : flow->client_sent + splice_client_delta(flow),
		.flags = TCP_RST,
		.hop_limit = OUR_HOP_LIMIT,
		.dont_fragment = true,
	};

	emit_plan(call, to_client ? EMIT_TO_CLIENT : EMIT_TO_SERVER, 0, &plan,
		  REASON_NO_CONNECTION);
}

/* One byte before what the client expects, so that a client that lives on takes nothing from it. */
void emit_challenge(struct splice_call *call, const struct tuple *tuple,
		    const struct splice_flow *flow)
{
	struct segment_plan plan = {
		.tuple = tuple_reverse(tuple),
		.sequence = flow->server_sent + splice_server_delta(flow) - 1,
		.acknowledgement = flow->client_sent,
		.flags = TCP_ACK,
		.hop_limit = OUR_HOP_LIMIT,
		.dont_fragment = true,
	};

	emit_plan(call, EMIT_TO_CLIENT, 0, &plan, REASON_SYN_REPEATED);
}
