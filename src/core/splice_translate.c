/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translation between the client's and the server's numbers. */
#include "splice_internal.h"

/* How far a TSecr may lie before the server's first TSval and still be an echo of our own clock:
 * collecting and connecting take no longer, in ticks of 1 ms. */
enum { OUR_CLOCK_REACH = 1 << 20 };

/* Shifts every edge of a SACK option by delta, or takes the option away. */
static void translate_sack(struct segment *segment, bool wanted, uint32_t delta)
{
	struct tcp_option_iterator iterator = tcp_option_begin(segment);
	struct tcp_option option;

	while (tcp_option_next(&iterator, &option)) {
		if (option.kind != TCP_OPTION_SACK)
			continue;
		if (!wanted) {
			segment_blank_option(segment, &option);
			continue;
		}
		for (size_t at = 2; at + 4 <= option.length; at += 4)
			segment_edit32(segment, option.offset + at,
				       load32(option.data + at - 2) + delta);
	}
}

/* Echoes of our own clock, from before the server answered, become the server's first TSval: a
 * server may refuse a TSecr that it never sent, and SYN cookies keep the options in it. */
uint32_t translate_tsecr_to_server(struct splice_flow *flow, uint32_t tsecr)
{
	uint32_t translated = tsecr - flow->tsval_delta;
	uint32_t before = flow->server_tsval - translated;

	if ((flow->closing & SPLICE_TSECR_SETTLED) != 0)
		return translated;
	if (before - 1 < OUR_CLOCK_REACH)
		return flow->server_tsval;
	if (0 - before > OUR_CLOCK_REACH)
		flow->closing |= SPLICE_TSECR_SETTLED;
	return translated;
}

void translate_to_server(struct splice_flow *flow, struct segment *segment)
{
	bool sack = (flow->flags & SPLICE_SACK_TO_SERVER) != 0 &&
		    (flow->flags & SPLICE_SACK_TO_CLIENT) != 0;
	uint16_t window = window_for_server(flow, segment->window);

	segment_set_sequence(segment, segment->sequence + splice_client_delta(flow));
	if (window != segment->window)
		segment_set_window(segment, window);
	if ((segment->flags & TCP_ACK) == 0)
		return;
	segment_set_acknowledgement(segment, segment->acknowledgement - splice_server_delta(flow));
	translate_sack(segment, sack, 0 - splice_server_delta(flow));
	if ((flow->flags & SPLICE_TIMESTAMPS) != 0 && segment->timestamp != 0)
		segment_set_tsecr(segment, translate_tsecr_to_server(flow, segment->tsecr));
}

/* The server's window as the client shall see it. While we hold bytes that the client believes
 * delivered, the server has less room than it says. */
static uint16_t window_for_client(const struct splice *splice, const struct splice_flow *flow,
				  const struct half *half, uint16_t window, uint32_t raised)
{
	uint64_t bytes = (uint64_t)window << flow->server_shift;
	uint64_t field;

	bytes = bytes > raised ? bytes - raised : 0;
	if (half != NULL && flow->stage == SPLICE_DELIVERING &&
	    bytes > splice->limits.buffer_size - half->collected)
		bytes = splice->limits.buffer_size - half->collected;
	field = bytes >> flow->promised_shift;
	return (uint16_t)(field < UINT16_MAX ? field : UINT16_MAX);
}

/* Translates the acknowledgement; never behind what was acknowledged to the client already. Returns
 * by how much it was raised. */
static uint32_t translate_acknowledgement(const struct splice_flow *flow, const struct half *half,
					  struct segment *segment)
{
	uint32_t acknowledgement = segment->acknowledgement - splice_client_delta(flow);
	uint32_t raised = 0;

	if (half != NULL && (int32_t)(half->promised_next - acknowledgement) > 0) {
		raised = half->promised_next - acknowledgement;
		acknowledgement += raised;
	}
	segment_set_acknowledgement(segment, acknowledgement);
	return raised;
}

void translate_to_client(const struct splice *splice, const struct splice_flow *flow,
			 const struct half *half, struct segment *segment)
{
	uint32_t raised = 0;
	bool sack = (flow->flags & SPLICE_SACK_TO_CLIENT) != 0;

	segment_set_sequence(segment, segment->sequence + splice_server_delta(flow));
	if ((segment->flags & TCP_ACK) != 0) {
		raised = translate_acknowledgement(flow, half, segment);
		/* blocks below a raised acknowledgement would look like duplicates */
		translate_sack(segment, sack && raised == 0, 0 - splice_client_delta(flow));
	}
	if ((segment->flags & TCP_SYN) == 0)
		segment_set_window(segment,
				   window_for_client(splice, flow, half, segment->window, raised));
	if ((flow->flags & SPLICE_TIMESTAMPS) != 0 && segment->timestamp != 0)
		segment_set_tsval(segment, segment->tsval + flow->tsval_delta);
}
