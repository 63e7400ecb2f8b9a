/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections through the splice engine, from the SYN until both sides have closed, or cannot be
 * made. */
#include "splice_world.h"

START_TEST(plain_connection)
{
	exchange();
	ck_assert_uint_eq(world.emissions[EMIT_RELEASE_HELD], 1);
	ck_assert_uint_eq(world.emissions[EMIT_DROP_HELD], 0);
	ck_assert_uint_eq(world.reasons[REASON_HALVES_JOINED] > 0, 1);
	run(3 * MINUTE);
	ck_assert_ptr_null(the_flow());
}
END_TEST

/* Everything that either side may or may not negotiate, when the server is known and when not. */
START_TEST(every_negotiation)
{
	struct peer_settings client = usual, server = usual;

	client.window_scale = (_i & 1) != 0;
	client.sack = (_i & 2) != 0;
	client.timestamps = (_i & 4) != 0;
	server.window_scale = (_i & 8) != 0;
	server.sack = (_i & 16) != 0;
	server.timestamps = (_i & 32) != 0;
	server.shift = (_i & 3) != 0 ? 2 : 9;
	client.stream_length = 3000;
	server.stream_length = 5000;
	/* A server without timestamps disappoints the first client that was promised them. */
	world.limits.defaults.timestamps = server.timestamps;
	world.limits.defaults.window_scale = (_i % 3) != 0;
	world.limits.defaults.window_shift = 5;
	new_engine();
	for (int round = 0; round < 3; round++) {
		world.loss = round == 2 ? 50 : 0;
		make_peers(&client, &server, (_i & 1) != 0);
		world.client.tuple.source.port = (uint16_t)(2000 + round);
		if (round == 1)
			next_engine();
		exchange();
		if (round == 0)
			continue;
		ck_assert_int_eq(world.client.sacking, client.sack && server.sack);
		ck_assert_int_eq(world.client.scaling, client.window_scale && server.window_scale);
		ck_assert_int_eq(world.client.stamping, client.timestamps && server.timestamps);
		ck_assert_uint_eq(world.client.peer_mss, 1460);
	}
}
END_TEST

START_TEST(losses_everywhere)
{
	struct peer_settings client = usual, server = usual;

	world.random = (uint64_t)_i * 77 + 1;
	world.loss = 20 + 30 * ((unsigned int)_i % 5);
	client.write_size = _i % 3 == 0 ? 30 : 5000; /* the N bytes come in pieces */
	client.nagle = _i % 2 == 0;
	server.waits = _i % 4 == 0;
	world.limits.collect_timeout = 10 * MINUTE;
	new_engine();
	make_peers(&client, &server, _i % 2 != 0);
	exchange();
}
END_TEST

START_TEST(numbers_that_wrap_around)
{
	static const uint32_t numbers[] = {0xffffffff, 0xfffffff0, 0xffffe000, 0, 0x7fffffff};

	world.client.iss = numbers[_i % 5];
	world.server.iss = numbers[(_i * 3 + _i / 5) % 5];
	world.client.clock_base = world.server.clock_base = 0xffffffff - (uint32_t)START - 100;
	world.limits.defaults.timestamps = true;
	world.loss = 30;
	new_engine();
	exchange();
}
END_TEST

START_TEST(exact_length)
{
	struct peer_settings client = usual;

	/* One byte more or less than the client ever sends, and just that. */
	client.stream_length = client.write_size = INTEGRITY + (uint32_t)_i;
	make_peers(&client, &usual, false);
	exchange();
	ck_assert_uint_eq(world.server.first_payload, INTEGRITY + (uint32_t)_i);
}
END_TEST

START_TEST(client_that_closes_too_early)
{
	struct peer_settings client = usual;

	client.stream_length = INTEGRITY - 1;
	make_peers(&client, &usual, false);
	peer_connect(&world.client, world.now);
	run_until(client_was_reset, MINUTE);
	ck_assert_str_eq(state(), "none");
	ck_assert_int_eq(world.server.state, PEER_LISTEN);
	ck_assert_uint_eq(world.emissions[EMIT_DROP_HELD], 1);
}
END_TEST

START_TEST(server_that_speaks_first)
{
	struct peer_settings client = usual;

	client.waits = false;
	client.write_size = 20; /* it takes a while until all N bytes are there */
	make_peers(&client, &usual, false);
	exchange();
}
END_TEST

START_TEST(longest_payload)
{
	struct peer_settings client = usual;

	destination.integrity = 1448;
	world.limits = splice_limits_default(1448);
	world.limits.half_made = 4;
	world.limits.defaults.timestamps = true;
	new_engine();
	client.write_size = 500;
	make_peers(&client, &usual, false);
	exchange();
	ck_assert_uint_eq(world.server.first_payload, 1448);
	/* With one byte more the server's segments are too short: both are told. */
	destination.integrity = 1449;
	world.limits.buffer_size++;
	new_engine();
	make_peers(&client, &usual, false);
	world.client.tuple.source.port++;
	peer_connect(&world.client, world.now);
	run_until(client_was_reset, MINUTE);
	ck_assert_uint_eq(world.reasons[REASON_PAYLOAD_TOO_LONG] > 0, 1);
	run(100);
	ck_assert_int_eq(world.server.state, PEER_RESET);
	ck_assert_uint_eq(splice_half_made(world.engine), 0);
}
END_TEST

/* What we send ourselves fits every path, however long the server's segments may be. */
START_TEST(modest_segments)
{
	struct peer_settings server = usual;

	server.mss = 8960;
	make_peers(&usual, &server, _i != 0);
	exchange();
	ck_assert_uint_le(world.server.first_payload, _i != 0 ? 1280 - 60 : 1280 - 40);
}
END_TEST

START_TEST(refused)
{
	world.refuses = true;
	peer_connect(&world.client, world.now);
	ck_assert_uint_lt(run_until(client_was_reset, MINUTE), 100);
	ck_assert_uint_eq(world.reasons[REASON_SERVER_REFUSED] > 0, 1);
	ck_assert_str_eq(state(), "none");
}
END_TEST

START_TEST(silent_server)
{
	world.deaf = true;
	peer_connect(&world.client, world.now);
	ck_assert_uint_gt(run_until(client_was_reset, 3 * MINUTE), 127000);
	/* Linux sends a SYN seven times in that time. */
	ck_assert_uint_eq(world.emissions[EMIT_RELEASE_HELD], 1);
	ck_assert_uint_ge(world.emissions[EMIT_TO_SERVER], 6);
	ck_assert_uint_le(world.emissions[EMIT_TO_SERVER], 8);
	ck_assert_uint_eq(world.reasons[REASON_SERVER_SILENT] > 0, 1);
	ck_assert_str_eq(state(), "none");
}
END_TEST

START_TEST(server_that_dies_before_it_has_the_bytes)
{
	peer_connect(&world.client, world.now);
	run_until(delivering, MINUTE);
	world.deaf = true;
	ck_assert_uint_gt(run_until(client_was_reset, 3 * MINUTE), 120000);
	ck_assert_uint_gt(world.reasons[REASON_SERVER_SILENT], 0);
	ck_assert_str_eq(state(), "none");
}
END_TEST

START_TEST(client_that_sends_nothing)
{
	struct peer_settings client = usual;

	client.waits = true;
	make_peers(&client, &usual, false);
	peer_connect(&world.client, world.now);
	ck_assert_uint_lt(run_until(client_was_reset, MINUTE) - world.limits.collect_timeout, 300);
	ck_assert_uint_eq(world.reasons[REASON_COLLECT_TIMEOUT] > 0, 1);
	ck_assert_uint_eq(world.emissions[EMIT_DROP_HELD], 1);
	ck_assert_int_eq(world.server.state, PEER_LISTEN);
	ck_assert_str_eq(state(), "none");
}
END_TEST

START_TEST(plain_attempt_after_the_timeout)
{
	struct peer_settings client = usual;

	client.waits = true;
	world.limits.plain_after_timeout = true;
	world.limits.defaults.timestamps = _i != 0;
	new_engine();
	make_peers(&client, &usual, false);
	world.server.plain = true;
	exchange();
	ck_assert_uint_eq(world.reasons[REASON_TOKEN_WRITTEN], 1);
}
END_TEST

/* The server takes less than the client was promised: both are told, the next one is promised less.
 */
START_TEST(broken_promise)
{
	struct peer_settings server = usual;

	if (_i == 0)
		server.timestamps = false;
	else
		server.mss = 500;
	world.limits.defaults.timestamps = true;
	new_engine();
	make_peers(&usual, &server, false);
	peer_connect(&world.client, world.now);
	run_until(client_was_reset, MINUTE);
	ck_assert_uint_eq(world.reasons[REASON_PROMISE_BROKEN] > 0, 1);
	run(100);
	ck_assert_int_eq(world.server.state, PEER_RESET);
	make_peers(&usual, &server, false);
	exchange();
	ck_assert_int_eq(world.client.stamping, server.timestamps);
	ck_assert_uint_eq(world.client.peer_mss, server.mss);
}
END_TEST

int main(void)
{
	TCase *tcase = make_case("splice");

	tcase_add_test(tcase, plain_connection);
	tcase_add_loop_test(tcase, every_negotiation, 0, 64);
	tcase_add_loop_test(tcase, losses_everywhere, 0, 24);
	tcase_add_loop_test(tcase, numbers_that_wrap_around, 0, 10);
	tcase_add_loop_test(tcase, exact_length, 0, 3);
	tcase_add_test(tcase, client_that_closes_too_early);
	tcase_add_test(tcase, server_that_speaks_first);
	tcase_add_test(tcase, longest_payload);
	tcase_add_loop_test(tcase, modest_segments, 0, 2);
	tcase_add_test(tcase, refused);
	tcase_add_test(tcase, silent_server);
	tcase_add_test(tcase, server_that_dies_before_it_has_the_bytes);
	tcase_add_test(tcase, client_that_sends_nothing);
	tcase_add_loop_test(tcase, plain_attempt_after_the_timeout, 0, 2);
	tcase_add_loop_test(tcase, broken_promise, 0, 2);
	return run_tcase("splice", tcase);
}
