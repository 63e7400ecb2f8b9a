/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes from the client: its handshake, the bytes for the token, later everything. */
#include <string.h>

#include "service.h"
#include "splice_internal.h"
#include "token.h"

static void decide(struct splice_result *result, enum verdict verdict, enum reason reason)
{
	result->decision.verdict = verdict;
	result->decision.reason = reason;
}

void handshake_options_read(struct handshake_options *options, const struct segment *segment)
{
	struct tcp_option_iterator iterator = tcp_option_begin(segment);
	struct tcp_option option;

	*options = (struct handshake_options){.timestamps = segment->timestamp != 0};
	while (tcp_option_next(&iterator, &option)) {
		if (option.kind == TCP_OPTION_MSS && option.length == 4) {
			options->mss = true;
			options->mss_value = load16(option.data);
		} else if (option.kind == TCP_OPTION_WINDOW_SCALE && option.length == 3) {
			options->window_scale = true;
			options->window_shift = option.data[0] < 14 ? option.data[0] : 14;
		} else if (option.kind == TCP_OPTION_SACK_PERMITTED && option.length == 2) {
			options->sack_permitted = true;
		} else if (option.kind == TCP_OPTION_MD5 || option.kind == TCP_OPTION_AO) {
			options->signed_segment = true;
		}
	}
}

uint16_t handshake_default_mss(uint8_t family)
{
	return family == FAMILY_IPV4 ? 536 : 1220; /* RFC 9293 3.7.1 */
}

static bool promise_habit(bool offered, enum habit habit, bool otherwise)
{
	return offered && (habit == HABIT_UNKNOWN ? otherwise : habit == HABIT_PRESENT);
}

/* What the client is promised in the server's name: what it offered and the server took last time.
 */
static struct handshake_options make_promise(const struct splice *splice,
					     const struct handshake_options *offered,
					     const struct endpoint *server)
{
	const struct splice_defaults *defaults = &splice->limits.defaults;
	struct server_habits habits = promise_find(splice->promises, server);
	uint16_t mss = server->family == FAMILY_IPV4 ? defaults->mss_ipv4 : defaults->mss_ipv6;

	return (struct handshake_options){
		.mss = true,
		.mss_value = habits.mss != 0 ? habits.mss : mss,
		.window_scale = promise_habit(offered->window_scale, habits.window_scale,
					      defaults->window_scale),
		.window_shift = habits.window_scale == HABIT_PRESENT ? habits.window_shift
								     : defaults->window_shift,
		.sack_permitted = promise_habit(offered->sack_permitted, habits.sack_permitted,
						defaults->sack),
		.timestamps =
			promise_habit(offered->timestamps, habits.timestamps, defaults->timestamps),
	};
}

/* The look of the client's packets, for those that we send in its name. */
static void remember_look(struct half *half, const struct segment *segment)
{
	const uint8_t *ip = segment->packet->bytes;

	if (segment->packet->family == FAMILY_IPV4) {
		half->traffic_class = ip[1] & 0xfc; /* without ECN, which we do not negotiate */
		half->hop_limit = ip[8];
		half->dont_fragment = (ip[6] & 0x40) != 0;
	} else {
		half->traffic_class = (uint8_t)(load16(ip) >> 4) & 0xfc;
		half->hop_limit = ip[7];
		half->flow_label = load32(ip) & 0xfffff;
	}
}

static void remember_syn(struct splice_call *call, struct half *half,
			 const struct destination *destination, const struct segment *segment)
{
	struct splice *splice = call->splice;

	handshake_options_read(&half->offered, segment);
	half->promised = make_promise(splice, &half->offered, &half->tuple.destination);
	half->syn_tsval = half->promised.timestamps ? segment->tsval : 0;
	half->syn_window = segment->window;
	half->tsval = segment->tsval;
	half->window = segment->window;
	if (half->promised.window_scale)
		half->window = (uint16_t)(segment->window >> half->offered.window_shift);
	half->required = destination->integrity;
	half->plain_after_timeout = splice->limits.plain_after_timeout;
	half->auth_token =
		token_auth(&destination->key->secret, &half->tuple.destination, half->syn_tsval);
	half->clock_base =
		splice_hash32(splice, &half->tuple, sizeof(half->tuple), splice->counter++) -
		(uint32_t)call->now;
	remember_look(half, segment);
}

/* Step 1: answers the client's SYN and holds it. */
static void open_half(struct splice_call *call, const struct destination *destination,
		      const struct segment *segment, uint32_t packet_id,
		      struct splice_result *result)
{
	struct splice *splice = call->splice;
	struct splice_flow flow = {.client_isn = segment->sequence,
				   .destination = destination->index,
				   .client_sent = segment->sequence + 1,
				   .server_sent = 1,
				   .stage = SPLICE_COLLECTING};
	struct half *half = NULL;

	flow.iss =
		splice_hash32(splice, &segment->tuple, sizeof(segment->tuple), splice->counter++);
	if (destination->integrity <= splice->limits.buffer_size)
		half = half_take(call, &segment->tuple, &flow);
	if (half == NULL) {
		decide(result, VERDICT_DROP, REASON_TABLE_FULL);
		return;
	}
	remember_syn(call, half, destination, segment);
	half->held = true;
	half->packet_id = packet_id;
	half_set_timers(call, half, splice->limits.collect_timeout, 0);
	emit_syn_ack(call, half);
	result->hold = true;
	decide(result, VERDICT_DROP, REASON_HANDSHAKE_ANSWERED);
}

/* The client begins anew. */
static void forget(struct splice_call *call, struct splice_flow *flow)
{
	struct half *half = half_of(call->splice, flow);

	if (half == NULL) {
		table_remove(call->splice->flows, flow);
		return;
	}
	if (flow->stage != SPLICE_COLLECTING)
		emit_server_reset(call, half, half->acknowledged, REASON_CLIENT_GONE);
	half_abandon(call, half, REASON_CLIENT_GONE);
}

/* A SYN for a tuple that has a flow: the same one again, or a new connection of the same tuple. */
static void repeated_syn(struct splice_call *call, struct splice_flow *flow,
			 const struct destination *destination, const struct segment *segment,
			 uint32_t packet_id, struct splice_result *result)
{
	struct half *half = half_of(call->splice, flow);

	if (flow->stage != SPLICE_BROKEN && segment->sequence == flow->client_isn) {
		if (half != NULL && flow->stage == SPLICE_COLLECTING && half->collected == 0) {
			half->tsval = segment->tsval;
			emit_syn_ack(call, half);
		}
		decide(result, VERDICT_DROP, REASON_SYN_REPEATED);
		return;
	}
	if (flow->stage == SPLICE_JOINED && splice_lives(flow)) {
		emit_challenge(call, &segment->tuple, flow);
		decide(result, VERDICT_DROP, REASON_SYN_REPEATED);
		return;
	}
	forget(call, flow);
	if (destination == NULL)
		decide(result, VERDICT_PASS, REASON_FLOW_UNKNOWN);
	else
		open_half(call, destination, segment, packet_id, result);
}

/* Takes the bytes that are next in order, as far as there is room. Returns whether there were any.
 */
static bool absorb(struct splice_call *call, struct half *half, const struct segment *segment)
{
	uint32_t skip = half_client_next(half) - segment->sequence;
	uint32_t length = (uint32_t)segment->payload_length;
	uint32_t room = call->splice->limits.buffer_size - half->collected;
	uint32_t take;

	if (skip > length || half->fin)
		return false; /* a gap before it, or old */
	take = length - skip < room ? length - skip : room;
	if (take != 0)
		memcpy(half->buffer + half->collected,
		       segment->packet->bytes + segment->payload + skip, take);
	half->collected += take;
	half->fin = (segment->flags & TCP_FIN) != 0 && take == length - skip;
	return take != 0 || half->fin;
}

/* Whether the client acknowledges what it may have got, as only one can that saw our SYN+ACK: who
 * knows no more than addresses and ports shall not speak for it. */
static bool heard_server(const struct half *half, const struct segment *segment)
{
	return (segment->flags & TCP_ACK) != 0 &&
	       segment->acknowledgement - half->flow->iss - 1 <=
		       half->server_next - half->flow->server_isn - 1;
}

/* What the client says besides its bytes. Old segments say nothing. */
static void note_client(struct half *half, const struct segment *segment)
{
	if ((int32_t)(segment->sequence - half_client_next(half)) > 0)
		return;
	if (segment->timestamp != 0 && (int32_t)(segment->tsval - half->tsval) > 0)
		half->tsval = segment->tsval;
}

static void abandoned_by_client(struct splice_call *call, struct half *half,
				struct splice_result *result)
{
	if (half->flow->stage != SPLICE_COLLECTING)
		emit_server_reset(call, half, 0, REASON_CLIENT_GONE);
	half_abandon(call, half, REASON_CLIENT_GONE);
	decide(result, VERDICT_DROP, REASON_CLIENT_GONE);
}

/* Whether the configuration still says what it said when the client's SYN came. The old key is gone
 * if it does not. */
static bool same_destination(const struct half *half, const struct destination *destination)
{
	return destination != NULL && destination->integrity == half->required &&
	       token_auth(&destination->key->secret, &half->tuple.destination, half->syn_tsval) ==
		       half->auth_token;
}

/* Step 3: all N bytes are there, the real SYN goes. */
static void start_connecting(struct splice_call *call, struct half *half,
			     const struct destination *destination, struct splice_result *result)
{
	const struct secret *secret;
	uint16_t hash;

	if (!same_destination(half, destination)) {
		half_reset_both(call, half, REASON_CONFIGURATION_CHANGED);
		decide(result, VERDICT_DROP, REASON_CONFIGURATION_CHANGED);
		return;
	}
	secret = &destination->key->secret;
	hash = token_payload_hash(secret, half->buffer, half->required);
	half_connect(call, half,
		     token_integrity(secret, &half->tuple.destination, half->syn_tsval, hash));
}

/* Step 2: the client talks to us, the server is not there yet. */
static void collect(struct splice_call *call, struct half *half,
		    const struct destination *destination, const struct segment *segment,
		    struct splice_result *result)
{
	uint32_t next = half_client_next(half);
	bool in_order = segment->sequence == next;
	bool old = (int32_t)(segment->sequence - next) < 0;
	bool ours =
		(segment->flags & TCP_ACK) != 0 && segment->acknowledgement == half->flow->iss + 1;

	decide(result, VERDICT_DROP, REASON_PAYLOAD_COLLECTED);
	if ((segment->flags & TCP_RST) != 0) {
		/* RFC 5961 3.2 asks for the exact number; our window is small and we keep it simple
		 */
		if (segment->sequence - next <= call->splice->limits.buffer_size)
			abandoned_by_client(call, half, result);
		return;
	}
	if ((segment->flags & TCP_SYN) != 0 || !ours)
		return;
	note_client(half, segment);
	if (in_order || old)
		half->window = segment->window;
	absorb(call, half, segment);
	if (half->flow->stage == SPLICE_COLLECTING && half->collected < half->required &&
	    half->fin) {
		half_reset_both(call, half, REASON_CLIENT_GONE);
		decide(result, VERDICT_DROP, REASON_CLIENT_GONE);
		return;
	}
	if (segment->payload_length != 0 || !in_order)
		emit_client_ack(call, half);
	if (half->flow->stage == SPLICE_COLLECTING && half->collected >= half->required)
		start_connecting(call, half, destination, result);
}

/* Takes over what the client acknowledges of the server's bytes. Returns whether it was more. */
static bool note_acknowledgement(struct half *half, const struct segment *segment)
{
	uint32_t acknowledgement = segment->acknowledgement - splice_server_delta(half->flow);
	uint32_t more = acknowledgement - half->server_acknowledgement;

	if ((segment->flags & TCP_ACK) == 0 ||
	    more > half->server_next - half->server_acknowledgement)
		return false;
	half->server_acknowledgement = acknowledgement;
	half->window = segment->window;
	return more != 0;
}

/* The server may know fewer of the client's bytes than the client believes: an RST at the client's
 * number would be out of order there. */
static void reset_through(struct splice_call *call, struct half *half)
{
	uint32_t end =
		half->flow->stage == SPLICE_DELIVERING ? half->first_length : half->collected;

	emit_server_reset(call, half, half->acknowledged, REASON_CLIENT_GONE);
	if (end != half->acknowledged)
		emit_server_reset(call, half, end, REASON_CLIENT_GONE);
	half_release(call, half, REASON_CLIENT_GONE);
}

/* Step 4: until the server has the N bytes nothing else of the client leaves. Acknowledgements do,
 * at the first payload byte: SYN cookies take the ISN from there. */
static void deliver(struct splice_call *call, struct half *half, struct segment *segment,
		    struct splice_result *result)
{
	bool more = note_acknowledgement(half, segment);
	bool bare = segment->payload_length == 0 && (segment->flags & (TCP_SYN | TCP_FIN)) == 0;
	bool patient = call->now - half->sent_at < SPLICE_RETRANSMIT_LEAST;
	bool fresh;

	decide(result, VERDICT_DROP, REASON_PAYLOAD_HELD);
	if (!heard_server(half, segment))
		return;
	note_client(half, segment);
	fresh = absorb(call, half, segment);
	if (!bare && (more || (!fresh && !patient))) {
		emit_collected(call, half);
	} else if (bare && more) {
		translate_to_server(half->flow, segment);
		segment_set_sequence(segment, half->flow->token + 1);
		result->decision.modified = true;
		decide(result, VERDICT_PASS, REASON_TRANSLATED);
	}
}

/* Step 4, last part: plain translation. */
static void pass_translated(struct splice_call *call, struct splice_flow *flow,
			    struct segment *segment, struct splice_result *result)
{
	struct half *half = half_of(call->splice, flow);
	uint32_t sequence = segment->sequence;

	if (half != NULL && (segment->flags & TCP_RST) != 0 &&
	    sequence - half_client_next(half) > SPLICE_REACH) {
		/* a blind guess shall not break what is being built (RFC 5961 3.2) */
		decide(result, VERDICT_DROP, REASON_NO_CONNECTION);
		return;
	}
	if (half != NULL && heard_server(half, segment)) {
		note_acknowledgement(half, segment);
		note_client(half, segment);
	}
	if ((segment->flags & TCP_RST) != 0 && half != NULL) {
		reset_through(call, half);
		flow->stage = SPLICE_JOINED;
	}
	translate_to_server(flow, segment);
	splice_follow(call, flow, &flow->client_sent, sequence, segment, SPLICE_CLIENT_FIN);
	result->decision.modified = true;
	decide(result, VERDICT_PASS, REASON_TRANSLATED);
}

static void answer_broken(struct splice_call *call, struct splice_flow *flow,
			  const struct segment *segment, struct splice_result *result)
{
	emit_reset_answer(call, segment, true, REASON_NO_CONNECTION);
	if (flow->token != 0)
		emit_bare_reset(call, &segment->tuple, flow, false);
	decide(result, VERDICT_DROP, REASON_NO_CONNECTION);
}

static bool is_signed(const struct segment *segment)
{
	struct tcp_option option;

	return tcp_option_find(segment, TCP_OPTION_MD5, &option) ||
	       tcp_option_find(segment, TCP_OPTION_AO, &option);
}

/* Whether we can vouch for the segment's bytes: all of them are there, under a right checksum. */
static bool readable(const struct segment *segment, struct splice_result *result)
{
	if (segment_payload_captured(segment) < segment->payload_length) {
		decide(result, VERDICT_DROP, REASON_TRUNCATED);
		return false;
	}
	if (!segment_checksum_valid(segment)) {
		decide(result, VERDICT_DROP, REASON_CHECKSUM_WRONG);
		return false;
	}
	return true;
}

void splice_from_client(struct splice *splice, const struct destination *destination,
			struct segment *segment, uint32_t packet_id, uint64_t now,
			const struct splice_output *output, struct splice_result *result)
{
	struct splice_call call = {.splice = splice, .output = output, .now = now};
	struct splice_flow *flow;

	*result = (struct splice_result){.hold = false};
	if (destination != NULL && destination->integrity == 0)
		destination = NULL;
	flow = table_find(splice->flows, &segment->tuple);
	/* A signature in the middle of a connection that began without is none: what carries it is
	 * not led past us, ahead of the bytes that must be first. */
	if ((flow == NULL || segment_is_initial_syn(segment)) && is_signed(segment)) {
		if (flow != NULL && (flow->stage != SPLICE_JOINED || !splice_lives(flow)))
			forget(&call, flow);
		decide(result, VERDICT_PASS, REASON_SIGNED_SEGMENT);
		return;
	}
	if (flow == NULL && (!segment_is_initial_syn(segment) || destination == NULL)) {
		decide(result, VERDICT_PASS, REASON_FLOW_UNKNOWN);
		return;
	}
	if ((flow == NULL || flow->half != 0 || segment_is_initial_syn(segment)) &&
	    !readable(segment, result))
		return;
	if (flow == NULL)
		open_half(&call, destination, segment, packet_id, result);
	else if (segment_is_initial_syn(segment))
		repeated_syn(&call, flow, destination, segment, packet_id, result);
	else if (flow->stage == SPLICE_COLLECTING || flow->stage == SPLICE_CONNECTING)
		collect(&call, half_of(splice, flow), destination, segment, result);
	else if (flow->stage == SPLICE_DELIVERING && (segment->flags & TCP_RST) == 0)
		deliver(&call, half_of(splice, flow), segment, result);
	else if (flow->stage == SPLICE_BROKEN)
		answer_broken(&call, flow, segment, result);
	else
		pass_translated(&call, flow, segment, result);
}
