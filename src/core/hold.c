/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hold.h"

enum {
	ACKNOWLEDGE_AFTER = 40,    /* ms; clients retransmit after 200 at the soonest */
	ACKNOWLEDGE_AMOUNT = 8192, /* bytes that are acknowledged at once */
	SPARE_ROOM = 2048,         /* behind the check: the rest of the segment that completes it */
	RETRANSMIT_FIRST = 300,    /* ms */
	RETRANSMIT_MOST = 5000,
	BURST = 10,            /* segments at a time, RFC 6928 */
	NARROW_AFTER = 3,      /* transmissions until the path is taken for narrower than the MSS */
	SEGMENT_LIMIT = 8960,  /* payload of a jumbo frame */
	TIMESTAMP_LENGTH = 12, /* of the option with its padding */
	HOP_LIMIT = 64,
	COOKIE_SLACK = 3, /* Linux keeps one of four values of the MSS in a cookie */
};

void server_view_update(struct server_view *server, const struct segment *segment)
{
	bool handshake = (segment->flags & TCP_SYN) != 0;
	uint32_t next = segment->sequence + segment_sequence_length(segment);
	struct tcp_option option;

	/* No client takes it. */
	if ((segment->flags & TCP_ACK) == 0)
		return;
	if (handshake) {
		*server = (struct server_view){.first = next, .next = next, .answered = true};
		if (tcp_option_find(segment, TCP_OPTION_MSS, &option) && option.length == 4)
			server->mss = load16(option.data);
		if (tcp_option_find(segment, TCP_OPTION_WINDOW_SCALE, &option) &&
		    option.length == 3)
			server->shift = option.data[0] < 14 ? option.data[0] : 14;
	}
	if ((int32_t)(next - server->next) >= 0) {
		server->next = next;
		server->tsval = segment->tsval;
		server->window = (uint32_t)segment->window << (handshake ? 0 : server->shift);
	}
}

bool server_view_has_said(const struct server_view *server, uint32_t acknowledgement)
{
	return server->answered && acknowledgement - server->first <= server->next - server->first;
}

bool server_view_begins_late(const struct server_view *server, uint32_t isn, uint32_t sequence,
			     uint32_t acknowledgement)
{
	uint32_t offset = sequence - (isn + 1);
	/* Before it has said anything nobody can acknowledge more than its SYN. */
	uint32_t said = server->answered ? acknowledgement - server->first : 0;

	return (int32_t)offset > 0 && offset - said + COOKIE_SLACK <= 2 * COOKIE_SLACK;
}

uint32_t server_view_step_back(const struct server_view *server, uint32_t isn, uint32_t sequence,
			       uint32_t acknowledgement)
{
	uint32_t said = acknowledgement - server->first;
	uint32_t enough = 2 * COOKIE_SLACK + 1;
	uint32_t earlier = acknowledgement - (said < enough ? said : enough);

	if (!server_view_begins_late(server, isn, sequence, acknowledgement) ||
	    server_view_begins_late(server, isn, sequence, earlier))
		return acknowledgement;
	return earlier;
}

uint32_t hold_room(uint32_t required)
{
	return required + SPARE_ROOM;
}

static bool begin(struct hold *hold, const struct segment *segment, uint32_t isn, uint32_t required,
		  uint32_t room, const struct server_view *server)
{
	*hold = (struct hold){
		.tuple = segment->tuple,
		.isn = isn,
		.required = required,
		.server = *server,
		.acknowledgement = segment->acknowledgement,
		.passed_acknowledgement = segment->acknowledgement - 1,
		.tsval = segment->tsval,
		.end = UINT32_MAX,
		.due = UINT64_MAX,
	};
	return reassembly_open(&hold->stream, room);
}

bool hold_open(struct hold *hold, const struct segment *segment, uint32_t isn, uint32_t required,
	       const struct server_view *server)
{
	return begin(hold, segment, isn, required, hold_room(required), server);
}

bool hold_open_checked(struct hold *hold, const struct segment *segment, uint32_t isn,
		       uint32_t required, const struct server_view *server)
{
	if (segment->payload_length < required ||
	    !begin(hold, segment, isn, required, required, server))
		return false;
	reassembly_add(&hold->stream, 0, segment->packet->bytes + segment->payload, required);
	hold->checked = true;
	hold->forwarded = true;
	hold->sent = required;
	return true;
}

void hold_close(struct hold *hold)
{
	reassembly_close(&hold->stream);
}

void hold_note_client(struct hold *hold, const struct segment *segment)
{
	bool heard = hold->server.window != 0;

	/* Nobody can acknowledge what the server has not said. */
	if ((segment->flags & TCP_ACK) == 0 ||
	    (heard && (int32_t)(segment->acknowledgement - hold->server.next) > 0) ||
	    (int32_t)(segment->acknowledgement - hold->acknowledgement) < 0 ||
	    (int32_t)(segment->tsval - hold->tsval) < 0)
		return;
	hold->acknowledgement = segment->acknowledgement;
	hold->window = segment->window;
	hold->timestamps = segment->timestamp != 0;
	hold->tsval = segment->tsval;
	hold->tsecr = segment->tsecr;
}

uint32_t hold_server_expects(const struct hold *hold)
{
	return hold->isn + 1 + hold->delivered;
}

static void send(const struct hold *hold, enum protect_action_kind kind, enum reason reason,
		 const struct segment_plan *plan, const struct protect_output *output)
{
	const struct protect_action action = {
		.kind = kind, .reason = reason, .tuple = hold->tuple, .plan = plan};

	output->act(output->context, &action);
}

/* What we take beyond what we have, and the server, too, as its window says. Rounded up: a window
 * that looks closed would silence the client, and what does not fit is sent again anyway. */
static uint16_t window_for_client(const struct hold *hold)
{
	uint32_t edge = hold->stream.room;
	uint8_t shift = hold->server.shift;

	if (hold->server.window < edge)
		edge = hold->server.window;
	if (edge <= hold->stream.contiguous)
		return 0;
	uint32_t field = (edge - hold->stream.contiguous + (1U << shift) - 1) >> shift;
	return (uint16_t)(field < UINT16_MAX ? field : UINT16_MAX);
}

static void acknowledge(struct hold *hold, const struct protect_output *output)
{
	const struct segment_plan plan = {
		.tuple = tuple_reverse(&hold->tuple),
		.sequence = hold->server.next,
		.acknowledgement = hold->isn + 1 + hold->stream.contiguous,
		.window = window_for_client(hold),
		.flags = TCP_ACK,
		.hop_limit = HOP_LIMIT,
		.dont_fragment = true,
		.options = {.timestamp = hold->timestamps,
			    .tsval = hold->server.tsval,
			    .tsecr = hold->tsval},
	};

	hold->due = UINT64_MAX;
	/* Without a word of the server we know no number that the client would believe. */
	if (hold->server.window == 0)
		return;
	hold->acknowledged = hold->stream.contiguous;
	send(hold, PROTECT_TO_CLIENT, REASON_PAYLOAD_HELD, &plan, output);
}

enum hold_result hold_collect(struct hold *hold, const struct segment *segment, uint64_t now,
			      const struct protect_output *output)
{
	struct reassembly *stream = &hold->stream;
	uint32_t offset = segment->sequence - (hold->isn + 1);
	const uint8_t *payload = segment->packet->bytes + segment->payload;

	if (offset >= stream->room)
		return HOLD_OUTSIDE;
	uint32_t added = reassembly_add(stream, offset, payload, segment->payload_length);
	if ((segment->flags & TCP_FIN) != 0)
		hold->end = offset + (uint32_t)segment->payload_length;
	if (stream->contiguous >= hold->required)
		return HOLD_COMPLETE;
	if (stream->contiguous == hold->end)
		return HOLD_ENDED;
	if (stream->contiguous == 0)
		return HOLD_WAITING;
	/* Nothing new: the client does not know that we have it. */
	if (added == 0 || stream->contiguous - hold->acknowledged >= ACKNOWLEDGE_AMOUNT)
		acknowledge(hold, output);
	else if (hold->due == UINT64_MAX && stream->contiguous > hold->acknowledged)
		hold->due = now + ACKNOWLEDGE_AFTER;
	return HOLD_WAITING;
}

static uint32_t segment_size(const struct hold *hold)
{
	uint32_t least = hold->tuple.source.family == FAMILY_IPV4 ? 536 : 1220;
	uint32_t size = hold->server.mss != 0 ? hold->server.mss : least;

	if (size > SEGMENT_LIMIT)
		size = SEGMENT_LIMIT;
	if (hold->transmissions > NARROW_AFTER && size > least)
		size = least;
	return size > 2 * TIMESTAMP_LENGTH ? size - TIMESTAMP_LENGTH : TIMESTAMP_LENGTH;
}

static void send_piece(const struct hold *hold, uint32_t offset, uint32_t length,
		       const struct protect_output *output)
{
	bool last = offset + length == hold->stream.contiguous;
	bool fin = last && offset + length == hold->end;
	uint32_t sequence = hold->isn + 1 + offset;
	const struct segment_plan plan = {
		.tuple = hold->tuple,
		.sequence = sequence,
		.acknowledgement = server_view_step_back(&hold->server, hold->isn, sequence,
							 hold->acknowledgement),
		.window = hold->window,
		.flags = (uint8_t)(TCP_ACK | (last ? TCP_PSH : 0) | (fin ? TCP_FIN : 0)),
		.hop_limit = HOP_LIMIT,
		.dont_fragment = true,
		.options = {.timestamp = hold->timestamps,
			    .tsval = hold->tsval,
			    .tsecr = hold->tsecr},
		.payload = hold->stream.bytes + offset,
		.payload_length = length,
	};

	send(hold, PROTECT_TO_SERVER, REASON_PAYLOAD_VALID, &plan, output);
}

/* Sends on from where we are, as far as limit, the server's window and a burst allow. */
static void send_up_to(struct hold *hold, uint32_t limit, const struct protect_output *output)
{
	uint32_t size = segment_size(hold);
	uint32_t window = hold->server.window != 0 ? hold->server.window : size;

	if (limit > hold->delivered + window)
		limit = hold->delivered + window;
	for (unsigned int i = 0; i < BURST && hold->sent < limit; i++) {
		uint32_t length = limit - hold->sent < size ? limit - hold->sent : size;

		send_piece(hold, hold->sent, length, output);
		hold->sent += length;
	}
}

bool hold_contradicts(const struct hold *hold, const struct segment *segment)
{
	uint32_t offset = segment->sequence - (hold->isn + 1);
	uint32_t end = offset + (uint32_t)segment->payload_length;

	/* An end takes the place of a byte, too. */
	if ((segment->flags & TCP_FIN) != 0 && (int32_t)(end - hold->required) < 0)
		return true;
	if (segment->payload_length == 0)
		return false;
	/* What begins before the first byte is nothing that a client sends. */
	if ((int32_t)offset < 0)
		return true;
	return !reassembly_agrees(&hold->stream, offset, segment->packet->bytes + segment->payload,
				  segment->payload_length);
}

bool hold_deliver(struct hold *hold, const struct segment *segment, uint64_t now,
		  const struct protect_output *output)
{
	uint32_t offset = segment->sequence - (hold->isn + 1);
	uint32_t end = offset + (uint32_t)segment->payload_length;
	uint32_t all = hold->stream.contiguous;
	/* Nor may what we send behind it begin late: ours overtakes it. */
	bool late = server_view_begins_late(&hold->server, hold->isn, segment->sequence,
					    segment->acknowledgement);
	bool passes = !hold_contradicts(hold, segment) && !late && end > COOKIE_SLACK;

	hold->checked = true;
	hold->transmissions = 1;
	hold->interval = RETRANSMIT_FIRST;
	hold->due = now + RETRANSMIT_FIRST;
	send_up_to(hold, passes && offset < all ? offset : all, output);
	if (passes && hold->sent == offset) {
		hold->sent = end < all ? end : all;
		send_up_to(hold, all, output);
	}
	return passes;
}

bool hold_acknowledged(struct hold *hold, uint32_t acknowledgement, uint64_t now,
		       const struct protect_output *output)
{
	uint32_t offset = acknowledgement - (hold->isn + 1);
	uint32_t goal = hold->acknowledged > hold->required ? hold->acknowledged : hold->required;

	if (!hold->checked || (int32_t)(offset - hold->delivered) <= 0)
		return false;
	hold->delivered = offset < hold->stream.contiguous ? offset : hold->stream.contiguous;
	if (hold->delivered >= goal)
		return true;
	if (hold->forwarded)
		return false;
	if (hold->sent < hold->delivered)
		hold->sent = hold->delivered;
	hold->interval = RETRANSMIT_FIRST;
	hold->due = now + RETRANSMIT_FIRST;
	send_up_to(hold, hold->stream.contiguous, output);
	return false;
}

void hold_tick(struct hold *hold, uint64_t now, const struct protect_output *output)
{
	if (now < hold->due)
		return;
	if (!hold->checked) {
		acknowledge(hold, output);
		return;
	}
	hold->transmissions++;
	hold->sent = hold->delivered;
	hold->interval =
		hold->interval < RETRANSMIT_MOST / 2 ? hold->interval * 2 : RETRANSMIT_MOST;
	hold->due = now + hold->interval;
	send_up_to(hold, hold->stream.contiguous, output);
}
