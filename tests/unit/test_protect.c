/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The protect engine, segment by segment. Whole connections of a real client: test_captures.c. */
#include "core/protect.h"

#include "action_notes.h"
#include "core/token.h"
#include "support.h"

enum { SECOND = 1000, NUMBER = 28, START = 1000000, WALL = 1700000000 };

static const char payload[] = "Protected payload goes here. And more of it.";

static struct key keys[2];
static struct service services[2] = {
	{.name = "auth", .index = 0, .keys = keys, .key_count = 2},
	{.name = "integrity", .index = 1, .integrity = NUMBER, .keys = keys, .key_count = 2},
};

struct world {
	struct protect *engine;
	struct service_table *table;
	uint64_t now;
	int64_t wall;
	/* The last segment that was judged. */
	uint8_t bytes[2048];
	struct packet packet;
	struct segment segment;
	struct decision decision;
};

static struct world world;

static void set_up(void)
{
	const uint8_t hash_key[16] = {9};
	const struct protect_options options = {
		.capacity = 16,
		.holds = 2,
		.output = {.act = note_action},
	};
	const struct service_row rows[] = {
		{make_endpoint("192.0.2.1", 22), &services[0]},
		{make_endpoint("2001:db8::1", 22), &services[1]},
	};
	bool truncated;

	secret_from_bytes(&keys[0].secret, (const uint8_t *)"new", 3, &truncated);
	secret_from_bytes(&keys[1].secret, (const uint8_t *)"old", 3, &truncated);
	strcpy(keys[0].name, "1");
	strcpy(keys[1].name, "2");
	world.engine = protect_new(&options, hash_key, START);
	world.table = service_table_new(rows, 2);
	world.now = START;
	world.wall = WALL;
	ck_assert(world.engine != NULL && world.table != NULL);
}

static void tear_down(void)
{
	protect_free(world.engine);
	service_table_free(world.table);
}

/* The segment of a client at port 40000, to either service. */
static struct segment_plan plan_to(bool integrity, uint8_t flags, uint32_t sequence,
				   size_t payload_length)
{
	return (struct segment_plan){
		.tuple = {make_endpoint(integrity ? "2001:db8::99" : "198.51.100.99", 40000),
			  make_endpoint(integrity ? "2001:db8::1" : "192.0.2.1", 22)},
		.sequence = sequence,
		.acknowledgement = (flags & TCP_ACK) != 0 ? 4711 : 0,
		.flags = flags,
		.hop_limit = 64,
		.options = {.mss = (flags & TCP_SYN) != 0,
			    .mss_value = 1460,
			    .timestamp = true,
			    .tsval = 555},
		.payload = (const uint8_t *)payload,
		.payload_length = payload_length,
	};
}

static void parse(const struct segment_plan *plan)
{
	make_segment(&world.segment, &world.packet, world.bytes, sizeof(world.bytes), plan);
}

static void judge(enum verdict verdict, enum reason reason)
{
	struct moment now = {.steady = world.now, .wall = world.wall};

	protect_judge(world.engine, world.table, &world.segment, false, now, &world.decision);
	ck_assert_str_eq(reason_word(world.decision.reason), reason_word(reason));
	ck_assert_int_eq(world.decision.verdict, verdict);
}

static void judge_plan(struct segment_plan plan, enum verdict verdict, enum reason reason)
{
	parse(&plan);
	judge(verdict, reason);
}

static void resolve(enum connection_state state)
{
	struct moment now = {.steady = world.now, .wall = world.wall};

	protect_resolve(world.engine, &world.segment, state, now, &world.decision);
}

static uint32_t auth_isn(const struct key *key)
{
	struct endpoint destination = make_endpoint("192.0.2.1", 22);

	return token_auth(&key->secret, &destination, 555);
}

static uint32_t integrity_isn(const struct key *key)
{
	struct endpoint destination = make_endpoint("2001:db8::1", 22);
	uint16_t hash = token_payload_hash(&key->secret, (const uint8_t *)payload, NUMBER);

	return token_integrity(&key->secret, &destination, 555, hash);
}

START_TEST(token_opens)
{
	for (size_t i = 0; i < 2; i++) {
		struct segment_plan plan = plan_to(false, TCP_SYN, auth_isn(&keys[i]), 0);
		plan.tuple.source.port = (uint16_t)(1000 + i);
		judge_plan(plan, VERDICT_VERIFIED, REASON_TOKEN_VALID);
		ck_assert_ptr_eq(world.decision.key, &keys[i]);
		ck_assert_ptr_eq(world.decision.service, &services[0]);
		ck_assert(!world.decision.modified);
		judge_plan(plan, VERDICT_VERIFIED, REASON_SYN_REPEATED);
	}
}
END_TEST

/* A copy of the SYN, which has a later TSval, is one of its key: as long as that is good. */
START_TEST(copy_is_judged_again)
{
	bool integrity = _i == 1;
	uint32_t isn = integrity ? integrity_isn(&keys[1]) : auth_isn(&keys[1]);
	enum verdict right = integrity ? VERDICT_PENDING : VERDICT_VERIFIED;
	const struct prefix elsewhere = {.base = make_endpoint("203.0.113.0", 0), .length = 24};
	struct segment_plan plan = plan_to(integrity, TCP_SYN, isn, 0);
	struct service *service = &services[_i];

	judge_plan(plan, right, REASON_TOKEN_VALID);
	plan.options.tsval = 1555;
	judge_plan(plan, right, REASON_SYN_REPEATED);
	ck_assert_ptr_eq(world.decision.key, &keys[1]);
	keys[1].not_after = WALL - 1;
	judge_plan(plan, VERDICT_CLOSED, REASON_KEY_EXPIRED);
	keys[1].not_after = 0;
	keys[1].sources = &elsewhere;
	keys[1].source_count = 1;
	judge_plan(plan, VERDICT_CLOSED, REASON_KEY_SOURCE);
	keys[1].source_count = 0;
	service->key_count = 1;
	judge_plan(plan, VERDICT_CLOSED, REASON_TOKEN_WRONG);
	service->key_count = 2;
	judge_plan(plan, right, REASON_SYN_REPEATED);
	/* What is no copy has to prove itself. */
	plan.tuple.source.port++;
	judge_plan(plan, VERDICT_CLOSED, REASON_TOKEN_WRONG);
}
END_TEST

START_TEST(anything_else_does_not)
{
	uint32_t isn = auth_isn(&keys[0]);

	for (unsigned int bit = 0; bit < 32; bit++)
		judge_plan(plan_to(false, TCP_SYN, isn ^ 1U << bit, 0), VERDICT_CLOSED,
			   REASON_TOKEN_WRONG);
	struct segment_plan plan = plan_to(false, TCP_SYN, isn, 0);
	plan.options.tsval++;
	judge_plan(plan, VERDICT_CLOSED, REASON_TOKEN_WRONG);
	plan.options.timestamp = false;
	judge_plan(plan, VERDICT_CLOSED, REASON_TOKEN_WRONG);
	plan = plan_to(false, TCP_SYN, isn, 0);
	plan.tuple.destination.port = 23;
	judge_plan(plan, VERDICT_CLOSED, REASON_NO_SERVICE);
}
END_TEST

START_TEST(every_other_flag_asks_conntrack)
{
	uint32_t isn = auth_isn(&keys[0]);

	for (unsigned int flags = 0; flags < 64; flags++) {
		if ((flags & (TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST)) == TCP_SYN)
			continue;
		/* Even with the token as its sequence number. */
		judge_plan(plan_to(false, (uint8_t)flags, isn, 3), VERDICT_LOOKUP,
			   REASON_NO_CONNECTION);
		resolve(CONNECTION_UNKNOWN);
		ck_assert_int_eq(world.decision.verdict, VERDICT_CLOSED);
	}
	judge_plan(plan_to(false, TCP_ACK, isn, 3), VERDICT_LOOKUP, REASON_NO_CONNECTION);
	resolve(CONNECTION_VERIFIED);
	ck_assert_int_eq(world.decision.verdict, VERDICT_PASS);
	judge_plan(plan_to(false, TCP_ACK, isn, 3), VERDICT_LOOKUP, REASON_NO_CONNECTION);
	resolve(CONNECTION_PENDING);
	ck_assert_int_eq(world.decision.verdict, VERDICT_RESET);
}
END_TEST

START_TEST(wrong_checksum_is_not_judged)
{
	struct segment_plan plan = plan_to(false, TCP_SYN, auth_isn(&keys[0]), 0);

	parse(&plan);
	world.bytes[world.packet.transport + 16] ^= 1;
	judge(VERDICT_CLOSED, REASON_CHECKSUM_WRONG);
	/* Unless the kernel says that it was left to the device. */
	world.packet.checksum_ready = false;
	judge(VERDICT_VERIFIED, REASON_TOKEN_VALID);
}
END_TEST

/* The server's side of the pending connection. */
static void reply(uint8_t flags, uint32_t sequence, uint32_t acknowledgement)
{
	struct segment_plan plan = plan_to(true, flags, sequence, 0);

	plan.tuple = tuple_reverse(&plan.tuple);
	plan.acknowledgement = acknowledgement;
	parse(&plan);
	protect_reply(world.engine, world.table, &world.segment, false, world.now, &world.decision);
}

static void open_pending(uint32_t isn)
{
	judge_plan(plan_to(true, TCP_SYN, isn, 0), VERDICT_PENDING, REASON_TOKEN_VALID);
	ck_assert_uint_eq(protect_pending(world.engine), 1);
	reply(TCP_SYN | TCP_ACK, 4710, isn + 1);
	judge_plan(plan_to(true, TCP_ACK, isn + 1, 0), VERDICT_PENDING, REASON_PENDING_EMPTY);
}

START_TEST(data_elsewhere_waits)
{
	uint32_t isn = integrity_isn(&keys[1]);

	open_pending(isn);
	judge_plan(plan_to(true, TCP_ACK, isn + 2, 10), VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	judge_plan(plan_to(true, TCP_ACK, isn, NUMBER), VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	judge_plan(plan_to(true, TCP_FIN | TCP_ACK, isn + 1, 0), VERDICT_PENDING,
		   REASON_PENDING_EMPTY);
	struct segment_plan plan = plan_to(true, TCP_ACK, isn + 1, NUMBER);
	parse(&plan);
	world.bytes[world.packet.transport + 16] ^= 1;
	judge(VERDICT_DROP, REASON_CHECKSUM_WRONG);
	parse(&plan);
	world.packet.captured--;
	judge(VERDICT_DROP, REASON_TRUNCATED);
	judge_plan(plan, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
}
END_TEST

START_TEST(right_payload_opens)
{
	uint32_t isn = integrity_isn(&keys[1]);
	size_t length = _i == 0 ? NUMBER : sizeof(payload) - 1;

	open_pending(isn);
	judge_plan(plan_to(true, TCP_ACK | TCP_PSH, isn + 1, length), VERDICT_DELIVER,
		   REASON_PAYLOAD_VALID);
	ck_assert_ptr_eq(world.decision.key, &keys[1]);
	ck_assert_uint_eq(protect_pending(world.engine), 1);
	reply(TCP_ACK, 4711, isn + 1 + (uint32_t)length);
	ck_assert_int_eq(world.decision.verdict, VERDICT_PASS);
	ck_assert_uint_eq(protect_pending(world.engine), 0);
	judge_plan(plan_to(true, TCP_ACK, isn + 1, 0), VERDICT_PASS, REASON_CONNECTION_VERIFIED);
}
END_TEST

/* The kernel calls a connection verified when it has ended, too. Who has forgotten it takes what
 * follows for the beginning of another one. */
START_TEST(nothing_behind_the_end)
{
	uint32_t isn = integrity_isn(&keys[1]);
	static const enum verdict verdicts[] = {
		[CONNECTION_UNKNOWN] = VERDICT_CLOSED, [CONNECTION_PENDING] = VERDICT_RESET,
		[CONNECTION_VERIFIED] = VERDICT_PASS,  [CONNECTION_ENDING] = VERDICT_DROP,
		[CONNECTION_ENDED] = VERDICT_DROP,
	};
	bool known = _i % 2 == 0;
	bool data = _i / 2 % 2 == 0;
	enum connection_state state = (enum connection_state)(_i / 4);
	bool ended = state == CONNECTION_ENDED || state == CONNECTION_ENDING;

	if (known) {
		open_pending(isn);
		judge_plan(plan_to(true, TCP_ACK, isn + 1, NUMBER), VERDICT_DELIVER,
			   REASON_PAYLOAD_VALID);
		reply(TCP_ACK, 4711, isn + 1 + NUMBER);
	}
	if (known && !data) {
		judge_plan(plan_to(true, TCP_ACK, isn + 1, 0), VERDICT_PASS,
			   REASON_CONNECTION_VERIFIED);
		return;
	}
	judge_plan(plan_to(true, TCP_ACK, isn + 1, data ? 3 : 0), VERDICT_LOOKUP,
		   known ? REASON_CONNECTION_VERIFIED : REASON_NO_CONNECTION);
	resolve(state);
	ck_assert_int_eq(world.decision.verdict,
			 ended && (!data || (known && state == CONNECTION_ENDING))
				 ? VERDICT_PASS
				 : verdicts[state]);
	if (world.decision.verdict == VERDICT_DROP)
		ck_assert_int_eq(world.decision.reason, REASON_CONNECTION_ENDED);
}
END_TEST

static void open_verified(uint32_t isn)
{
	open_pending(isn);
	judge_plan(plan_to(true, TCP_ACK, isn + 1, NUMBER), VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	reply(TCP_ACK, 4711, isn + 1 + NUMBER);
}

/* The kernel takes a FIN that comes twice for one of either side. The first one of the client may
 * bring bytes. */
START_TEST(fins_are_counted_by_side)
{
	uint32_t isn = integrity_isn(&keys[1]);
	uint32_t next = isn + 1 + NUMBER;
	bool client = (_i & 1) != 0;
	bool server = (_i & 2) != 0;
	enum connection_state state = (_i & 8) != 0 ? CONNECTION_VERIFIED : CONNECTION_ENDING;

	open_verified(isn);
	if (client)
		judge_plan(plan_to(true, TCP_ACK | TCP_FIN, next, 0), VERDICT_PASS,
			   REASON_CONNECTION_VERIFIED);
	if (server)
		reply(TCP_ACK | TCP_FIN, 4711, next);
	judge_plan(plan_to(true, TCP_ACK | ((_i & 4) != 0 ? TCP_FIN : 0), next, 3), VERDICT_LOOKUP,
		   REASON_CONNECTION_VERIFIED);
	resolve(state);
	ck_assert_int_eq(world.decision.verdict, client && server ? VERDICT_DROP : VERDICT_PASS);
	judge_plan(plan_to(true, TCP_ACK, next, 3), VERDICT_LOOKUP, REASON_CONNECTION_VERIFIED);
	resolve(state);
	ck_assert_int_eq(world.decision.verdict,
			 (client || (_i & 4) != 0) && server ? VERDICT_DROP : VERDICT_PASS);
}
END_TEST

/* Nor does the server take it for one. */
START_TEST(a_fin_with_syn_is_none)
{
	uint32_t next = integrity_isn(&keys[1]) + 1 + NUMBER;

	open_verified(integrity_isn(&keys[1]));
	reply(TCP_ACK | TCP_FIN, 4711, next);
	judge_plan(plan_to(true, TCP_ACK | TCP_FIN | TCP_SYN, next, 0), VERDICT_PASS,
		   REASON_CONNECTION_VERIFIED);
	judge_plan(plan_to(true, TCP_ACK, next, 3), VERDICT_LOOKUP, REASON_CONNECTION_VERIFIED);
	resolve(CONNECTION_VERIFIED);
	ck_assert_int_eq(world.decision.verdict, VERDICT_PASS);
}
END_TEST

/* Who has forgotten the handshake knows that its cookie is forgotten, too, unless it has just
 * begun. */
START_TEST(old_connections_may_end_slowly)
{
	uint32_t isn = integrity_isn(&keys[1]);
	bool known = _i != 0;

	world.now += 130 * 1000;
	if (known)
		open_verified(isn);
	judge_plan(plan_to(true, TCP_ACK, isn + 1, 3), VERDICT_LOOKUP,
		   known ? REASON_CONNECTION_VERIFIED : REASON_NO_CONNECTION);
	resolve(CONNECTION_ENDED);
	ck_assert_int_eq(world.decision.verdict, known ? VERDICT_DROP : VERDICT_PASS);
}
END_TEST

static bool is_shut(void)
{
	return action_count > 0 && actions[action_count - 1].action.kind == PROTECT_SHUT;
}

/* A server may have begun anew with a recorded ACK: its bytes must not pass either when its cookie
 * is long forgotten. */
START_TEST(ends_are_not_forgotten_while_the_client_speaks)
{
	uint32_t isn = integrity_isn(&keys[1]);
	uint32_t next = isn + 1 + NUMBER;
	bool reset = _i == 1;

	open_verified(isn);
	if (reset) {
		judge_plan(plan_to(true, TCP_RST, next, 0), VERDICT_LOOKUP,
			   REASON_CONNECTION_VERIFIED);
		resolve(CONNECTION_ENDED);
	} else {
		judge_plan(plan_to(true, TCP_ACK | TCP_FIN, next, 0), VERDICT_PASS,
			   REASON_CONNECTION_VERIFIED);
		reply(TCP_ACK | TCP_FIN, 4711, next + 1);
	}
	for (unsigned int i = 0; i < 4; i++) {
		judge_plan(plan_to(true, TCP_ACK, isn + 1, 0), VERDICT_PASS,
			   REASON_CONNECTION_VERIFIED);
		world.now += 100 * 1000;
		protect_tick(world.engine, world.now);
	}
	judge_plan(plan_to(true, TCP_ACK, isn + 1, 3), VERDICT_LOOKUP, REASON_CONNECTION_VERIFIED);
	resolve(reset ? CONNECTION_ENDED : CONNECTION_ENDING);
	ck_assert_int_eq(world.decision.verdict, VERDICT_DROP);
	ck_assert(!is_shut());
	world.now += 131 * 1000;
	protect_tick(world.engine, world.now);
	ck_assert(is_shut());
}
END_TEST

/* One that goes on is forgotten without a word. */
START_TEST(living_connections_are_not_shut)
{
	uint32_t isn = integrity_isn(&keys[1]);

	open_verified(isn);
	if (_i == 1)
		judge_plan(plan_to(true, TCP_ACK | TCP_FIN, isn + 1 + NUMBER, 0), VERDICT_PASS,
			   REASON_CONNECTION_VERIFIED);
	if (_i == 2)
		reply(TCP_ACK | TCP_FIN, 4711, isn + 1 + NUMBER);
	world.now += 131 * 1000;
	protect_tick(world.engine, world.now);
	ck_assert(!is_shut());
	judge_plan(plan_to(true, TCP_ACK, isn + 1 + NUMBER, 3), VERDICT_LOOKUP,
		   REASON_NO_CONNECTION);
}
END_TEST

/* Nor does it tell of an end when somebody's FIN goes no further. */
START_TEST(dropped_fins_end_nothing)
{
	uint32_t isn = integrity_isn(&keys[1]);
	struct segment_plan plan = plan_to(true, TCP_ACK | TCP_FIN, isn + 1, 0);

	open_pending(isn);
	parse(&plan);
	world.bytes[world.packet.transport + 16] ^= 1;
	judge(VERDICT_DROP, REASON_CHECKSUM_WRONG);
	judge_plan(plan_to(true, TCP_ACK, isn + 1, NUMBER), VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	reply(TCP_ACK | TCP_FIN, 4711, isn + 1 + NUMBER);
	judge_plan(plan_to(true, TCP_ACK, isn + 1 + NUMBER, 3), VERDICT_LOOKUP,
		   REASON_CONNECTION_VERIFIED);
	resolve(CONNECTION_ENDING);
	ck_assert_int_eq(world.decision.verdict, VERDICT_PASS);
}
END_TEST

/* An RST that the kernel does not take for the end makes the server say where it is. */
START_TEST(reset_beside_the_end)
{
	uint32_t isn = integrity_isn(&keys[1]);
	bool known = _i % 2 == 0;
	bool ended = _i / 2 != 0;

	if (known)
		open_verified(isn);
	judge_plan(plan_to(true, TCP_RST, isn + 21, 0), VERDICT_LOOKUP,
		   known ? REASON_CONNECTION_VERIFIED : REASON_NO_CONNECTION);
	resolve(ended ? CONNECTION_ENDED : CONNECTION_VERIFIED);
	ck_assert_int_eq(world.decision.verdict, VERDICT_PASS);
	ck_assert_int_eq(world.decision.modified, !ended);
	ck_assert_uint_eq(world.segment.flags, ended ? TCP_RST : TCP_ACK);
	ck_assert_uint_eq(world.segment.sequence, isn + 21 - (ended ? 0 : 0x60000000));
}
END_TEST

/* A server with SYN cookies believes an ACK with Multipath TCP whatever was in the SYN. */
START_TEST(multipath_is_left_behind_later)
{
	uint32_t isn = integrity_isn(&keys[1]);
	struct segment_plan plan = plan_to(true, TCP_ACK, isn + 1, _i != 0 ? NUMBER : 0);
	struct tcp_option option;

	open_pending(isn);
	plan.options.mss = true;
	parse(&plan);
	ck_assert(tcp_option_find(&world.segment, TCP_OPTION_MSS, &option));
	world.bytes[option.offset] = TCP_OPTION_MPTCP;
	segment_complete_checksum(&world.segment);
	judge(_i != 0 ? VERDICT_DELIVER : VERDICT_PENDING,
	      _i != 0 ? REASON_PAYLOAD_VALID : REASON_PENDING_EMPTY);
	ck_assert(world.decision.modified);
	ck_assert(!tcp_option_find(&world.segment, TCP_OPTION_MPTCP, &option));
	ck_assert(segment_checksum_valid(&world.segment));
}
END_TEST

/* With Multipath TCP the first bytes need not be the first that the application sees. */
START_TEST(multipath_is_left_behind)
{
	struct segment_plan plan = plan_to(_i != 0, TCP_SYN, 0, 0);
	struct tcp_option option;

	plan.sequence = _i != 0 ? integrity_isn(&keys[0]) : auth_isn(&keys[0]);
	plan.options.sack_permitted = true;
	parse(&plan);
	/* Only the kind matters. */
	ck_assert(tcp_option_find(&world.segment, TCP_OPTION_SACK_PERMITTED, &option));
	world.bytes[option.offset] = TCP_OPTION_MPTCP;
	segment_complete_checksum(&world.segment);
	judge(_i != 0 ? VERDICT_PENDING : VERDICT_VERIFIED, REASON_TOKEN_VALID);
	ck_assert_int_eq(world.decision.modified, _i != 0);
	ck_assert_int_eq(tcp_option_find(&world.segment, TCP_OPTION_MPTCP, &option), _i == 0);
	ck_assert(tcp_option_find(&world.segment, TCP_OPTION_MSS, &option));
	ck_assert_uint_eq(world.segment.tsval, 555);
	ck_assert(segment_checksum_valid(&world.segment));
}
END_TEST

/* Any bit of the first bytes, and too few of them: a reset at what each side expects. */
START_TEST(wrong_payload_kills)
{
	uint32_t isn = integrity_isn(&keys[0]);
	struct segment_plan data = plan_to(true, TCP_ACK, isn + 1, NUMBER);
	bool too_short = _i == NUMBER * 8;

	open_pending(isn);
	if (too_short)
		data.payload_length--;
	parse(&data);
	if (!too_short) {
		world.bytes[world.segment.payload + (size_t)_i / 8] ^= (uint8_t)(1 << _i % 8);
		segment_complete_checksum(&world.segment);
	}
	judge(VERDICT_RESET, too_short ? REASON_PAYLOAD_SHORT : REASON_PAYLOAD_WRONG);
	ck_assert(world.decision.modified);
	ck_assert_uint_eq(world.decision.peer_sequence, 4711);
	ck_assert_int_eq(world.segment.flags, TCP_RST);
	ck_assert_uint_eq(world.segment.sequence, isn + 1);
	ck_assert_uint_eq(world.packet.length, world.packet.transport + 20);
	ck_assert(segment_checksum_valid(&world.segment));
	/* Dead for good: neither the right bytes nor the same SYN bring it back. */
	judge_plan(plan_to(true, TCP_ACK, isn + 1, NUMBER), VERDICT_CLOSED, REASON_CONNECTION_DEAD);
	judge_plan(plan_to(true, TCP_SYN, isn, 0), VERDICT_CLOSED, REASON_CONNECTION_DEAD);
	ck_assert_uint_eq(protect_pending(world.engine), 0);
}
END_TEST

/* A SYN in between does not raise the dead; a tuple that goes on spoiling them is dead itself. */
START_TEST(dead_stays_dead)
{
	enum { TOKENS = 6, REMEMBERED = 4 };
	uint32_t isns[TOKENS];

	for (uint32_t i = 0; i < TOKENS; i++) {
		struct segment_plan plan = plan_to(true, TCP_SYN, 0, 0);
		plan.options.tsval = 1000 + i;
		plan.sequence = isns[i] = token_integrity(&keys[0].secret, &plan.tuple.destination,
							  plan.options.tsval, 0x1234);
		bool alive = i < REMEMBERED;
		judge_plan(plan, alive ? VERDICT_PENDING : VERDICT_CLOSED,
			   alive ? REASON_TOKEN_VALID : REASON_CONNECTION_DEAD);
		if (alive) {
			reply(TCP_SYN | TCP_ACK, 4710, isns[i] + 1);
			judge_plan(plan_to(true, TCP_ACK, isns[i] + 1, NUMBER), VERDICT_RESET,
				   REASON_PAYLOAD_WRONG);
		}
		for (uint32_t j = 0; j <= i; j++) {
			plan.options.tsval = 1000 + j;
			plan.sequence = isns[j];
			judge_plan(plan, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
		}
	}
	world.now += 301 * SECOND;
	protect_tick(world.engine, world.now);
	judge_plan(plan_to(true, TCP_SYN, integrity_isn(&keys[0]), 0), VERDICT_PENDING,
		   REASON_TOKEN_VALID);
}
END_TEST

/* Nor does a connection in between that its client gives up, and that is forgotten sooner. */
START_TEST(dead_stays_dead_behind_others)
{
	uint32_t isn = integrity_isn(&keys[0]);
	struct segment_plan other = plan_to(true, TCP_SYN, 0, 0);

	other.options.tsval = 1000;
	other.sequence = token_integrity(&keys[0].secret, &other.tuple.destination, 1000, 0x1234);
	judge_plan(other, VERDICT_PENDING, REASON_TOKEN_VALID);
	reply(TCP_SYN | TCP_ACK, 4710, other.sequence + 1);
	judge_plan(plan_to(true, TCP_ACK, other.sequence + 1, NUMBER), VERDICT_RESET,
		   REASON_PAYLOAD_WRONG);
	judge_plan(plan_to(true, TCP_SYN, isn, 0), VERDICT_PENDING, REASON_TOKEN_VALID);
	reply(TCP_SYN | TCP_ACK, 4710, isn + 1);
	judge_plan(plan_to(true, TCP_ACK, isn + 1, NUMBER), VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	judge_plan(plan_to(true, TCP_RST, isn + 1 + NUMBER, 0), VERDICT_PENDING,
		   REASON_PENDING_EMPTY);
	world.now += 31 * SECOND;
	protect_tick(world.engine, world.now);
	ck_assert_uint_eq(protect_pending(world.engine), 0);
	judge_plan(other, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
	judge_plan(plan_to(true, TCP_SYN, isn, 0), VERDICT_PENDING, REASON_TOKEN_VALID);
}
END_TEST

START_TEST(fast_open_data_stays_behind)
{
	uint32_t isn = integrity_isn(&keys[0]);

	judge_plan(plan_to(true, TCP_SYN, isn, NUMBER), VERDICT_PENDING, REASON_TOKEN_VALID);
	ck_assert(world.decision.modified);
	ck_assert_uint_eq(world.segment.payload_length, 0);
	ck_assert_uint_eq(world.packet.length, world.segment.payload);
	ck_assert(segment_checksum_valid(&world.segment));
}
END_TEST

START_TEST(full_table_opens_nothing_unchecked)
{
	uint32_t isn = integrity_isn(&keys[0]);

	for (unsigned int i = 0; i < 20; i++) {
		struct segment_plan plan = plan_to(true, TCP_SYN, isn, 0);
		plan.tuple.source.port = (uint16_t)(50000 + i);
		judge_plan(plan, i < 16 ? VERDICT_PENDING : VERDICT_CLOSED,
			   i < 16 ? REASON_TOKEN_VALID : REASON_TABLE_FULL);
	}
	/* Authentication needs no memory. */
	judge_plan(plan_to(false, TCP_SYN, auth_isn(&keys[0]), 0), VERDICT_VERIFIED,
		   REASON_TOKEN_VALID);
	/* Those that never send anything are forgotten. */
	world.now += 310 * SECOND;
	protect_tick(world.engine, world.now);
	ck_assert_uint_eq(protect_pending(world.engine), 0);
	judge_plan(plan_to(true, TCP_SYN, isn, 0), VERDICT_PENDING, REASON_TOKEN_VALID);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("protect");

	tcase_set_timeout(tcase, 120);

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, token_opens);
	tcase_add_loop_test(tcase, copy_is_judged_again, 0, 2);
	tcase_add_test(tcase, anything_else_does_not);
	tcase_add_test(tcase, every_other_flag_asks_conntrack);
	tcase_add_test(tcase, wrong_checksum_is_not_judged);
	tcase_add_test(tcase, data_elsewhere_waits);
	tcase_add_loop_test(tcase, right_payload_opens, 0, 2);
	tcase_add_loop_test(tcase, nothing_behind_the_end, 0, 20);
	tcase_add_loop_test(tcase, fins_are_counted_by_side, 0, 16);
	tcase_add_test(tcase, a_fin_with_syn_is_none);
	tcase_add_loop_test(tcase, old_connections_may_end_slowly, 0, 2);
	tcase_add_loop_test(tcase, ends_are_not_forgotten_while_the_client_speaks, 0, 2);
	tcase_add_loop_test(tcase, living_connections_are_not_shut, 0, 3);
	tcase_add_test(tcase, dropped_fins_end_nothing);
	tcase_add_loop_test(tcase, reset_beside_the_end, 0, 4);
	tcase_add_loop_test(tcase, multipath_is_left_behind, 0, 2);
	tcase_add_loop_test(tcase, multipath_is_left_behind_later, 0, 2);
	tcase_add_loop_test(tcase, wrong_payload_kills, 0, NUMBER * 8 + 1);
	tcase_add_test(tcase, dead_stays_dead);
	tcase_add_test(tcase, dead_stays_dead_behind_others);
	tcase_add_test(tcase, fast_open_data_stays_behind);
	tcase_add_test(tcase, full_table_opens_nothing_unchecked);
	return run_tcase("protect", tcase);
}
