/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the splice engine refuses, leaves alone, and does when its configuration changes. */
#include "splice_world.h"

static struct segment_plan make_syn(uint32_t client, uint16_t port)
{
	struct segment_plan plan = {
		.tuple = world.client.tuple, .sequence = 99, .flags = TCP_SYN, .hop_limit = 64};

	store32(plan.tuple.source.address, 0x0a000000 + client);
	plan.tuple.source.port = port;
	return plan;
}

static void ignore(void *context, const struct emission *emission)
{
	(void)context;
	world.emissions[emission->kind]++;
}

START_TEST(floods_are_bounded)
{
	unsigned int held = 0;

	world.output.emit = ignore;
	for (uint16_t port = 1; port <= 20; port++) {
		const struct segment_plan syn = make_syn(1, port);
		held += give(&syn, &destination).hold;
	}
	ck_assert_uint_eq(held, world.limits.half_made_per_client);
	for (uint32_t client = 2; client < 500; client++) {
		const struct segment_plan syn = make_syn(client, 7);
		struct splice_result result = give(&syn, &destination);
		held += result.hold;
		if (!result.hold)
			ck_assert_int_eq(result.decision.reason, REASON_TABLE_FULL);
	}
	ck_assert_uint_eq(held, world.limits.half_made);
	ck_assert_uint_eq(splice_half_made(world.engine), held);
	world.now += world.limits.collect_timeout + 1;
	splice_tick(world.engine, world.now, &world.output);
	ck_assert_uint_eq(splice_half_made(world.engine), 0);
	ck_assert_uint_eq(world.emissions[EMIT_DROP_HELD], held);
	ck_assert_uint_eq(table_count(world.flows), 0);
	world.output.emit = note_emission;
	exchange();
}
END_TEST

START_TEST(what_is_left_alone)
{
	struct segment_plan plan = make_syn(1, 1);
	struct splice_result result = give(&plan, NULL);
	struct splice_deltas deltas;

	ck_assert_int_eq(result.decision.reason, REASON_FLOW_UNKNOWN);
	ck_assert_int_eq(result.decision.verdict, VERDICT_PASS);
	plan.flags = TCP_ACK;
	result = give(&plan, &destination);
	ck_assert_int_eq(result.decision.reason, REASON_FLOW_UNKNOWN);
	ck_assert_int_eq(result.decision.verdict, VERDICT_PASS);
	ck_assert(!result.decision.modified);
	ck_assert(!splice_deltas(world.engine, &plan.tuple, &deltas));
	ck_assert_uint_eq(splice_half_made(world.engine), 0);
}
END_TEST

/* Puts a signature where the plan had other options of that length. */
static struct splice_result give_signed(const struct segment_plan *plan)
{
	uint8_t bytes[2048];
	struct packet packet;
	struct segment segment;
	struct splice_result result;

	make_segment(&segment, &packet, bytes, sizeof(bytes), plan);
	memset(bytes + packet.transport + 20, 0, 20);
	memcpy(bytes + packet.transport + 20,
	       (const uint8_t[]){TCP_OPTION_NOP, TCP_OPTION_NOP, TCP_OPTION_MD5, 18}, 4);
	ck_assert_int_eq(segment_parse(&segment, &packet), REASON_NONE);
	segment_complete_checksum(&segment);
	splice_from_client(world.engine, &destination, &segment, 1, world.now, &world.output,
			   &result);
	return result;
}

/* A connection that begins with a signature is let past, and so is all that belongs to it. Another
 * one is not led past the check by a signature later on. */
START_TEST(signatures)
{
	struct segment_plan plan = {
		.tuple = world.client.tuple,
		.sequence = 99,
		.flags = TCP_SYN,
		.hop_limit = 64,
		.options = {.mss = true, .timestamp = true, .window_scale = true},
	};
	struct splice_result result = give_signed(&plan);

	ck_assert_int_eq(result.decision.reason, REASON_SIGNED_SEGMENT);
	ck_assert_int_eq(result.decision.verdict, VERDICT_PASS);
	ck_assert_str_eq(state(), "none");
	reach(_i);
	plan.sequence = world.client.iss + 1;
	plan.flags = TCP_ACK;
	result = give_signed(&plan);
	ck_assert_int_ne(result.decision.reason, REASON_SIGNED_SEGMENT);
	ck_assert(result.decision.verdict == VERDICT_DROP || result.decision.modified);
	run_until(both_done, MINUTE);
	check_streams();
	/* What is left of it does not translate the answers to a signed one. */
	plan.sequence = 99;
	plan.flags = TCP_SYN;
	result = give_signed(&plan);
	ck_assert_int_eq(result.decision.reason, REASON_SIGNED_SEGMENT);
	ck_assert_str_eq(state(), "none");
}
END_TEST

START_TEST(bytes_that_nobody_can_vouch_for)
{
	uint8_t bytes[2048];
	struct packet packet;
	struct segment segment;
	struct splice_result result;
	const struct segment_plan plan = make_syn(1, 1);

	make_segment(&segment, &packet, bytes, sizeof(bytes), &plan);
	bytes[packet.transport + 16] ^= 1;
	splice_from_client(world.engine, &destination, &segment, 1, world.now, &world.output,
			   &result);
	ck_assert_int_eq(result.decision.reason, REASON_CHECKSUM_WRONG);
	ck_assert_int_eq(result.decision.verdict, VERDICT_DROP);
	ck_assert(!result.hold);
}
END_TEST

START_TEST(deltas_of_a_flow)
{
	struct splice_deltas deltas;
	const struct splice_flow *flow;

	reach(0);
	ck_assert(!splice_deltas(world.engine, &world.client.tuple, &deltas));
	run_until(connecting, MINUTE);
	ck_assert(splice_deltas(world.engine, &world.client.tuple, &deltas));
	ck_assert_uint_eq(world.client.iss + deltas.client, the_flow()->token);
	ck_assert_uint_eq(deltas.server, 0);
	run_until(joined, MINUTE);
	flow = the_flow();
	ck_assert(splice_deltas(world.engine, &world.client.tuple, &deltas));
	ck_assert_uint_eq(world.server.iss + deltas.server, flow->iss);
	ck_assert_uint_eq(world.client.irs, flow->iss);
}
END_TEST

/* A reload before the token was made: it would be the token of neither configuration. */
START_TEST(changed_while_collecting)
{
	static struct key other_key = {.name = "2"};
	struct destination changed = destination;
	bool truncated;

	secret_from_bytes(&other_key.secret, (const uint8_t *)"other", 5, &truncated);
	reach(0);
	if (_i == 0)
		changed.key = &other_key;
	else if (_i == 1)
		changed.integrity = INTEGRITY + 1;
	else if (_i == 2)
		changed.integrity = 0;
	world.configured = _i == 3 ? NULL : &changed;
	run_until(client_was_reset, MINUTE);
	ck_assert_uint_eq(world.reasons[REASON_CONFIGURATION_CHANGED] > 0, 1);
	ck_assert_uint_eq(world.emissions[EMIT_DROP_HELD], 1);
	ck_assert_uint_eq(world.emissions[EMIT_RELEASE_HELD], 0);
	ck_assert_int_eq(world.server.state, PEER_LISTEN);
	ck_assert_str_eq(state(), "none");
}
END_TEST

/* Later it goes on with what it began with. */
START_TEST(changed_after_the_token_was_made)
{
	struct destination changed = destination;

	reach(_i + 1);
	changed.integrity = 0;
	world.configured = _i % 2 == 0 ? NULL : &changed;
	run_until(both_done, MINUTE);
	check_streams();
	ck_assert(world.server.judged);
}
END_TEST

/* A tuple whose destination is no longer ours: the living connection is asked about, what is left
 * of one that ended is forgotten. */
START_TEST(syn_to_a_former_destination)
{
	struct segment_plan plan;
	struct splice_result result;

	reach(4);
	plan = (struct segment_plan){.tuple = world.client.tuple,
				     .sequence = world.client.iss + 0x12345678,
				     .flags = TCP_SYN,
				     .hop_limit = 64};
	result = give(&plan, NULL);
	ck_assert_int_eq(result.decision.verdict, VERDICT_DROP);
	ck_assert_int_eq(result.decision.reason, REASON_SYN_REPEATED);
	ck_assert_ptr_nonnull(the_flow());
	the_flow()->closing |= SPLICE_RESET;
	result = give(&plan, NULL);
	ck_assert_int_eq(result.decision.verdict, VERDICT_PASS);
	ck_assert(!result.decision.modified);
	ck_assert_str_eq(state(), "none");
}
END_TEST

static bool first_bytes_collected(void)
{
	return world.reasons[REASON_PAYLOAD_COLLECTED] > 0;
}

START_TEST(other_limits)
{
	struct splice_limits limits = world.limits;
	struct peer_settings client = usual;

	world.limits.buffer_size = INTEGRITY;
	new_engine();
	client.write_size = INTEGRITY / 2;
	make_peers(&client, &usual, false);
	peer_connect(&world.client, world.now);
	run_until(first_bytes_collected, MINUTE);
	limits.half_made = 1;
	limits.buffer_size = 2000;
	limits.connect_timeout = 5000;
	ck_assert(splice_use_limits(world.engine, &limits));
	run_until(both_done, MINUTE);
	check_streams();
	/* Buffers never shrink: what was collected must have its place. */
	limits.buffer_size = 1;
	ck_assert(splice_use_limits(world.engine, &limits));
	destination.integrity = 1400;
	make_peers(&usual, &usual, true);
	exchange();
	make_peers(&usual, &usual, true);
	world.client.tuple.source.port++;
	world.deaf = true;
	peer_connect(&world.client, world.now);
	ck_assert_uint_lt(run_until(client_was_reset, MINUTE), 6000);
}
END_TEST

START_TEST(impossible_limits)
{
	const uint8_t random_key[16] = {0};
	struct splice_limits limits = world.limits;

	limits.half_made = 0;
	ck_assert_ptr_null(splice_new(world.flows, world.promises, &limits, random_key, 0));
	limits = world.limits;
	limits.buffer_size = 0;
	ck_assert_ptr_null(splice_new(world.flows, world.promises, &limits, random_key, 0));
}
END_TEST

int main(void)
{
	TCase *tcase = make_case("splice-bounds");

	tcase_add_test(tcase, floods_are_bounded);
	tcase_add_test(tcase, what_is_left_alone);
	tcase_add_loop_test(tcase, signatures, 0, 5);
	tcase_add_test(tcase, bytes_that_nobody_can_vouch_for);
	tcase_add_test(tcase, deltas_of_a_flow);
	tcase_add_loop_test(tcase, changed_while_collecting, 0, 4);
	tcase_add_loop_test(tcase, changed_after_the_token_was_made, 0, 4);
	tcase_add_test(tcase, syn_to_a_former_destination);
	tcase_add_test(tcase, other_limits);
	tcase_add_test(tcase, impossible_limits);
	return run_tcase("splice-bounds", tcase);
}
