/* SPDX-License-Identifier: GPL-2.0-or-later */
/* reassemble = true: what client and server get of a connection whose first bytes are held back. */
#include "core/hold.h"

#include "hold_fixture.h"

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
		blind_guess,
		quick_segments,
		waiting_client,
		silent_server,
		any_order,
		other_bytes,
		wrong_bytes_kill,
		early_end_kills,
		client_gives_up,
		server_gives_up,
		bounded,
		unknown_connection,
		nobody_speaks,
		another_number_afterwards,
		end_among_held_bytes,
	};
	TCase *tcase = tcase_create("hold");

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	tcase_add_loop_test(tcase, another_number, 0, 8);
	return run_tcase_with_fixture("hold", tcase);
}
