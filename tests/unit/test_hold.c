/* SPDX-License-Identifier: GPL-2.0-or-later */
/* reassemble = true: what client and server get of a connection whose first bytes are held back. */
#include "core/hold.h"

#include "action_notes.h"
#include "core/protect.h"
#include "core/token.h"
#include "support.h"

enum { NUMBER = 28, START = 1000000, SERVER_ISN = 70000, LATEST_TSVAL = 600 };

static const char payload[] = "Protected payload goes here. And more of it.";

static struct key key;
static struct service service = {
	.name = "app",
	.integrity = NUMBER,
	.reassemble = true,
	.pending_timeout = 60,
	.reassemble_timeout = 5,
	.keys = &key,
	.key_count = 1,
};

static struct protect *engine;
static struct service_table *table;
static uint64_t now;
static uint32_t isn;
static struct tuple tuple;
static uint8_t bytes[2048];
static struct packet packet;
static struct segment segment;
static struct decision decision;

static void judge(const struct segment_plan *plan)
{
	make_segment(&segment, &packet, bytes, sizeof(bytes), plan);
	protect_judge(engine, table, &segment, false, (struct moment){.steady = now}, &decision);
}

/* A client's segment at an offset behind its ISN. */
static struct segment_plan client_plan(uint8_t flags, uint32_t offset, const void *data,
				       size_t length)
{
	return (struct segment_plan){
		.tuple = tuple,
		.sequence = isn + offset,
		.acknowledgement = (flags & TCP_ACK) != 0 ? SERVER_ISN + 1 : 0,
		.window = 500,
		.flags = flags,
		.hop_limit = 64,
		.options = {.timestamp = true,
			    .tsval = offset == 0 ? 555 : LATEST_TSVAL,
			    .tsecr = 99},
		.payload = data,
		.payload_length = length,
	};
}

static void expect(enum verdict verdict, enum reason reason)
{
	ck_assert_str_eq(reason_word(decision.reason), reason_word(reason));
	ck_assert_int_eq(decision.verdict, verdict);
}

/* The bytes of the right payload from at on, where first is 1. */
static void send_bytes(uint32_t at, size_t length, enum verdict verdict, enum reason reason)
{
	struct segment_plan plan =
		client_plan(TCP_ACK | TCP_PSH, at, (const uint8_t *)payload + at - 1, length);

	judge(&plan);
	expect(verdict, reason);
}

static void reply_with(uint8_t flags, uint32_t sequence, uint32_t acknowledgement,
		       const uint8_t *data, size_t length)
{
	const struct segment_plan plan = {
		.tuple = tuple_reverse(&tuple),
		.sequence = sequence,
		.acknowledgement = acknowledgement,
		.window = (flags & TCP_SYN) != 0 ? 64000 : 500,
		.flags = flags,
		.hop_limit = 64,
		.options = {.mss = (flags & TCP_SYN) != 0,
			    .mss_value = 1460,
			    .window_scale = (flags & TCP_SYN) != 0,
			    .window_shift = 7,
			    .timestamp = true,
			    .tsval = 4000,
			    .tsecr = 555},
		.payload = data,
		.payload_length = length,
	};

	make_segment(&segment, &packet, bytes, sizeof(bytes), &plan);
	protect_reply(engine, table, &segment, false, now, &decision);
}

static void reply(uint8_t flags, uint32_t sequence, uint32_t acknowledgement)
{
	reply_with(flags, sequence, acknowledgement, NULL, 0);
}

static void set_up(void)
{
	const uint8_t hash_key[16] = {9};
	const struct protect_options options = {
		.capacity = 16, .holds = 2, .output = {.act = note_action}};
	const struct service_row row = {make_endpoint("192.0.2.1", 22), &service};
	bool truncated;

	secret_from_bytes(&key.secret, (const uint8_t *)"key", 3, &truncated);
	engine = protect_new(&options, hash_key, START);
	table = service_table_new(&row, 1);
	now = START;
	action_count = 0;
	tuple = (struct tuple){make_endpoint("198.51.100.9", 40000), row.endpoint};
	isn = token_integrity(&key.secret, &row.endpoint, 555,
			      token_payload_hash(&key.secret, (const uint8_t *)payload, NUMBER));
}

static void tear_down(void)
{
	protect_free(engine);
	service_table_free(table);
}

static void shake_hands(void)
{
	struct segment_plan syn = client_plan(TCP_SYN, 0, NULL, 0);
	struct segment_plan ack = client_plan(TCP_ACK, 1, NULL, 0);

	judge(&syn);
	expect(VERDICT_PENDING, REASON_TOKEN_VALID);
	reply(TCP_SYN | TCP_ACK, SERVER_ISN, isn + 1);
	expect(VERDICT_PASS, REASON_SERVER_REPLY);
	judge(&ack);
	expect(VERDICT_PENDING, REASON_PENDING_EMPTY);
}

static void expect_action(size_t number, enum protect_action_kind kind)
{
	ck_assert_uint_gt(action_count, number);
	ck_assert_int_eq(actions[number].action.kind, kind);
	ck_assert(tuple_equal(&actions[number].action.tuple, &tuple));
}

/* All bytes in one segment, with and without reassemble: they go on at once, but the connection is
 * not verified before the server has them, and until then nothing else takes their place. */
START_TEST(one_segment)
{
	struct segment_plan other = client_plan(TCP_ACK, 1, "Protected PAYLOAD goes here.", NUMBER);
	struct segment_plan fin = client_plan(TCP_ACK | TCP_FIN, NUMBER, NULL, 0);

	service.reassemble = _i == 0;
	shake_hands();
	send_bytes(1, 44, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	ck_assert(!decision.modified);
	ck_assert_uint_eq(protect_held(engine), 0);
	ck_assert_uint_eq(protect_pending(engine), 1);
	for (uint32_t offset = 0; offset < NUMBER; offset++) {
		other.sequence = isn + 1 - offset;
		judge(&other);
		expect(VERDICT_DROP, REASON_PAYLOAD_CONFLICT);
	}
	judge(&fin);
	expect(VERDICT_DROP, REASON_PAYLOAD_CONFLICT);
	/* The same bytes again, in any pieces, and what follows them. */
	send_bytes(1, 44, VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	send_bytes(NUMBER, 3, VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	fin.sequence++;
	judge(&fin);
	expect(VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	reply(TCP_ACK, SERVER_ISN + 1, isn + NUMBER);
	reply(TCP_ACK, SERVER_ISN + 1, isn);
	ck_assert_uint_eq(action_count, 0);
	reply(TCP_ACK, SERVER_ISN + 1, isn + 1 + NUMBER);
	expect(VERDICT_PASS, REASON_SERVER_REPLY);
	ck_assert_uint_eq(action_count, 1);
	expect_action(0, PROTECT_VERIFY);
	ck_assert_uint_eq(protect_pending(engine), 0);
	service.reassemble = true;
}
END_TEST

/* The client sends again what the server does not have. In the end both learn that it was in vain.
 */
START_TEST(one_segment_in_vain)
{
	shake_hands();
	send_bytes(1, NUMBER, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	now += 29000;
	ck_assert_uint_eq(protect_tick(engine, now), UINT64_MAX);
	ck_assert_uint_eq(action_count, 0);
	now += 3000;
	protect_tick(engine, now);
	ck_assert_uint_eq(action_count, 3);
	ck_assert_uint_eq(actions[0].plan.sequence, isn + 1);
	ck_assert_int_eq(actions[2].action.reason, REASON_SERVER_SILENT);
	ck_assert_uint_eq(protect_pending(engine), 0);
}
END_TEST

/* A server with SYN cookies may take the number in an ACK for the beginning of the stream. */
START_TEST(late_beginning)
{
	service.reassemble = _i == 0;
	shake_hands();
	for (uint32_t offset = 2; offset <= 4; offset++)
		send_bytes(offset, 0, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	if (service.reassemble) {
		send_bytes(3, 4, VERDICT_PENDING, REASON_PAYLOAD_HELD);
		ck_assert_uint_eq(segment.sequence, isn + 1);
		for (uint32_t offset = 2; offset <= 10; offset++) {
			send_bytes(offset, 0, VERDICT_PENDING, REASON_PENDING_EMPTY);
			ck_assert_uint_eq(segment.sequence, isn + 1);
			ck_assert(segment_checksum_valid(&segment));
		}
	}
	send_bytes(1, 44, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	for (uint32_t offset = 2; offset <= 4; offset++) {
		send_bytes(offset, 0, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
		send_bytes(offset, 9, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	}
	send_bytes(5, 9, VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	/* It has begun where it should. */
	reply(TCP_ACK, SERVER_ISN + 1, isn + 2);
	send_bytes(2, 9, VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	service.reassemble = true;
}
END_TEST

/* The same for a server that has spoken first and then forgotten all: it takes an acknowledgement
 * as far behind its cookie as the number is behind the ISN, or up to 3 less or more. */
START_TEST(late_beginning_behind_a_greeting)
{
	enum { GREETING = 20, BYTES = 9 };
	static const uint8_t greeting[GREETING] = "220 good morning";
	struct segment_plan plan = client_plan(TCP_ACK, 0, payload, 0);

	service.reassemble = _i == 0;
	shake_hands();
	reply_with(TCP_ACK, SERVER_ISN + 1, isn + 1, greeting, GREETING);
	for (int turn = 0; turn < 2; turn++) {
		for (uint32_t said = 0; said <= GREETING; said++)
			for (uint32_t offset = 1; offset <= GREETING + 5; offset++) {
				bool late = said <= offset + 3 && offset <= said + 3;
				bool behind = turn == 1 && offset > 3;
				plan.sequence = isn + 1 + offset;
				plan.acknowledgement = SERVER_ISN + 1 + said;
				plan.payload_length = 0;
				judge(&plan);
				ck_assert_int_eq(decision.verdict,
						 late && !behind ? VERDICT_DROP : VERDICT_PENDING);
				ck_assert(decision.modified == (late && behind));
				if (!late || !behind)
					continue;
				/* It passes, and acknowledges less. */
				uint32_t now_said = segment.acknowledgement - (SERVER_ISN + 1);
				ck_assert_uint_le(now_said, said);
				ck_assert(now_said > offset + 3 || offset > now_said + 3);
				ck_assert_uint_eq(segment.sequence, plan.sequence);
				ck_assert(segment_checksum_valid(&segment));
			}
		if (turn == 0)
			send_bytes(1, 44, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	}
	service.reassemble = true;
}
END_TEST

/* What we send ourselves begins a stream nowhere but at its first byte. */
START_TEST(pieces_behind_a_greeting)
{
	static const uint8_t greeting[60] = "220 good morning";

	shake_hands();
	reply_with(TCP_ACK, SERVER_ISN + 1, isn + 1, greeting, (size_t)_i);
	struct segment_plan plan = client_plan(TCP_ACK, 1, payload, 10);
	plan.acknowledgement += (uint32_t)_i;
	judge(&plan);
	expect(VERDICT_PENDING, REASON_PAYLOAD_HELD);
	plan = client_plan(TCP_ACK, 15, payload + 14, 30);
	plan.acknowledgement += (uint32_t)_i;
	judge(&plan);
	plan = client_plan(TCP_ACK, 11, payload + 10, 4);
	plan.acknowledgement += (uint32_t)_i;
	judge(&plan);
	ck_assert_int_eq(decision.verdict, VERDICT_DELIVER);
	for (unsigned int i = 0; i < action_count; i++) {
		if (actions[i].action.kind != PROTECT_TO_SERVER)
			continue;
		uint32_t offset = actions[i].plan.sequence - (isn + 1);
		uint32_t said = actions[i].plan.acknowledgement - (SERVER_ISN + 1);
		ck_assert_uint_le(said, (uint32_t)_i);
		ck_assert(offset == 0 || said > offset + 3 || offset > said + 3);
	}
}
END_TEST

/* A server that has reset the connection knows nothing of it any more. What comes then in its name
 * would begin another one, and only an answer to a SYN begins one. */
START_TEST(reset_by_the_server)
{
	service.reassemble = _i == 0;
	shake_hands();
	reply(TCP_RST | TCP_ACK, SERVER_ISN + 1, isn + 1);
	send_bytes(1, 0, VERDICT_DROP, REASON_ACKNOWLEDGEMENT_WRONG);
	send_bytes(1, 44, VERDICT_DROP, REASON_ACKNOWLEDGEMENT_WRONG);
	struct segment_plan syn = client_plan(TCP_SYN, 0, NULL, 0);
	judge(&syn);
	expect(VERDICT_PENDING, REASON_SYN_REPEATED);
	reply(TCP_SYN | TCP_ACK, SERVER_ISN, isn + 1);
	expect(VERDICT_PASS, REASON_SERVER_REPLY);
	send_bytes(1, 44, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	service.reassemble = true;
}
END_TEST

/* An urgent pointer would take a byte out of what was checked: in the first segment, in one without
 * payload, before and after the check. Behind the check it is the server's business. */
START_TEST(urgent_data)
{
	struct segment_plan urgent = client_plan(TCP_ACK | TCP_URG, 1, payload, 44);

	service.reassemble = _i == 0;
	shake_hands();
	for (int turn = 0; turn < 2; turn++) {
		for (uint32_t offset = 0; offset <= NUMBER; offset++) {
			urgent.sequence = isn + offset;
			urgent.payload_length = offset == 1 ? 44 : 0;
			judge(&urgent);
			expect(VERDICT_DROP, REASON_URGENT);
		}
		if (turn == 0)
			send_bytes(1, NUMBER, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	}
	urgent.sequence = isn + 1 + NUMBER;
	judge(&urgent);
	expect(VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	service.reassemble = true;
}
END_TEST

/* Two segments right after each other: no acknowledgement of ours, and the server gets the first
 * from us and the second from the client. */
START_TEST(quick_segments)
{
	shake_hands();
	send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	/* What goes on is the acknowledgement alone. */
	ck_assert(decision.modified);
	ck_assert_uint_eq(segment.payload_length, 0);
	ck_assert(segment_checksum_valid(&segment));
	ck_assert_uint_eq(protect_held(engine), 1);
	send_bytes(11, 34, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	ck_assert(!decision.modified);
	ck_assert_uint_eq(action_count, 1);
	expect_action(0, PROTECT_TO_SERVER);
	ck_assert_uint_eq(actions[0].plan.sequence, isn + 1);
	ck_assert_uint_eq(actions[0].plan.acknowledgement, SERVER_ISN + 1);
	ck_assert_uint_eq(actions[0].plan.window, 500);
	ck_assert_uint_eq(actions[0].plan.options.tsval, LATEST_TSVAL);
	ck_assert_uint_eq(actions[0].plan.options.tsecr, 99);
	ck_assert_uint_eq(actions[0].plan.payload_length, 10);
	ck_assert_mem_eq(actions[0].payload, payload, 10);
	/* Not verified before the server has all bytes of the check. */
	reply(TCP_ACK, SERVER_ISN + 1, isn + 11);
	ck_assert_uint_eq(protect_held(engine), 1);
	reply(TCP_ACK, SERVER_ISN + 1, isn + 1 + NUMBER);
	ck_assert_uint_eq(protect_held(engine), 0);
	ck_assert_uint_eq(protect_pending(engine), 0);
	expect_action(action_count - 1, PROTECT_VERIFY);
	/* The kernel asks only where the connection may have ended, and then tells. */
	send_bytes(40, 0, VERDICT_PASS, REASON_CONNECTION_VERIFIED);
	send_bytes(40, 4, VERDICT_LOOKUP, REASON_CONNECTION_VERIFIED);
}
END_TEST

/* It takes no room, and no time from the client. */
START_TEST(blind_guess)
{
	struct segment_plan wild = client_plan(TCP_ACK, 0x40000000, payload, 20);

	shake_hands();
	judge(&wild);
	expect(VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	ck_assert_uint_eq(protect_held(engine), 0);
	now += 30000;
	protect_tick(engine, now);
	send_bytes(1, sizeof(payload) - 1, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
}
END_TEST

/* A client that waits is acknowledged what we have, in numbers that it believes. */
START_TEST(waiting_client)
{
	shake_hands();
	send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	ck_assert_uint_eq(protect_tick(engine, now), now + 40);
	ck_assert_uint_eq(action_count, 0);
	now += 40;
	ck_assert_uint_eq(protect_tick(engine, now), UINT64_MAX);
	ck_assert_uint_eq(action_count, 1);
	expect_action(0, PROTECT_TO_CLIENT);
	ck_assert_uint_eq(actions[0].plan.flags, TCP_ACK);
	ck_assert_uint_eq(actions[0].plan.sequence, SERVER_ISN + 1);
	ck_assert_uint_eq(actions[0].plan.acknowledgement, isn + 11);
	ck_assert_uint_eq(actions[0].plan.options.tsval, 4000);
	ck_assert_uint_eq(actions[0].plan.options.tsecr, LATEST_TSVAL);
	/* Room for the check and 2048 more, in units of 128 bytes, rounded up. */
	ck_assert_uint_eq(actions[0].plan.window, (NUMBER + 2048 - 10 + 127) / 128);
	/* It was lost: the client sends again and is told again. */
	send_bytes(1, 10, VERDICT_DROP, REASON_PAYLOAD_HELD);
	ck_assert_uint_eq(action_count, 2);
	ck_assert_uint_eq(actions[1].plan.acknowledgement, isn + 11);
}
END_TEST

/* Acknowledged bytes are sent until the server has them. */
START_TEST(silent_server)
{
	uint64_t due;

	shake_hands();
	send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	now += 40;
	protect_tick(engine, now);
	send_bytes(11, 34, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	action_count = 0;
	while ((due = protect_tick(engine, now)) < START + 20000) {
		ck_assert_uint_gt(due, now);
		now = due;
	}
	ck_assert_uint_gt(action_count, 4);
	for (size_t i = 0; i < action_count; i++) {
		expect_action(i, PROTECT_TO_SERVER);
		ck_assert_uint_eq(actions[i].plan.sequence, isn + 1);
		ck_assert_uint_eq(actions[i].plan.payload_length, sizeof(payload) - 1);
		ck_assert_mem_eq(actions[i].payload, payload, sizeof(payload) - 1);
	}
	/* In the end both sides learn that it was in vain. */
	action_count = 0;
	now = START + 32000;
	protect_tick(engine, now);
	ck_assert_uint_eq(action_count, 3);
	expect_action(0, PROTECT_TO_SERVER);
	ck_assert_uint_eq(actions[0].plan.flags, TCP_RST);
	ck_assert_uint_eq(actions[0].plan.sequence, isn + 1);
	expect_action(1, PROTECT_TO_CLIENT);
	ck_assert_uint_eq(actions[1].plan.sequence, SERVER_ISN + 1);
	expect_action(2, PROTECT_FORGET);
	ck_assert_int_eq(actions[2].action.reason, REASON_SERVER_SILENT);
	ck_assert_uint_eq(protect_held(engine), 0);
	ck_assert_uint_eq(protect_pending(engine), 0);
}
END_TEST

START_TEST(any_order)
{
	shake_hands();
	send_bytes(21, 24, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	send_bytes(11, 10, VERDICT_DROP, REASON_PAYLOAD_HELD);
	ck_assert_uint_eq(action_count, 0);
	send_bytes(1, 10, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	ck_assert_uint_eq(action_count, 1);
	ck_assert_uint_eq(actions[0].plan.sequence, isn + 11);
	ck_assert_mem_eq(actions[0].payload, payload + 10, 34);
}
END_TEST

/* Other bytes than the first copy reach nobody, before and after the check. */
START_TEST(other_bytes)
{
	struct segment_plan other = client_plan(TCP_ACK, 1, "Protected PAYLOAD goes here.", NUMBER);

	shake_hands();
	send_bytes(11, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	judge(&other);
	expect(VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	ck_assert_uint_eq(segment.payload_length, 0);
	ck_assert_uint_eq(action_count, 1);
	ck_assert_uint_eq(actions[0].plan.payload_length, NUMBER);
	ck_assert_mem_eq(actions[0].payload, payload, NUMBER);
	judge(&other);
	expect(VERDICT_DROP, REASON_PAYLOAD_CONFLICT);
	other.sequence -= 5;
	judge(&other);
	expect(VERDICT_DROP, REASON_PAYLOAD_CONFLICT);
	send_bytes(1, NUMBER + 5, VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	send_bytes(1 + NUMBER, 5, VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
}
END_TEST

/* An end in the middle of bytes that came before it: it goes nowhere. */
START_TEST(end_among_held_bytes)
{
	struct segment_plan first = client_plan(TCP_ACK | TCP_FIN, 1, payload, 10);

	shake_hands();
	send_bytes(11, NUMBER - 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	judge(&first);
	expect(VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	ck_assert_uint_eq(segment.payload_length, 0);
	ck_assert_int_eq(segment.flags, TCP_ACK);
	ck_assert(segment_checksum_valid(&segment));
	ck_assert_uint_eq(action_count, 1);
	ck_assert_uint_eq(actions[0].plan.payload_length, NUMBER);
	ck_assert_int_eq(actions[0].plan.flags & TCP_FIN, 0);
}
END_TEST

START_TEST(wrong_bytes_kill)
{
	struct segment_plan wrong = client_plan(TCP_ACK, 11, "other bytes than announced", 26);

	shake_hands();
	send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	now += 40;
	protect_tick(engine, now);
	judge(&wrong);
	expect(VERDICT_RESET, REASON_PAYLOAD_WRONG);
	/* The server has nothing of what the client believes it has. */
	ck_assert_uint_eq(segment.sequence, isn + 1);
	ck_assert_uint_eq(decision.peer_sequence, SERVER_ISN + 1);
	ck_assert_uint_eq(protect_held(engine), 0);
	send_bytes(1, NUMBER, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
}
END_TEST

START_TEST(early_end_kills)
{
	struct segment_plan fin = client_plan(TCP_ACK | TCP_FIN, 11, NULL, 0);

	shake_hands();
	send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	judge(&fin);
	expect(VERDICT_RESET, REASON_PAYLOAD_SHORT);
	ck_assert_uint_eq(protect_held(engine), 0);
}
END_TEST

START_TEST(client_gives_up)
{
	struct segment_plan reset = client_plan(TCP_RST, 12, NULL, 0);

	shake_hands();
	send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	/* A number that is not the client's next one is not rewritten into one that counts. */
	judge(&reset);
	ck_assert(!decision.modified);
	ck_assert_uint_eq(protect_held(engine), 1);
	reset.sequence = isn + 11;
	judge(&reset);
	expect(VERDICT_PENDING, REASON_PENDING_EMPTY);
	ck_assert_uint_eq(segment.sequence, isn + 1);
	ck_assert_int_eq(segment.flags, TCP_RST);
	ck_assert_uint_eq(protect_held(engine), 0);
}
END_TEST

START_TEST(server_gives_up)
{
	shake_hands();
	send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	reply(TCP_RST | TCP_ACK, SERVER_ISN + 1, isn + 1);
	expect(VERDICT_PASS, REASON_SERVER_REPLY);
	ck_assert_uint_eq(protect_held(engine), 0);
}
END_TEST

START_TEST(bounded)
{
	for (uint16_t i = 0; i < 3; i++) {
		tuple.source.port = (uint16_t)(40000 + i);
		shake_hands();
		send_bytes(1, 10, i < 2 ? VERDICT_PENDING : VERDICT_DROP,
			   i < 2 ? REASON_PAYLOAD_HELD : REASON_HOLD_FULL);
	}
	ck_assert_uint_eq(protect_held(engine), 2);
	/* All in one segment needs none of this room. */
	send_bytes(1, NUMBER, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	reply(TCP_ACK, SERVER_ISN + 1, isn + 1 + NUMBER);
	/* Bytes that never come do not keep the room for ever; both sides are told. */
	now += 7000;
	action_count = 0;
	protect_tick(engine, now);
	ck_assert_uint_eq(protect_held(engine), 0);
	ck_assert_uint_eq(action_count, 6);
	for (size_t i = 0; i < 6; i += 3) {
		ck_assert_int_eq(actions[i].action.kind, PROTECT_TO_SERVER);
		ck_assert_int_eq(actions[i + 2].action.kind, PROTECT_FORGET);
		ck_assert_int_eq(actions[i + 2].action.reason, REASON_PENDING_TIMEOUT);
	}
	tuple.source.port = 40000;
	send_bytes(11, 34, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
}
END_TEST

/* A connection of a former daemon: whoever speaks first, both sides are reset. */
START_TEST(unknown_connection)
{
	struct segment_plan data = client_plan(TCP_ACK, 11, payload, 10);

	judge(&data);
	expect(VERDICT_LOOKUP, REASON_NO_CONNECTION);
	protect_resolve(engine, &segment, CONNECTION_PENDING, (struct moment){.steady = now},
			&decision);
	expect(VERDICT_RESET, REASON_PENDING_UNKNOWN);
	/* The server expects another number; its answer must still be recognised. */
	ck_assert(decision.keep_entry);
	reply(TCP_ACK, SERVER_ISN + 1, isn + 1);
	expect(VERDICT_RESET, REASON_PENDING_UNKNOWN);
	ck_assert(!decision.keep_entry);
	ck_assert_uint_eq(decision.peer_sequence, isn + 1);
	ck_assert_uint_eq(segment.sequence, SERVER_ISN + 1);
	ck_assert_int_eq(segment.flags, TCP_RST);
}
END_TEST

START_TEST(nobody_speaks)
{
	shake_hands();
	now += 62000;
	protect_tick(engine, now);
	ck_assert_uint_eq(action_count, 3);
	ck_assert_uint_eq(actions[0].plan.sequence, isn + 1);
	ck_assert_uint_eq(actions[1].plan.sequence, SERVER_ISN + 1);
	ck_assert_int_eq(actions[2].action.reason, REASON_PENDING_TIMEOUT);
	ck_assert_uint_eq(protect_pending(engine), 0);
}
END_TEST

/* A reload that changes N while bytes are held: what was received is not what the check needs. */
START_TEST(another_number)
{
	static const uint16_t numbers[] = {NUMBER + 1, UINT16_MAX, 8, 0};
	bool held = _i % 2 == 1;

	shake_hands();
	if (held)
		send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	service.integrity = numbers[_i / 2];
	send_bytes(held ? 11 : 1, 34, VERDICT_RESET, REASON_CONFIGURATION_CHANGED);
	ck_assert_uint_eq(segment.sequence, isn + 1);
	ck_assert_uint_eq(decision.peer_sequence, SERVER_ISN + 1);
	ck_assert_uint_eq(protect_held(engine), 0);
	ck_assert_uint_eq(protect_pending(engine), 0);
	send_bytes(11, 34, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
	service.integrity = NUMBER;
	/* It was no try: the same SYN may come again. */
	shake_hands();
}
END_TEST

/* What was checked already is delivered. */
START_TEST(another_number_afterwards)
{
	shake_hands();
	send_bytes(1, 10, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	send_bytes(11, 34, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	service.integrity = NUMBER + 1;
	send_bytes(1, 10, VERDICT_PENDING, REASON_CONNECTION_VERIFIED);
	reply(TCP_ACK, SERVER_ISN + 1, isn + 1 + NUMBER);
	service.integrity = NUMBER;
	expect_action(action_count - 1, PROTECT_VERIFY);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		one_segment_in_vain,  blind_guess,      quick_segments,
		waiting_client,       silent_server,    any_order,
		other_bytes,          wrong_bytes_kill, early_end_kills,
		client_gives_up,      server_gives_up,  bounded,
		unknown_connection,   nobody_speaks,    another_number_afterwards,
		end_among_held_bytes,
	};
	TCase *tcase = tcase_create("hold");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	tcase_add_loop_test(tcase, another_number, 0, 8);
	tcase_add_loop_test(tcase, one_segment, 0, 2);
	tcase_add_loop_test(tcase, late_beginning, 0, 2);
	tcase_add_loop_test(tcase, late_beginning_behind_a_greeting, 0, 2);
	tcase_add_loop_test(tcase, pieces_behind_a_greeting, 0, 60);
	tcase_add_loop_test(tcase, reset_by_the_server, 0, 2);
	tcase_add_loop_test(tcase, urgent_data, 0, 2);
	return run_tcase("hold", tcase);
}
