/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the stream of a connection begins that is checked: at its first byte and nowhere else, with
 * reassemble = true and without. */
#include "hold_fixture.h"

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

int main(void)
{
	TCase *tcase = tcase_create("hold_begin");

	tcase_add_test(tcase, one_segment_in_vain);
	tcase_add_loop_test(tcase, one_segment, 0, 2);
	tcase_add_loop_test(tcase, late_beginning, 0, 2);
	tcase_add_loop_test(tcase, late_beginning_behind_a_greeting, 0, 2);
	tcase_add_loop_test(tcase, pieces_behind_a_greeting, 0, 60);
	tcase_add_loop_test(tcase, reset_by_the_server, 0, 2);
	tcase_add_loop_test(tcase, urgent_data, 0, 2);
	return run_tcase_with_fixture("hold_begin", tcase);
}
