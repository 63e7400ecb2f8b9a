/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "egress.h"

#include <stdlib.h>

#include "flow.h"
#include "token.h"

enum {
	EXPIRE_BUDGET = 64,
	/* A SYN whose timestamp option is put back: longer than any Ethernet frame. */
	SCRATCH_SIZE = 2048,
};

struct egress {
	struct table *flows;
	uint8_t scratch[SCRATCH_SIZE];
};

struct egress *egress_new(struct table *flows)
{
	struct egress *egress = malloc(sizeof(*egress));

	if (egress != NULL)
		egress->flows = flows;
	return egress;
}

void egress_free(struct egress *egress)
{
	free(egress);
}

static void decide(struct decision *decision, enum verdict verdict, enum reason reason)
{
	decision->verdict = verdict;
	decision->reason = reason;
}

/* Segments that carry a signature over their sequence numbers (RFC 2385, RFC 5925). */
static bool is_signed(const struct segment *segment)
{
	struct tcp_option option;

	return tcp_option_find(segment, TCP_OPTION_MD5, &option) ||
	       tcp_option_find(segment, TCP_OPTION_AO, &option);
}

static void finish(struct segment *segment, enum reason reason, struct decision *decision)
{
	/* What is written back to the kernel is never completed by a device. */
	if (!segment->packet->checksum_ready && !segment->packet->checksum_later)
		segment_complete_checksum(segment);
	decision->modified = true;
	decide(decision, VERDICT_VERIFIED, reason);
}

/* Every copy of a SYN carries the token of the first, and so needs its TSval (thesis 3.5). */
static void restore_timestamp(struct egress *egress, const struct flow_syn *first,
			      struct segment *segment)
{
	if (first->timestamp != 0 && segment->timestamp != 0)
		segment_set_tsval(segment, first->tsval);
	else if (first->timestamp != 0)
		segment_insert_timestamp(segment, first->tsval, egress->scratch, SCRATCH_SIZE);
	else
		segment_blank_timestamps(segment);
}

/* A SYN that repeats one: the flow's own, or the one that may take its place. */
static const struct flow_syn *repeated_syn(const struct flow *flow, uint32_t isn)
{
	if (flow->has_next && flow->next.isn == isn)
		return &flow->next;
	return flow->syn.isn == isn ? &flow->syn : NULL;
}

static struct flow *replace(struct egress *egress, struct flow *old, const struct tuple *tuple,
			    const struct flow *new, uint64_t now)
{
	if (old != NULL)
		table_remove(egress->flows, old);
	return table_insert(egress->flows, tuple, new, now, FLOW_TIMEOUT_SYN_SENT);
}

/* A new SYN: remembers it. On a tuple that the server has answered on before, it only takes the
 * flow's place when the server accepts it: until then the server speaks about the old numbers.
 * Returns NULL when there is no room. */
static const struct flow_syn *remember_syn(struct egress *egress, struct flow *known,
					   const struct destination *destination,
					   const struct segment *segment, uint64_t now)
{
	uint32_t token =
		token_auth(&destination->key->secret, &segment->tuple.destination, segment->tsval);
	uint32_t delta = token - segment->sequence;
	struct flow flow;

	if (known == NULL || (known->flags & FLOW_SERVER_SYN) == 0) {
		flow_init(&flow, segment, delta, destination->index);
		known = replace(egress, known, &segment->tuple, &flow, now);
		return known != NULL ? &known->syn : NULL;
	}
	flow_set_next(known, segment, delta);
	if (table_deadline(egress->flows, known) < now + FLOW_TIMEOUT_SYN_SENT)
		table_touch(egress->flows, known, now, FLOW_TIMEOUT_SYN_SENT);
	return &known->next;
}

/* Nothing more is to come of its connection. */
static bool has_ended(const struct flow *flow)
{
	const uint8_t both = FLOW_CLIENT_FIN | FLOW_SERVER_FIN;

	return (flow->flags & FLOW_SERVER_SYN) == 0 || (flow->flags & FLOW_RESET) != 0 ||
	       (flow->flags & both) == both;
}

/* Whether integrity mode has made this SYN, or the plain attempt that may follow a time-out. */
static bool has_token(const struct destination *destination, const struct segment *segment)
{
	const struct secret *secret = &destination->key->secret;
	const struct endpoint *server = &segment->tuple.destination;

	return token_check(secret, server, segment->tsval, segment->sequence, true) ||
	       token_check(secret, server, segment->tsval, segment->sequence, false);
}

static void translate_syn(struct egress *egress, const struct destination *destination,
			  struct flow *flow, struct segment *segment, uint64_t now,
			  struct decision *decision)
{
	const struct flow_syn *first = flow != NULL ? repeated_syn(flow, segment->sequence) : NULL;
	enum reason reason = REASON_TOKEN_WRITTEN;

	if (first != NULL) {
		reason = REASON_SYN_REPEATED;
		restore_timestamp(egress, first, segment);
		if (first == &flow->syn && (flow->flags & FLOW_SERVER_SYN) == 0) {
			flow->flags &= (uint8_t)~FLOW_RESET;
			table_touch(egress->flows, flow, now, FLOW_TIMEOUT_SYN_SENT);
		}
	} else if (destination != NULL && destination->integrity > 0 &&
		   !has_token(destination, segment)) {
		/* the rules do not lead there yet, or did not when this SYN passed them */
		decide(decision, VERDICT_DROP, REASON_CONFIGURATION_CHANGED);
		return;
	} else if (destination == NULL || destination->integrity > 0) {
		/* of no destination any more, or with the token of integrity mode */
		if (flow != NULL && has_ended(flow))
			table_remove(egress->flows, flow);
		decide(decision, VERDICT_PASS, REASON_NO_DESTINATION);
		return;
	} else {
		first = remember_syn(egress, flow, destination, segment, now);
	}
	if (first == NULL) {
		decide(decision, VERDICT_DROP, REASON_TABLE_FULL);
		return;
	}
	segment_set_sequence(segment, segment->sequence + first->delta);
	finish(segment, reason, decision);
}

void egress_from_client(struct egress *egress, const struct destination_table *destinations,
			struct segment *segment, uint64_t now, struct decision *decision)
{
	struct flow *flow = table_find(egress->flows, &segment->tuple);

	*decision = (struct decision){.verdict = VERDICT_DROP};
	decision->destination = destination_table_find(destinations, &segment->tuple.destination);
	if (segment->packet->captured < segment->packet->length) {
		decide(decision, VERDICT_DROP, REASON_TRUNCATED);
	} else if ((flow == NULL || segment_is_initial_syn(segment)) && is_signed(segment)) {
		if (flow != NULL)
			table_remove(egress->flows, flow);
		decide(decision, VERDICT_PASS, REASON_SIGNED_SEGMENT);
	} else if (segment_is_initial_syn(segment)) {
		translate_syn(egress, decision->destination, flow, segment, now, decision);
	} else if (flow == NULL) {
		decide(decision, VERDICT_PASS, REASON_FLOW_UNKNOWN);
	} else {
		segment_set_sequence(segment, segment->sequence + flow->syn.delta);
		table_touch(egress->flows, flow, now, flow_follow(flow, segment, FLOW_FROM_CLIENT));
		finish(segment, REASON_TRANSLATED, decision);
	}
}

/* RFC 2018: pairs of edges, as many as fit. */
static void translate_sack(struct segment *segment, uint32_t delta)
{
	struct tcp_option_iterator iterator = tcp_option_begin(segment);
	struct tcp_option option;

	while (tcp_option_next(&iterator, &option)) {
		if (option.kind != TCP_OPTION_SACK)
			continue;
		for (size_t at = 0; at + 4 <= (size_t)option.length - 2; at += 4)
			segment_edit32(segment, option.offset + 2 + at,
				       load32(option.data + at) - delta);
	}
}

/* The server has accepted a new SYN on a known tuple: from now on its numbers are the flow's. */
static struct flow *accept_next(struct egress *egress, struct flow *old, const struct tuple *tuple,
				uint64_t now)
{
	struct flow fresh;

	flow_accept_next(&fresh, old);
	return replace(egress, old, tuple, &fresh, now);
}

void egress_from_server(struct egress *egress, const struct destination_table *destinations,
			struct segment *segment, uint64_t now, struct decision *decision)
{
	struct tuple tuple = tuple_reverse(&segment->tuple);
	struct flow *flow = table_find(egress->flows, &tuple);

	*decision = (struct decision){.verdict = VERDICT_DROP};
	decision->destination = destination_table_find(destinations, &segment->tuple.source);
	if (segment->packet->captured < segment->packet->length) {
		decide(decision, VERDICT_DROP, REASON_TRUNCATED);
		return;
	}
	if (flow == NULL) {
		decide(decision, VERDICT_PASS,
		       is_signed(segment) ? REASON_SIGNED_SEGMENT : REASON_FLOW_UNKNOWN);
		return;
	}
	uint32_t delta = flow->syn.delta;
	if (flow_answers_next(flow, segment)) {
		delta = flow->next.delta;
		if ((segment->flags & TCP_RST) == 0)
			flow = accept_next(egress, flow, &tuple, now);
	}
	table_touch(egress->flows, flow, now, flow_follow(flow, segment, FLOW_FROM_SERVER));
	if ((segment->flags & TCP_ACK) == 0) {
		/* Nothing in it is about the client's numbers. */
		decide(decision, VERDICT_PASS, REASON_TRANSLATED);
		return;
	}
	segment_set_acknowledgement(segment, segment->acknowledgement - delta);
	translate_sack(segment, delta);
	finish(segment, REASON_TRANSLATED, decision);
}

static const struct flow *flow_of_quote(struct egress *egress, const struct tuple *tuple,
					struct decision *decision)
{
	const struct flow *flow = table_find(egress->flows, tuple);

	*decision = (struct decision){
		.verdict = VERDICT_PASS,
		.reason = flow != NULL ? REASON_QUOTE_TRANSLATED : REASON_QUOTE_FOREIGN,
		.modified = flow != NULL,
	};
	return flow;
}

void egress_quote_from_wire(struct egress *egress, struct icmp_quote *quote,
			    struct decision *decision)
{
	const struct flow *flow = flow_of_quote(egress, &quote->tuple, decision);

	if (flow == NULL)
		return;
	bool about_next = flow->has_next && quote->sequence == flow->next.isn + flow->next.delta;
	icmp_quote_set_sequence(quote, quote->sequence -
					       (about_next ? flow->next.delta : flow->syn.delta));
}

void egress_quote_to_wire(struct egress *egress, struct icmp_quote *quote,
			  struct decision *decision)
{
	struct tuple tuple = tuple_reverse(&quote->tuple);
	const struct flow *flow = flow_of_quote(egress, &tuple, decision);

	if (flow != NULL)
		icmp_quote_set_acknowledgement(quote, quote->acknowledgement + flow->syn.delta);
}

void egress_expire(struct egress *egress, uint64_t now)
{
	table_expire(egress->flows, now, EXPIRE_BUDGET, NULL, NULL);
}
