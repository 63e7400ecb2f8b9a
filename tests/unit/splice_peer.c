/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "splice_peer.h"

#include <string.h>

#include "core/checksum.h"
#include "core/token.h"

enum { FIRST_INTERVAL = 300, LAST_INTERVAL = 4000, FLIGHT = 8, WRITE_INTERVAL = 5 };

/* --- sending --- */

static uint32_t advertise(struct peer *peer)
{
	uint32_t edge = peer->received + peer->settings.window;

	if ((int32_t)(edge - peer->right_edge) > 0)
		peer->right_edge = edge;
	return peer->settings.window;
}

static size_t sack_option(const struct peer *peer, uint8_t *at)
{
	uint32_t left = peer->received;
	uint32_t right;

	while (left < PEER_STREAM_MAX && !peer->got[left])
		left++;
	if (left == PEER_STREAM_MAX)
		return 0;
	for (right = left; right < PEER_STREAM_MAX && peer->got[right]; right++)
		;
	at[0] = TCP_OPTION_SACK;
	at[1] = 10;
	store32(at + 2, peer->irs + 1 + left);
	store32(at + 6, peer->irs + 1 + right);
	at[10] = TCP_OPTION_NOP;
	at[11] = TCP_OPTION_END;
	return 12;
}

static size_t put_timestamp(struct peer *peer, uint8_t *at, uint64_t now)
{
	uint32_t tsval = (uint32_t)now + peer->clock_base;

	if (peer->state == PEER_SYN_RECEIVED || peer->state == PEER_SYN_SENT ||
	    peer->state == PEER_ESTABLISHED) {
		bool known = peer->tsval_count != 0 && peer->tsvals[peer->tsval_count - 1] == tsval;

		if (!known && peer->tsval_count < PEER_TSVALS_MAX)
			peer->tsvals[peer->tsval_count++] = tsval;
	}
	at[0] = at[1] = TCP_OPTION_NOP;
	at[2] = TCP_OPTION_TIMESTAMP;
	at[3] = 10;
	store32(at + 4, tsval);
	store32(at + 8, peer->recent);
	return 12;
}

static size_t put_syn_options(struct peer *peer, uint8_t *at, uint8_t flags)
{
	bool answer = (flags & TCP_ACK) != 0;
	size_t length = 4;

	at[0] = TCP_OPTION_MSS;
	at[1] = 4;
	store16(at + 2, peer->settings.mss);
	if (answer ? peer->scaling : peer->settings.window_scale) {
		at[length++] = TCP_OPTION_WINDOW_SCALE;
		at[length++] = 3;
		at[length++] = peer->settings.shift;
		at[length++] = TCP_OPTION_NOP;
	}
	if (answer ? peer->sacking : peer->settings.sack) {
		at[length++] = TCP_OPTION_SACK_PERMITTED;
		at[length++] = 2;
		at[length++] = TCP_OPTION_NOP;
		at[length++] = TCP_OPTION_NOP;
	}
	return length;
}

static size_t put_ip(const struct peer *peer, uint8_t *bytes, size_t tcp_length)
{
	memset(bytes, 0, 40);
	if (peer->tuple.source.family == FAMILY_IPV4) {
		bytes[0] = 0x45;
		store16(bytes + 2, (uint16_t)(20 + tcp_length));
		bytes[6] = 0x40;
		bytes[8] = 64;
		bytes[9] = PROTOCOL_TCP;
		memcpy(bytes + 12, peer->tuple.source.address, 4);
		memcpy(bytes + 16, peer->tuple.destination.address, 4);
		store16(bytes + 10, checksum_finish(checksum_add(0, bytes, 20)));
		return 20;
	}
	bytes[0] = 0x60;
	store16(bytes + 4, (uint16_t)tcp_length);
	bytes[6] = PROTOCOL_TCP;
	bytes[7] = 64;
	memcpy(bytes + 8, peer->tuple.source.address, 16);
	memcpy(bytes + 24, peer->tuple.destination.address, 16);
	return 40;
}

static void send_segment(struct peer *peer, uint32_t sequence, uint8_t flags,
			 const uint8_t *payload, uint32_t length, uint64_t now)
{
	uint8_t bytes[PEER_PACKET_MAX];
	uint8_t tcp[60] = {0};
	bool syn = (flags & TCP_SYN) != 0;
	bool ack = (flags & TCP_ACK) != 0;
	uint32_t window = advertise(peer);
	size_t header = 20;
	size_t ip;

	if (syn)
		header += put_syn_options(peer, tcp + header, flags);
	if (syn && !ack ? peer->settings.timestamps : peer->stamping && (flags & TCP_RST) == 0)
		header += put_timestamp(peer, tcp + header, now);
	if (!syn && ack && peer->sacking)
		header += sack_option(peer, tcp + header);
	if (!syn && peer->scaling)
		window >>= peer->settings.shift;
	store16(tcp, peer->tuple.source.port);
	store16(tcp + 2, peer->tuple.destination.port);
	store32(tcp + 4, sequence);
	if (ack)
		store32(tcp + 8, peer->irs + 1 + peer->received + (peer->fin_received ? 1 : 0));
	tcp[12] = (uint8_t)(header << 2);
	tcp[13] = flags;
	store16(tcp + 14, (uint16_t)(window > 65535 ? 65535 : window));
	ip = put_ip(peer, bytes, header + length);
	memcpy(bytes + ip, tcp, header);
	if (length != 0)
		memcpy(bytes + ip + header, payload, length);
	store16(bytes + ip + 16,
		checksum_finish(checksum_add(
			checksum_pseudo(peer->tuple.source.family, peer->tuple.source.address,
					peer->tuple.destination.address, PROTOCOL_TCP,
					(uint32_t)(header + length)),
			bytes + ip, header + length)));
	peer->send(peer->context, peer, bytes, ip + header + length);
}

static void send_acknowledgement(struct peer *peer, uint64_t now)
{
	send_segment(peer, peer->iss + 1 + peer->nxt, TCP_ACK, NULL, 0, now);
}

static void arm(struct peer *peer, uint64_t now, bool again)
{
	if (!again)
		peer->interval = FIRST_INTERVAL;
	else if (peer->interval < LAST_INTERVAL)
		peer->interval *= 2;
	peer->retransmit_at = now + peer->interval;
}

static uint32_t segment_size(const struct peer *peer)
{
	uint32_t size = peer->peer_mss;

	if (size > 1460)
		size = 1460;
	return peer->stamping ? size - 12 : size;
}

/* What the window and the application allow; offset stream_length is the FIN. */
static void output(struct peer *peer, uint64_t now)
{
	uint32_t size = segment_size(peer);
	uint32_t total = peer->settings.stream_length;

	while (peer->nxt < peer->written) {
		uint32_t length = peer->written - peer->nxt;
		uint64_t room = peer->peer_window;

		if (room > (uint64_t)FLIGHT * size)
			room = (uint64_t)FLIGHT * size;
		if (peer->nxt - peer->una >= room)
			return;
		room -= peer->nxt - peer->una;
		length = length < size ? length : size;
		length = length < room ? length : (uint32_t)room;
		if (peer->settings.nagle && length < size && peer->nxt != peer->una)
			return;
		if (peer->nxt == peer->una)
			arm(peer, now, false);
		send_segment(peer, peer->iss + 1 + peer->nxt, TCP_ACK | TCP_PSH,
			     peer->out + peer->nxt, length, now);
		peer->nxt += length;
		if (peer->nxt > peer->max)
			peer->max = peer->nxt;
	}
	if (peer->nxt == total && peer->written == total) {
		send_segment(peer, peer->iss + 1 + total, TCP_ACK | TCP_FIN, NULL, 0, now);
		peer->nxt = peer->max = total + 1;
		arm(peer, now, false);
	}
}

void peer_connect(struct peer *peer, uint64_t now)
{
	peer->state = PEER_SYN_SENT;
	peer->interval = 1000;
	peer->retransmit_at = now + peer->interval;
	send_segment(peer, peer->iss, TCP_SYN, NULL, 0, now);
}

void peer_abort(struct peer *peer, uint64_t now)
{
	send_segment(peer, peer->iss + 1 + peer->nxt, TCP_RST | TCP_ACK, NULL, 0, now);
	peer->state = PEER_RESET;
}

void peer_timer(struct peer *peer, uint64_t now)
{
	bool outstanding;

	if (peer->state == PEER_ESTABLISHED && now >= peer->write_at &&
	    peer->written < peer->settings.stream_length &&
	    (!peer->settings.waits || peer->received != 0)) {
		uint32_t left = peer->settings.stream_length - peer->written;

		peer->written +=
			left < peer->settings.write_size ? left : peer->settings.write_size;
		peer->write_at = now + WRITE_INTERVAL;
		if (peer->una == peer->nxt)
			arm(peer, now, false);
		output(peer, now);
	}
	if (now < peer->retransmit_at)
		return;
	if (peer->state == PEER_SYN_SENT || peer->state == PEER_SYN_RECEIVED) {
		send_segment(peer, peer->iss,
			     peer->state == PEER_SYN_SENT ? TCP_SYN : TCP_SYN | TCP_ACK, NULL, 0,
			     now);
		arm(peer, now, true);
	}
	if (peer->state != PEER_ESTABLISHED)
		return;
	outstanding = peer->una != peer->nxt;
	if (outstanding) {
		peer->nxt = peer->una;
		output(peer, now);
	}
	if (peer->una < peer->written && peer->nxt == peer->una && peer->peer_window == 0)
		send_segment(peer, peer->iss + 1 + peer->una, TCP_ACK, peer->out + peer->una, 1,
			     now); /* window probe */
	arm(peer, now, true);
}

/* --- receiving --- */

static bool was_sent(const struct peer *peer, uint32_t tsval)
{
	for (uint32_t at = 0; at < peer->tsval_count; at++)
		if (peer->tsvals[at] == tsval)
			return true;
	return peer->tsval_count == PEER_TSVALS_MAX;
}

static void negotiate(struct peer *peer, const struct segment *segment, bool answer)
{
	struct tcp_option option;
	bool scale = tcp_option_find(segment, TCP_OPTION_WINDOW_SCALE, &option);

	if (scale)
		peer->peer_shift = option.data[0];
	if (answer && scale && !peer->settings.window_scale)
		peer_fail(peer, "window scale without an offer");
	peer->scaling = scale && peer->settings.window_scale;
	if (!peer->scaling)
		peer->peer_shift = 0;
	peer->peer_mss = 536;
	if (tcp_option_find(segment, TCP_OPTION_MSS, &option))
		peer->peer_mss = load16(option.data);
	peer->sacking =
		tcp_option_find(segment, TCP_OPTION_SACK_PERMITTED, &option) && peer->settings.sack;
	peer->stamping = segment->timestamp != 0 && peer->settings.timestamps;
	if (answer && segment->timestamp != 0 && !peer->settings.timestamps)
		peer_fail(peer, "timestamp without an offer");
	if (tcp_option_find(segment, TCP_OPTION_FAST_OPEN, &option))
		peer_fail(peer, "Fast Open came through");
	peer->irs = segment->sequence;
	peer->recent = segment->tsval;
	peer->peer_window = segment->window;
}

static void receive_syn(struct peer *peer, const struct segment *segment, uint64_t now)
{
	struct endpoint destination = segment->tuple.destination;

	if (segment->payload_length != 0)
		peer_fail(peer, "payload in the SYN");
	if (peer->state == PEER_LISTEN) {
		if (peer->key != NULL &&
		    !token_check(&peer->key->secret, &destination, segment->tsval,
				 segment->sequence, !peer->plain))
			peer_fail(peer, "the ISN is no token");
		negotiate(peer, segment, false);
		peer->syn_tsval = segment->tsval;
		peer->tuple = tuple_reverse(&segment->tuple);
		peer->state = PEER_SYN_RECEIVED;
		peer->interval = 1000;
		peer->retransmit_at = now + peer->interval;
	} else if (segment->sequence != peer->irs || segment->tsval != peer->syn_tsval) {
		peer_fail(peer, "a retransmitted SYN differs");
	}
	if (peer->state == PEER_SYN_RECEIVED)
		send_segment(peer, peer->iss, TCP_SYN | TCP_ACK, NULL, 0, now);
	else if (peer->state == PEER_ESTABLISHED)
		send_acknowledgement(peer, now);
}

/* Knock: IH is in seq - 1; every data segment is judged until one was right, a wrong one kills. */
static void judge(struct peer *peer, const struct segment *segment)
{
	const uint8_t *payload = segment->packet->bytes + segment->payload;

	if (peer->key == NULL || peer->plain || peer->judged)
		return;
	if (segment->sequence != peer->irs + 1) {
		peer_fail(peer, "a segment before the judged one, elsewhere than at ISN + 1");
		return;
	}
	if ((segment->flags & TCP_FIN) != 0)
		peer_fail(peer, "FIN before the judged segment");
	if (segment->payload_length == 0)
		return;
	if (segment->payload_length < peer->integrity ||
	    token_payload_hash(&peer->key->secret, payload, peer->integrity) !=
		    (uint16_t)(segment->sequence - 1))
		peer_fail(peer, "the first data segment fails Knock's check");
	peer->judged = true;
	peer->first_payload = (uint32_t)segment->payload_length;
}

static void take_acknowledgement(struct peer *peer, const struct segment *segment, uint64_t now)
{
	uint32_t offset = segment->acknowledgement - peer->iss - 1;
	struct tcp_option option;

	if ((int32_t)(offset - peer->max) > 0) {
		peer_fail(peer, "acknowledges what was never sent");
		return;
	}
	if (tcp_option_find(segment, TCP_OPTION_SACK, &option)) {
		if (!peer->sacking)
			peer_fail(peer, "SACK without negotiation");
		for (size_t at = 0; at + 8 <= (size_t)option.length - 2; at += 8) {
			uint32_t left = load32(option.data + at) - peer->iss - 1;
			uint32_t right = load32(option.data + at + 4) - peer->iss - 1;

			if (left >= right || right > peer->max)
				peer_fail(peer, "SACK of what was never sent");
		}
	}
	if ((int32_t)(offset - peer->una) < 0)
		return;
	if (offset != peer->una) {
		peer->una = offset;
		if (peer->nxt < offset)
			peer->nxt = offset;
		arm(peer, now, false);
	}
	peer->peer_window = (uint64_t)segment->window << peer->peer_shift;
	if (offset == peer->settings.stream_length + 1)
		peer->fin_acknowledged = true;
}

static void take_payload(struct peer *peer, const struct segment *segment)
{
	const uint8_t *payload = segment->packet->bytes + segment->payload;
	uint32_t offset = segment->sequence - peer->irs - 1;

	if (segment->payload_length > 1 &&
	    (int32_t)(offset + (uint32_t)segment->payload_length - peer->right_edge) > 0) {
		peer_fail(peer, "data beyond the window");
		return;
	}
	for (uint32_t at = 0; at < segment->payload_length; at++) {
		if (offset + at >= PEER_STREAM_MAX)
			continue;
		if (peer->got[offset + at] && peer->in[offset + at] != payload[at])
			peer_fail(peer, "the same byte with another value");
		peer->in[offset + at] = payload[at];
		peer->got[offset + at] = true;
	}
	if ((segment->flags & TCP_FIN) != 0) {
		peer->has_fin = true;
		peer->fin_at = offset + (uint32_t)segment->payload_length;
	}
	while (peer->received < PEER_STREAM_MAX && peer->got[peer->received])
		peer->received++;
	if (peer->has_fin && peer->received >= peer->fin_at)
		peer->fin_received = true;
}

static void receive_established(struct peer *peer, const struct segment *segment, uint64_t now)
{
	uint32_t next = peer->irs + 1 + peer->received + (peer->fin_received ? 1 : 0);

	if ((segment->flags & TCP_SYN) != 0) {
		send_acknowledgement(peer, now); /* RFC 5961 4.2 */
		return;
	}
	if ((segment->flags & TCP_RST) != 0) {
		if (segment->sequence == next)
			peer->state = PEER_RESET;
		else if (segment->sequence - next < peer->settings.window)
			send_acknowledgement(peer, now);
		return;
	}
	if (peer->stamping && segment->timestamp == 0)
		peer_fail(peer, "timestamp missing");
	if (!peer->stamping && segment->timestamp != 0)
		peer_fail(peer, "timestamp without negotiation");
	if (peer->stamping && !was_sent(peer, segment->tsecr))
		peer_fail(peer, "TSecr was never sent");
	if (peer->stamping && (int32_t)(segment->tsval - peer->recent) < 0) {
		send_acknowledgement(peer, now); /* PAWS */
		return;
	}
	if (peer->stamping && (int32_t)(segment->sequence - next) <= 0)
		peer->recent = segment->tsval;
	judge(peer, segment);
	take_acknowledgement(peer, segment, now);
	take_payload(peer, segment);
	if (segment->payload_length != 0 || (segment->flags & TCP_FIN) != 0)
		send_acknowledgement(peer, now);
	output(peer, now);
}

static void receive_syn_ack(struct peer *peer, const struct segment *segment, uint64_t now)
{
	bool ours = (segment->flags & TCP_ACK) != 0 && segment->acknowledgement == peer->iss + 1;

	if (!ours) {
		peer_fail(peer, "a wrong acknowledgement of the SYN");
		return;
	}
	if ((segment->flags & TCP_RST) != 0) {
		peer->state = PEER_RESET;
		return;
	}
	if ((segment->flags & TCP_SYN) == 0) {
		return; /* overtook the SYN+ACK */
	}
	negotiate(peer, segment, true);
	if (peer->stamping && !was_sent(peer, segment->tsecr))
		peer_fail(peer, "TSecr of the SYN+ACK was never sent");
	peer->state = PEER_ESTABLISHED;
	arm(peer, now, false);
	send_acknowledgement(peer, now);
}

void peer_receive(struct peer *peer, struct segment *segment, uint64_t now)
{
	if (!segment_checksum_valid(segment))
		peer_fail(peer, "wrong TCP checksum");
	if (segment->packet->family == FAMILY_IPV4 &&
	    checksum_finish(checksum_add(0, segment->packet->bytes, 20)) != 0)
		peer_fail(peer, "wrong IPv4 header checksum");
	if (peer->state == PEER_LISTEN || (peer->key != NULL && segment_is_initial_syn(segment))) {
		if (segment_is_initial_syn(segment))
			receive_syn(peer, segment, now);
		return;
	}
	if (peer->state == PEER_SYN_SENT) {
		receive_syn_ack(peer, segment, now);
		return;
	}
	if (peer->state == PEER_SYN_RECEIVED) {
		if ((segment->flags & TCP_RST) != 0 && segment->sequence == peer->irs + 1)
			peer->state = PEER_RESET;
		if ((segment->flags & (TCP_ACK | TCP_RST)) != TCP_ACK ||
		    segment->acknowledgement != peer->iss + 1)
			return;
		peer->state = PEER_ESTABLISHED;
		arm(peer, now, false);
	}
	if (peer->state == PEER_ESTABLISHED)
		receive_established(peer, segment, now);
}

bool peer_done(const struct peer *peer)
{
	return peer->fin_received && peer->fin_acknowledged;
}
