/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The egress engine: every translation against its inverse, and the life of a flow. */
#include "core/egress.h"

#include "core/flow.h"
#include "core/token.h"
#include "packet_maker.h"
#include "support.h"

enum { CAPACITY = 8, SECOND = 1000, START = 7000000, ISN = 0xfffffff0, SERVER_ISN = 0x10 };

static struct key key = {.name = "1"};
static struct destination destination = {.name = "branch", .index = 3, .key = &key};

static struct world {
	void *memory;
	struct table *flows;
	struct egress *engine;
	struct destination_table *destinations;
	uint64_t now;
	uint8_t bytes[4096];
	struct packet packet;
	struct segment segment;
	struct decision decision;
} world;

static void set_up(void)
{
	const uint8_t hash_key[16] = {5};
	const struct table_layout layout = flow_table_layout(CAPACITY);
	const struct destination_row rows[] = {
		{{make_endpoint("10.3.0.0", 22), 24}, &destination},
		{{make_endpoint("fd03::", 22), 64}, &destination},
	};
	bool truncated;

	secret_from_bytes(&key.secret, (const uint8_t *)"egress", 6, &truncated);
	world.memory = aligned_alloc(64, (table_size(&layout) + 63) / 64 * 64);
	world.flows = table_init(world.memory, &layout, hash_key, START);
	world.engine = egress_new(world.flows);
	world.destinations = destination_table_new(rows, 2);
	world.now = START;
}

static void tear_down(void)
{
	egress_free(world.engine);
	destination_table_free(world.destinations);
	free(world.memory);
}

static struct segment_plan from_client(uint8_t flags, uint32_t sequence, uint32_t acknowledgement)
{
	return (struct segment_plan){
		.tuple = {make_endpoint("192.0.2.9", 40001), make_endpoint("10.3.0.7", 22)},
		.sequence = sequence,
		.acknowledgement = acknowledgement,
		.flags = flags,
		.window = 1000,
		.hop_limit = 64,
		.options = {.mss = (flags & TCP_SYN) != 0,
			    .mss_value = 1460,
			    .timestamp = true,
			    .tsval = 99,
			    .window_scale = (flags & TCP_SYN) != 0,
			    .window_shift = 7},
	};
}

static struct segment_plan from_server(uint8_t flags, uint32_t sequence, uint32_t acknowledgement)
{
	struct segment_plan plan = from_client(flags, sequence, acknowledgement);

	plan.tuple = tuple_reverse(&plan.tuple);
	return plan;
}

/* Gives a segment to the engine and checks that what comes out is a whole packet. */
static void give(const struct segment_plan *plan, enum verdict verdict, enum reason reason)
{
	bool outgoing = plan->tuple.destination.port == 22;

	make_segment(&world.segment, &world.packet, world.bytes, sizeof(world.bytes), plan);
	if (outgoing)
		egress_from_client(world.engine, world.destinations, &world.segment, world.now,
				   &world.decision);
	else
		egress_from_server(world.engine, world.destinations, &world.segment, world.now,
				   &world.decision);
	ck_assert_str_eq(reason_word(world.decision.reason), reason_word(reason));
	ck_assert_int_eq(world.decision.verdict, verdict);
	ck_assert(segment_checksum_valid(&world.segment));
}

static void translates(struct segment_plan plan)
{
	give(&plan, VERDICT_VERIFIED, REASON_TRANSLATED);
}

static uint32_t token_of(uint32_t tsval)
{
	struct endpoint server = make_endpoint("10.3.0.7", 22);

	return token_auth(&key.secret, &server, tsval);
}

static struct flow *the_flow(void)
{
	struct tuple tuple = from_client(TCP_SYN, 0, 0).tuple;

	return table_find(world.flows, &tuple);
}

static uint64_t time_left(void)
{
	return table_deadline(world.flows, the_flow()) - world.now;
}

static void syn(uint32_t isn, enum reason reason)
{
	struct segment_plan plan = from_client(TCP_SYN, isn, 0);

	give(&plan, VERDICT_VERIFIED, reason);
	ck_assert_uint_eq(world.segment.sequence, token_of(99));
}

static void establish(void)
{
	syn(ISN, REASON_TOKEN_WRITTEN);
	ck_assert_uint_eq(time_left(), FLOW_TIMEOUT_SYN_SENT);
	translates(from_server(TCP_SYN | TCP_ACK, SERVER_ISN, token_of(99) + 1));
	ck_assert_uint_eq(world.segment.acknowledgement, ISN + 1U);
	ck_assert_uint_eq(time_left(), FLOW_TIMEOUT_SYN_RECEIVED);
	translates(from_client(TCP_ACK, ISN + 1U, SERVER_ISN + 1));
	ck_assert_uint_eq(world.segment.sequence, token_of(99) + 1);
	ck_assert_uint_eq(time_left(), FLOW_TIMEOUT_ESTABLISHED);
}

START_TEST(memory_of_a_flow)
{
	const struct table_layout layout = flow_table_layout(1000000);

	/* What docs/performance.md says. */
	ck_assert_uint_eq(table_entry_size(&layout), 148);
	ck_assert_uint_lt(table_size(&layout), 153U * 1000000U);
}
END_TEST

START_TEST(handshake_and_close)
{
	uint32_t client = ISN + 1U;
	uint32_t server = SERVER_ISN + 1;
	uint32_t wire = token_of(99) + 1;

	establish();
	translates(from_client(TCP_FIN | TCP_ACK, client, server));
	ck_assert_uint_eq(time_left(), FLOW_TIMEOUT_FIN);
	translates(from_server(TCP_FIN | TCP_ACK, server, wire + 1));
	ck_assert_uint_eq(world.segment.acknowledgement, client + 1);
	ck_assert_uint_eq(time_left(), FLOW_TIMEOUT_TIME_WAIT);
	translates(from_client(TCP_ACK, client + 1, server + 1));
	ck_assert_str_eq(flow_state_word(the_flow()), "time-wait");
	world.now += FLOW_TIMEOUT_TIME_WAIT + 2 * SECOND;
	egress_expire(world.engine, world.now);
	ck_assert_ptr_null(the_flow());
}
END_TEST

START_TEST(reset_inside_the_window_only)
{
	uint32_t server = SERVER_ISN + 1;

	establish();
	struct segment_plan plan = from_server(TCP_RST, server + 5000000, 0);
	give(&plan, VERDICT_PASS, REASON_TRANSLATED);
	ck_assert_str_eq(flow_state_word(the_flow()), "established");
	plan.sequence = server;
	give(&plan, VERDICT_PASS, REASON_TRANSLATED);
	ck_assert_uint_eq(time_left(), FLOW_TIMEOUT_CLOSED);
	/* The client answers a doubtful RST by a challenge ACK: then it is alive. */
	translates(from_client(TCP_ACK, ISN + 1U, server));
	ck_assert_uint_eq(time_left(), FLOW_TIMEOUT_ESTABLISHED);
	translates(from_client(TCP_FIN | TCP_ACK, ISN + 5000000U, server));
	ck_assert_str_eq(flow_state_word(the_flow()), "established");
}
END_TEST

START_TEST(refused_connection)
{
	syn(ISN, REASON_TOKEN_WRITTEN);
	translates(from_server(TCP_RST | TCP_ACK, 0, token_of(99) + 2));
	ck_assert_str_eq(flow_state_word(the_flow()), "syn-sent");
	translates(from_server(TCP_RST | TCP_ACK, 0, token_of(99) + 1));
	ck_assert_uint_eq(world.segment.acknowledgement, ISN + 1U);
	ck_assert_str_eq(flow_state_word(the_flow()), "closed");
}
END_TEST

START_TEST(simultaneous_open)
{
	syn(ISN, REASON_TOKEN_WRITTEN);
	struct segment_plan plan = from_server(TCP_SYN, SERVER_ISN, 0);
	give(&plan, VERDICT_PASS, REASON_TRANSLATED);
	translates(from_client(TCP_SYN | TCP_ACK, ISN, SERVER_ISN + 1));
	ck_assert_uint_eq(world.segment.sequence, token_of(99));
	translates(from_server(TCP_ACK, SERVER_ISN + 1, token_of(99) + 1));
	translates(from_client(TCP_ACK, ISN + 1U, SERVER_ISN + 1));
	ck_assert_str_eq(flow_state_word(the_flow()), "established");
}
END_TEST

/* A new SYN on a tuple that is in use: until the server accepts it, all is about the old one. */
START_TEST(next_connection_on_the_tuple)
{
	uint32_t wire = token_of(99);
	uint32_t second = 0x12345678;
	struct segment_plan plan = from_client(TCP_SYN, second, 0);

	establish();
	plan.options.tsval = 777;
	give(&plan, VERDICT_VERIFIED, REASON_TOKEN_WRITTEN);
	ck_assert_uint_eq(world.segment.sequence, token_of(777));
	translates(from_server(TCP_ACK, SERVER_ISN + 1, wire + 1)); /* challenge ACK */
	ck_assert_uint_eq(world.segment.acknowledgement, ISN + 1U);
	translates(from_client(TCP_RST, ISN + 1U, 0));
	ck_assert_uint_eq(world.segment.sequence, wire + 1);
	plan.options.tsval = 1777;
	give(&plan, VERDICT_VERIFIED, REASON_SYN_REPEATED);
	ck_assert_uint_eq(world.segment.sequence, token_of(777));
	ck_assert_uint_eq(world.segment.tsval, 777);
	translates(from_server(TCP_RST | TCP_ACK, 0, token_of(777) + 1));
	ck_assert_uint_eq(world.segment.acknowledgement, second + 1);
	ck_assert_uint_eq(the_flow()->syn.isn, ISN);
	translates(from_server(TCP_SYN | TCP_ACK, 0x90000000, token_of(777) + 1));
	ck_assert_uint_eq(world.segment.acknowledgement, second + 1);
	ck_assert_uint_eq(the_flow()->syn.isn, second);
	ck_assert_uint_eq(table_count(world.flows), 1);
	translates(from_client(TCP_ACK, second + 1, 0x90000001));
	ck_assert_uint_eq(world.segment.sequence, token_of(777) + 1);
	ck_assert_str_eq(flow_state_word(the_flow()), "established");
}
END_TEST

START_TEST(another_isn_before_any_answer)
{
	syn(ISN, REASON_TOKEN_WRITTEN);
	syn(ISN, REASON_SYN_REPEATED);
	syn(4711, REASON_TOKEN_WRITTEN);
	ck_assert_uint_eq(table_count(world.flows), 1);
	translates(from_server(TCP_SYN | TCP_ACK, SERVER_ISN, token_of(99) + 1));
	ck_assert_uint_eq(world.segment.acknowledgement, 4712);
}
END_TEST

/* The timestamp of the first SYN comes back, whatever happened to it. */
START_TEST(timestamp_of_a_repeated_syn)
{
	struct segment_plan plan = from_client(TCP_SYN, ISN, 0);
	uint8_t payload[100] = {1, 2, 3};

	plan.options.timestamp = _i == 0;
	give(&plan, VERDICT_VERIFIED, REASON_TOKEN_WRITTEN);
	size_t length = world.packet.length;
	plan.options.timestamp = true;
	plan.options.tsval = 12345;
	give(&plan, VERDICT_VERIFIED, REASON_SYN_REPEATED);
	ck_assert_uint_eq(world.segment.sequence, token_of(_i == 0 ? 99 : 0));
	ck_assert_uint_eq(world.segment.tsval, _i == 0 ? 99 : 0);
	ck_assert_int_eq(world.segment.timestamp != 0, _i == 0);
	plan.options = (struct segment_options){0};
	plan.payload = payload;
	plan.payload_length = sizeof(payload);
	give(&plan, VERDICT_VERIFIED, REASON_SYN_REPEATED);
	ck_assert_uint_eq(world.segment.tsval, _i == 0 ? 99 : 0);
	ck_assert_uint_eq(world.segment.payload_length, sizeof(payload));
	ck_assert_mem_eq(world.packet.bytes + world.segment.payload, payload, sizeof(payload));
	ck_assert_uint_lt(world.packet.length, length + sizeof(payload));
	/* It can be parsed again, and says the same. */
	struct packet packet;
	struct segment segment;
	ck_assert_int_eq(packet_parse(&packet, world.packet.bytes, world.packet.length),
			 REASON_NONE);
	ck_assert_uint_eq(packet.length, world.packet.length);
	ck_assert_int_eq(segment_parse(&segment, &packet), REASON_NONE);
	ck_assert_uint_eq(segment.tsval, world.segment.tsval);
}
END_TEST

START_TEST(what_is_left_alone)
{
	struct segment_plan plan = from_client(TCP_ACK, 5, 6);
	uint8_t md5[20] = {TCP_OPTION_NOP, TCP_OPTION_NOP, TCP_OPTION_MD5, 18};
	struct made made;

	give(&plan, VERDICT_PASS, REASON_FLOW_UNKNOWN);
	ck_assert(!world.decision.modified);
	plan = from_server(TCP_ACK, 5, 6);
	give(&plan, VERDICT_PASS, REASON_FLOW_UNKNOWN);
	plan = from_client(TCP_SYN, 5, 0);
	plan.tuple.destination = make_endpoint("10.4.0.1", 22);
	give(&plan, VERDICT_PASS, REASON_NO_DESTINATION);
	ck_assert_ptr_null(world.decision.destination);
	make_packet(&made, MAKE_IPV4, md5, sizeof(md5), 0);
	ck_assert_int_eq(packet_parse(&world.packet, made.bytes, made.length), REASON_NONE);
	ck_assert_int_eq(segment_parse(&world.segment, &world.packet), REASON_NONE);
	egress_from_client(world.engine, world.destinations, &world.segment, 0, &world.decision);
	ck_assert_int_eq(world.decision.verdict, VERDICT_PASS);
	ck_assert_int_eq(world.decision.reason, REASON_SIGNED_SEGMENT);
	/* Half a packet cannot be given back. */
	plan = from_client(TCP_SYN, 5, 0);
	make_segment(&world.segment, &world.packet, world.bytes, sizeof(world.bytes), &plan);
	world.packet.captured--;
	egress_from_client(world.engine, world.destinations, &world.segment, 0, &world.decision);
	ck_assert_int_eq(world.decision.verdict, VERDICT_DROP);
	ck_assert_int_eq(world.decision.reason, REASON_TRUNCATED);
}
END_TEST

/* A destination that has integrity now: its SYNs have their tokens already, or do not leave. What
 * began without goes on, and what is left of a connection that ended does not touch the next one.
 */
START_TEST(destination_of_integrity_mode)
{
	struct segment_plan plan = from_client(TCP_SYN, 5, 0);

	give(&plan, VERDICT_VERIFIED, REASON_TOKEN_WRITTEN);
	uint32_t token = world.segment.sequence;
	plan = from_server(TCP_SYN | TCP_ACK, 77, token + 1);
	translates(plan);
	destination.integrity = 32;
	translates(from_client(TCP_ACK, 6, 78));
	plan = from_client(TCP_SYN, 1000, 0);
	const struct endpoint *server = &plan.tuple.destination;
	give(&plan, VERDICT_DROP, REASON_CONFIGURATION_CHANGED);
	plan.sequence = token_integrity(&key.secret, server, 99, 0x4711);
	give(&plan, VERDICT_PASS, REASON_NO_DESTINATION);
	ck_assert(!world.decision.modified);
	translates(from_client(TCP_RST, 6, 0));
	give(&plan, VERDICT_PASS, REASON_NO_DESTINATION);
	ck_assert_uint_eq(table_count(world.flows), 0);
	/* with the time-out that leads to a plain attempt */
	plan.sequence = token_auth(&key.secret, server, 99);
	give(&plan, VERDICT_PASS, REASON_NO_DESTINATION);
	plan.sequence ^= 0x10000;
	give(&plan, VERDICT_DROP, REASON_CONFIGURATION_CHANGED);
	plan = from_server(TCP_SYN | TCP_ACK, 99, 1001);
	give(&plan, VERDICT_PASS, REASON_FLOW_UNKNOWN);
	destination.integrity = 0;
}
END_TEST

START_TEST(full_table)
{
	struct segment_plan plan = from_client(TCP_SYN, ISN, 0);

	for (uint16_t i = 0; i <= CAPACITY; i++) {
		plan.tuple.source.port = (uint16_t)(50000 + i);
		give(&plan, i < CAPACITY ? VERDICT_VERIFIED : VERDICT_DROP,
		     i < CAPACITY ? REASON_TOKEN_WRITTEN : REASON_TABLE_FULL);
	}
	world.now += FLOW_TIMEOUT_SYN_SENT + 2 * SECOND;
	egress_expire(world.engine, world.now);
	give(&plan, VERDICT_VERIFIED, REASON_TOKEN_WRITTEN);
}
END_TEST

/* A random packet with SACK blocks of every alignment, between the two ends of a flow. */
static void random_packet(struct made *made, bool outgoing, uint64_t *random)
{
	static const uint8_t client[] = {192, 0, 2, 9};
	static const uint8_t server[] = {10, 3, 0, 7};
	uint8_t options[40];
	size_t blocks = random32(random) % 4;
	size_t pad = random32(random) % 3;
	size_t length = pad;

	memset(options, TCP_OPTION_NOP, sizeof(options));
	if (blocks > 0) {
		options[length] = TCP_OPTION_SACK;
		options[length + 1] = (uint8_t)(2 + 8 * blocks);
		for (size_t i = 0; i < 8 * blocks; i++)
			options[length + 2 + i] = (uint8_t)random32(random);
		length += 2 + 8 * blocks;
	}
	length = (length + 3) / 4 * 4;
	make_packet(made, random32(random) % 2 != 0 ? MAKE_IPV4 : MAKE_IPV4_OPTIONS, options,
		    length, random32(random) % 1400);
	memcpy(made->bytes + 12, outgoing ? client : server, 4);
	memcpy(made->bytes + 16, outgoing ? server : client, 4);
	uint8_t *tcp = made->bytes + made->transport;
	store16(tcp, outgoing ? 40001 : 22);
	store16(tcp + 2, outgoing ? 22 : 40001);
	store32(tcp + 4, random32(random));
	store32(tcp + 8, random32(random));
	tcp[13] = (uint8_t)(TCP_ACK | (random32(random) & (TCP_PSH | TCP_FIN | TCP_RST | TCP_URG)));
	store16(tcp + 18, (uint16_t)random32(random));
	made_finish(made);
}

/* The numbers of the original, moved by delta, byte by byte from the outside. */
static void translate_plainly(struct made *made, bool outgoing, uint32_t delta)
{
	uint8_t *tcp = made->bytes + made->transport;
	size_t header = (size_t)(tcp[12] >> 4) * 4;

	if (outgoing) {
		store32(tcp + 4, load32(tcp + 4) + delta);
	} else {
		store32(tcp + 8, load32(tcp + 8) - delta);
		for (size_t at = 20; at + 1 < header && tcp[at] == TCP_OPTION_NOP; at++)
			if (tcp[at + 1] == TCP_OPTION_SACK)
				for (size_t edge = at + 3; edge < at + 1 + tcp[at + 2]; edge += 4)
					store32(tcp + edge, load32(tcp + edge) - delta);
		if (header > 20 && tcp[20] == TCP_OPTION_SACK)
			for (size_t edge = 22; edge < 20U + tcp[21]; edge += 4)
				store32(tcp + edge, load32(tcp + edge) - delta);
	}
	made_finish(made);
}

START_TEST(random_packets_against_the_inverse)
{
	uint64_t random = 4711;
	struct made original, made, back;

	establish();
	uint32_t delta = token_of(99) - ISN;
	for (unsigned int i = 0; i < 20000; i++) {
		bool outgoing = random32(&random) % 2 != 0;
		bool partial = random32(&random) % 4 == 0;

		random_packet(&original, outgoing, &random);
		made = original;
		if (partial) /* as a kernel leaves it to a device: the pseudo header only */
			store16(made.bytes + made.transport + 16, plain_fold(plain_pseudo(&made)));
		ck_assert_int_eq(packet_parse(&world.packet, made.bytes, made.length), REASON_NONE);
		world.packet.checksum_ready = !partial;
		ck_assert_int_eq(segment_parse(&world.segment, &world.packet), REASON_NONE);
		if (outgoing)
			egress_from_client(world.engine, world.destinations, &world.segment,
					   world.now, &world.decision);
		else
			egress_from_server(world.engine, world.destinations, &world.segment,
					   world.now, &world.decision);
		ck_assert_int_eq(world.decision.reason, REASON_TRANSLATED);
		ck_assert(world.decision.modified);
		back = original;
		translate_plainly(&back, outgoing, delta);
		ck_assert_uint_eq(made.length, back.length);
		ck_assert_mem_eq(made.bytes, back.bytes, made.length);
		translate_plainly(&back, outgoing, 0U - delta);
		ck_assert_mem_eq(original.bytes, back.bytes, original.length);
	}
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("egress");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, destination_of_integrity_mode);
	tcase_add_test(tcase, memory_of_a_flow);
	tcase_add_test(tcase, handshake_and_close);
	tcase_add_test(tcase, reset_inside_the_window_only);
	tcase_add_test(tcase, refused_connection);
	tcase_add_test(tcase, simultaneous_open);
	tcase_add_test(tcase, next_connection_on_the_tuple);
	tcase_add_test(tcase, another_isn_before_any_answer);
	tcase_add_loop_test(tcase, timestamp_of_a_repeated_syn, 0, 2);
	tcase_add_test(tcase, what_is_left_alone);
	tcase_add_test(tcase, full_table);
	tcase_add_test(tcase, random_packets_against_the_inverse);
	return run_tcase("egress", tcase);
}
