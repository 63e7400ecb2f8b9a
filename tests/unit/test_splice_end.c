/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections through the splice engine that end before their time, at each of their stages. */
#include "splice_world.h"

START_TEST(client_aborts)
{
	reach(_i);
	peer_abort(&world.client, world.now);
	run(500);
	ck_assert_uint_eq(splice_half_made(world.engine), 0);
	ck_assert(!world.holding);
	ck_assert(world.server.state == PEER_RESET || world.server.state == PEER_LISTEN);
	run(6 * MINUTE);
	ck_assert_str_eq(state(), "none");
}
END_TEST

START_TEST(server_aborts)
{
	reach(2 + _i);
	run_until(server_established, MINUTE);
	peer_abort(&world.server, world.now);
	run_until(client_was_reset, MINUTE);
	ck_assert_uint_eq(splice_half_made(world.engine), 0);
	run(6 * MINUTE);
	ck_assert_str_eq(state(), "none");
}
END_TEST

enum { JOINED = 4 };

static void expect_joined_goes_on(void)
{
	run_until(both_done, MINUTE);
	check_streams();
}

/* And the same tuple can be used again at once. */
static void expect_reset(void)
{
	run(2000);
	ck_assert_int_eq(world.client.state, PEER_RESET);
	ck_assert(world.server.state == PEER_RESET || world.server.state == PEER_LISTEN);
	make_peers(&usual, &usual, false);
	exchange();
}

START_TEST(restart)
{
	reach(_i);
	attach_again();
	new_engine();
	if (_i == JOINED) {
		expect_joined_goes_on();
		return;
	}
	ck_assert_str_eq(state(), "broken");
	expect_reset();
}
END_TEST

/* A clean stop: whoever is not joined is told at once, and the next process finds nothing of it. */
START_TEST(stop)
{
	reach(_i);
	splice_end_halves(world.engine, world.now, &world.output);
	ck_assert_uint_eq(splice_half_made(world.engine), 0);
	ck_assert(!world.holding);
	if (_i == 0)
		ck_assert_uint_eq(world.emissions[EMIT_TO_SERVER], 0);
	attach_again();
	new_engine();
	if (_i == JOINED) {
		expect_joined_goes_on();
		return;
	}
	ck_assert_str_eq(state(), "none");
	ck_assert_uint_gt(world.reasons[REASON_STOPPED], 0);
	expect_reset();
}
END_TEST

START_TEST(broken_flow_answers_everybody)
{
	reach(2);
	world.loss = 1000; /* nobody hears of the restart */
	new_engine();
	run(200);
	world.loss = 0;
	run_until(client_was_reset, MINUTE);
	run(5000);
	ck_assert_int_eq(world.server.state, PEER_RESET);
}
END_TEST

/* A client that has forgotten the connection is asked, as by the server, and the next SYN works;
 * one that lives on does not lose its connection to somebody else's SYN. */
START_TEST(syn_on_a_living_connection)
{
	struct peer old;

	reach(4);
	old = world.client;
	if (_i == 0) {
		uint8_t bytes[SEGMENT_HEADERS_MAX];
		const struct segment_plan syn = {.tuple = old.tuple,
						 .sequence = old.iss + 0x12345678,
						 .flags = TCP_SYN,
						 .hop_limit = 64};

		launch(CLIENT_TO_ENGINE, bytes, segment_build(&syn, bytes, sizeof(bytes)));
		run_until(both_done, MINUTE);
		check_streams();
		return;
	}
	run(300);
	the_flow()->closing |= SPLICE_RESET; /* what its RST to the challenge leads to */
	make_peers(&usual, &usual, false);
	memset(world.flying, 0, sizeof(world.flying));
	exchange();
}
END_TEST

START_TEST(wild_resets_change_nothing)
{
	uint8_t bytes[SEGMENT_HEADERS_MAX];
	struct segment_plan reset = {.flags = TCP_RST, .hop_limit = 64};

	reach(_i);
	reset.tuple = tuple_reverse(&world.client.tuple);
	reset.sequence = world.server.iss + 0x20000000;
	launch(SERVER_TO_ENGINE, bytes, segment_build(&reset, bytes, sizeof(bytes)));
	reset.tuple = world.client.tuple;
	reset.sequence = world.client.iss + 0x20000000;
	launch(CLIENT_TO_ENGINE, bytes, segment_build(&reset, bytes, sizeof(bytes)));
	run_until(both_done, MINUTE);
	check_streams();
	ck_assert_str_eq(state(), "time-wait");
}
END_TEST

/* Nor do other segments of somebody who knows addresses and ports: their numbers and clocks are not
 * taken for those of either side. */
START_TEST(wild_segments_change_nothing)
{
	uint8_t bytes[SEGMENT_HEADERS_MAX];
	struct segment_plan wild = {
		.acknowledgement = 0x1234,
		.flags = TCP_ACK,
		.hop_limit = 64,
		.options = {.timestamp = true},
	};

	world.limits.defaults.timestamps = true;
	reach(_i == 2 ? 3 : 2);
	if (_i == 0) {
		wild.tuple = world.client.tuple;
		wild.sequence = world.client.iss + 1;
		wild.options.tsval = world.client.clock_base + (uint32_t)world.now + MINUTE;
		launch(CLIENT_TO_ENGINE, bytes, segment_build(&wild, bytes, sizeof(bytes)));
	} else {
		wild.tuple = tuple_reverse(&world.client.tuple);
		wild.sequence = world.server.iss + 0x20000000;
		wild.options.tsval = world.server.clock_base + (uint32_t)world.now + MINUTE;
		launch(SERVER_TO_ENGINE, bytes, segment_build(&wild, bytes, sizeof(bytes)));
	}
	world.loss = 300;
	run(50);
	world.loss = 0;
	run_until(both_done, MINUTE);
	check_streams();
}
END_TEST

/* A process that dies after the last stage of a half-made connection and before it gives its place
 * back, which others take then. */
START_TEST(joined_flow_has_no_place_in_another_process)
{
	reach(JOINED);
	the_flow()->half = 1;
	attach_again();
	new_engine();
	ck_assert_uint_eq(the_flow()->half, 0);
	expect_joined_goes_on();
}
END_TEST

/* An ICMP error about the SYN ends the attempt, as it would end the client's own; one about
 * anything else, or at another stage, does not. */
START_TEST(unreachable)
{
	reach(_i);
	struct tuple tuple = world.client.tuple;
	uint32_t token = the_flow()->token;

	ck_assert(!splice_unreachable(world.engine, &tuple, token + 1, world.now, &world.output));
	tuple.source.port++;
	ck_assert(!splice_unreachable(world.engine, &tuple, token, world.now, &world.output));
	tuple.source.port--;
	bool attempt = splice_unreachable(world.engine, &tuple, token, world.now, &world.output);
	ck_assert(attempt == (_i == 1));
	if (!attempt) {
		expect_joined_goes_on();
		return;
	}
	ck_assert_uint_eq(splice_half_made(world.engine), 0);
	ck_assert_str_eq(state(), "none");
	run_until(client_was_reset, MINUTE);
}
END_TEST

int main(void)
{
	TCase *tcase = make_case("splice-end");

	tcase_add_loop_test(tcase, client_aborts, 0, 5);
	tcase_add_loop_test(tcase, server_aborts, 0, 3);
	tcase_add_loop_test(tcase, restart, 0, 5);
	tcase_add_loop_test(tcase, stop, 0, 5);
	tcase_add_test(tcase, broken_flow_answers_everybody);
	tcase_add_loop_test(tcase, syn_on_a_living_connection, 0, 2);
	tcase_add_loop_test(tcase, wild_resets_change_nothing, 0, 5);
	tcase_add_loop_test(tcase, wild_segments_change_nothing, 0, 3);
	tcase_add_loop_test(tcase, unreachable, 0, 5);
	tcase_add_test(tcase, joined_flow_has_no_place_in_another_process);
	return run_tcase("splice-end", tcase);
}
