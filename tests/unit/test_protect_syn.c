/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integrity mode: right SYNs on a tuple that has, or had, a connection. */
#include "action_notes.h"
#include "core/protect.h"
#include "core/token.h"
#include "support.h"

enum { NUMBER = 28, START = 1000000, SERVER_ISN = 70000, PENDING_TIMEOUT = 60, CAPACITY = 4 };

static const char payload[] = "Protected payload goes here. And more of it.";
static const char other[] = "Protected PAYLOAD goes here. And more of it.";

static struct key key;
static struct service services[2] = {
	{.name = "app",
	 .integrity = NUMBER,
	 .pending_timeout = PENDING_TIMEOUT,
	 .keys = &key,
	 .key_count = 1},
	{.name = "auth", .keys = &key, .key_count = 1},
};
/* SYNs of one client: each has a token of its own. */
static const uint32_t tsvals[] = {555, 777, 999};
enum { A, B, C };

static struct protect *engine;
static struct service_table *table;
static uint64_t now;
static struct tuple tuple;
static uint8_t bytes[2048];
static struct packet packet;
static struct segment segment;
static struct decision decision;

static void set_up(void)
{
	const uint8_t hash_key[16] = {9};
	const struct protect_options options = {
		.capacity = CAPACITY, .holds = 2, .output = {.act = note_action}};
	const struct service_row rows[] = {{make_endpoint("192.0.2.1", 22), &services[0]},
					   {make_endpoint("192.0.2.1", 23), &services[1]}};
	bool truncated;

	secret_from_bytes(&key.secret, (const uint8_t *)"key", 3, &truncated);
	engine = protect_new(&options, hash_key, START);
	table = service_table_new(rows, 2);
	now = START;
	action_count = 0;
	services[0].integrity = NUMBER;
	services[0].reassemble = false;
	tuple = (struct tuple){make_endpoint("198.51.100.9", 40000), rows[0].endpoint};
}

static void tear_down(void)
{
	protect_free(engine);
	service_table_free(table);
}

static uint32_t isn_of(unsigned int which)
{
	return token_integrity(&key.secret, &tuple.destination, tsvals[which],
			       token_payload_hash(&key.secret, (const uint8_t *)payload, NUMBER));
}

static void expect(enum verdict verdict, enum reason reason)
{
	ck_assert_str_eq(reason_word(decision.reason), reason_word(reason));
	ck_assert_int_eq(decision.verdict, verdict);
}

static void judge(const struct segment_plan *plan, bool tracked)
{
	make_segment(&segment, &packet, bytes, sizeof(bytes), plan);
	protect_judge(engine, table, &segment, tracked, (struct moment){.steady = now}, &decision);
}

static struct segment_plan plan_syn(unsigned int which)
{
	return (struct segment_plan){
		.tuple = tuple,
		.sequence = isn_of(which),
		.flags = TCP_SYN,
		.hop_limit = 64,
		.options = {.timestamp = true, .tsval = tsvals[which]},
	};
}

/* A SYN that conntrack takes for the first one of a connection. */
static void syn(unsigned int which, enum verdict verdict, enum reason reason)
{
	struct segment_plan plan = plan_syn(which);

	judge(&plan, false);
	expect(verdict, reason);
}

/* A SYN on the tuple of a connection that conntrack has in that state. */
static void syn_on(enum connection_state state, struct segment_plan plan, enum verdict verdict,
		   enum reason reason)
{
	judge(&plan, true);
	expect(VERDICT_LOOKUP, REASON_TOKEN_VALID);
	protect_resolve(engine, &segment, state, (struct moment){.steady = now}, &decision);
	expect(verdict, reason);
	ck_assert_ptr_eq(decision.key, &key);
}

static void busy_syn(enum connection_state state, unsigned int which)
{
	syn_on(state, plan_syn(which),
	       state == CONNECTION_VERIFIED ? VERDICT_PASS : VERDICT_PENDING, REASON_TUPLE_BUSY);
}

static void reply(uint8_t flags, uint32_t sequence, uint32_t acknowledgement, bool verified,
		  enum verdict verdict)
{
	const struct segment_plan plan = {
		.tuple = tuple_reverse(&tuple),
		.sequence = sequence,
		.acknowledgement = acknowledgement,
		.window = 60000,
		.flags = flags,
		.hop_limit = 64,
	};

	make_segment(&segment, &packet, bytes, sizeof(bytes), &plan);
	protect_reply(engine, table, &segment, verified, now, &decision);
	ck_assert_int_eq(decision.verdict, verdict);
}

static void syn_ack(unsigned int which, bool verified, enum verdict verdict)
{
	reply(TCP_SYN | TCP_ACK, SERVER_ISN, isn_of(which) + 1, verified, verdict);
}

/* What the client sends at ISN + 1. */
static void send_bytes(unsigned int which, const char *data, size_t length, enum verdict verdict,
		       enum reason reason)
{
	struct segment_plan plan = {
		.tuple = tuple,
		.sequence = isn_of(which) + 1,
		.acknowledgement = SERVER_ISN + 1,
		.flags = TCP_ACK,
		.hop_limit = 64,
		.payload = (const uint8_t *)data,
		.payload_length = length,
	};

	judge(&plan, true);
	if (decision.verdict == VERDICT_LOOKUP && verdict == VERDICT_PASS)
		protect_resolve(engine, &segment, CONNECTION_VERIFIED,
				(struct moment){.steady = now}, &decision);
	expect(verdict, reason);
}

static void acknowledge(unsigned int which)
{
	reply(TCP_ACK, SERVER_ISN + 1, isn_of(which) + 1 + NUMBER, false, VERDICT_PASS);
}

static void open_pending(unsigned int which)
{
	syn(which, VERDICT_PENDING, REASON_TOKEN_VALID);
	syn_ack(which, false, VERDICT_PASS);
	send_bytes(which, NULL, 0, VERDICT_PENDING, REASON_PENDING_EMPTY);
}

/* From the first bytes until the server has them. */
static void complete(unsigned int which)
{
	size_t before = action_count;

	send_bytes(which, payload, NUMBER, VERDICT_DELIVER, REASON_PAYLOAD_VALID);
	ck_assert_uint_eq(action_count, before);
	acknowledge(which);
	ck_assert_uint_eq(action_count, before + 1);
	ck_assert_int_eq(actions[before].action.kind, PROTECT_VERIFY);
	ck_assert_uint_eq(protect_pending(engine), 0);
}

static void open_verified(unsigned int which)
{
	open_pending(which);
	complete(which);
}

/* No connection any more: whichever ISN comes, it is a connection that has to be checked. */
START_TEST(another_begins)
{
	open_verified(A);
	syn(_i == 0 ? A : B, VERDICT_PENDING, REASON_TOKEN_VALID);
	ck_assert_uint_eq(protect_pending(engine), 1);
	/* Nothing of the one before is left, not even that the server had answered. */
	send_bytes(A, payload, NUMBER, VERDICT_DROP, REASON_ACKNOWLEDGEMENT_WRONG);
	syn_ack(_i == 0 ? A : B, false, VERDICT_PASS);
	send_bytes(_i == 0 ? A : B, other, NUMBER, VERDICT_RESET, REASON_PAYLOAD_WRONG);
	/* But the dead are. */
	syn(_i == 0 ? A : B, VERDICT_CLOSED, REASON_CONNECTION_DEAD);
}
END_TEST

/* A copy of the first SYN while that waited: its TSval is later, the token is that of the first. */
START_TEST(copy_begins_again)
{
	struct segment_plan copy = plan_syn(A);

	services[0].reassemble = true;
	open_pending(A);
	send_bytes(A, payload, 5, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	ck_assert_uint_eq(protect_held(engine), 1);
	copy.options.tsval += 1000;
	judge(&copy, false);
	expect(VERDICT_PENDING, REASON_SYN_REPEATED);
	ck_assert_uint_eq(protect_held(engine), 0);
	complete(A);
}
END_TEST

/* A SYN on the tuple of a living connection changes nothing, and its data stays behind. */
START_TEST(busy_tuple)
{
	bool verified = _i == 1;
	enum connection_state state = verified ? CONNECTION_VERIFIED : CONNECTION_PENDING;
	struct segment_plan plan = plan_syn(B);

	if (verified)
		open_verified(A);
	else
		open_pending(A);
	for (int copy = 0; copy < 3; copy++) {
		/* Copies have a later TSval. */
		plan.options.tsval = tsvals[B] + (uint32_t)copy * 1000;
		plan.payload = (const uint8_t *)payload;
		plan.payload_length = NUMBER;
		syn_on(state, plan, verified ? VERDICT_PASS : VERDICT_PENDING, REASON_TUPLE_BUSY);
		ck_assert(decision.modified);
		ck_assert_uint_eq(segment.payload_length, 0);
		ck_assert(segment_checksum_valid(&segment));
		ck_assert_uint_eq(protect_pending(engine), verified ? 0 : 1);
	}
	/* The server asks whether the client is still there. */
	reply(TCP_ACK, SERVER_ISN + 1, isn_of(A) + 1, false, VERDICT_PASS);
	if (verified)
		send_bytes(A, payload, NUMBER, VERDICT_PASS, REASON_CONNECTION_VERIFIED);
	else
		complete(A);
}
END_TEST

START_TEST(busy_tuple_while_bytes_are_held)
{
	services[0].reassemble = true;
	open_pending(A);
	send_bytes(A, payload, 5, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	busy_syn(CONNECTION_PENDING, B);
	ck_assert_uint_eq(protect_held(engine), 1);
	complete(A);
}
END_TEST

/* It does not put off the end of a connection that is never checked. */
START_TEST(busy_tuple_in_time)
{
	open_pending(A);
	for (int i = 0; i < PENDING_TIMEOUT; i++) {
		busy_syn(CONNECTION_PENDING, i % 2 == 0 ? B : C);
		now += 1000;
		protect_tick(engine, now);
	}
	now += 2000;
	protect_tick(engine, now);
	ck_assert_uint_eq(protect_pending(engine), 0);
	ck_assert_int_eq(actions[action_count - 1].action.kind, PROTECT_FORGET);
}
END_TEST

/* The server's SYN+ACK decides, and what it has agreed to is checked. The kernel must know before.
 */
START_TEST(server_decides)
{
	bool verified = _i > 0;
	enum verdict verdict = verified ? VERDICT_PENDING : VERDICT_PASS;
	bool right = _i == 2;

	services[0].reassemble = true;
	if (verified) {
		open_verified(A);
	} else {
		open_pending(A);
		send_bytes(A, payload, 5, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	}
	busy_syn(verified ? CONNECTION_VERIFIED : CONNECTION_PENDING, C);
	busy_syn(verified ? CONNECTION_VERIFIED : CONNECTION_PENDING, B);
	/* Only the latest is remembered. */
	syn_ack(C, verified, VERDICT_DROP);
	now += 50000;
	syn_ack(B, verified, verdict);
	/* It may have failed to get through: so again. */
	syn_ack(B, verified, verdict);
	ck_assert_uint_eq(protect_pending(engine), 1);
	ck_assert_uint_eq(protect_held(engine), 0);
	/* It has all the time that a connection has. */
	now += 50000;
	protect_tick(engine, now);
	send_bytes(A, payload, NUMBER, VERDICT_DROP, REASON_PAYLOAD_OUT_OF_ORDER);
	if (right)
		complete(B);
	else
		send_bytes(B, other, NUMBER, VERDICT_RESET, REASON_PAYLOAD_WRONG);
}
END_TEST

/* A daemon that has forgotten the connection, or never knew it. */
START_TEST(unknown_connection)
{
	busy_syn(CONNECTION_VERIFIED, B);
	ck_assert_uint_eq(protect_pending(engine), 0);
	send_bytes(A, payload, NUMBER, VERDICT_LOOKUP, REASON_NO_CONNECTION);
	syn_ack(A, true, VERDICT_DROP);
	syn_ack(B, true, VERDICT_PENDING);
	complete(B);
	/* Pending, and nobody will ever check it: the SYN begins another. */
	tuple.source.port++;
	syn_on(CONNECTION_PENDING, plan_syn(A), VERDICT_PENDING, REASON_TOKEN_VALID);
	ck_assert_uint_eq(protect_pending(engine), 1);
	/* Neither: it leads elsewhere. */
	tuple.source.port++;
	syn_on(CONNECTION_UNKNOWN, plan_syn(A), VERDICT_DROP, REASON_TUPLE_BUSY);
	ck_assert_uint_eq(protect_pending(engine), 1);
}
END_TEST

START_TEST(no_room_for_unknown_connections)
{
	for (int i = 0; i < CAPACITY; i++) {
		busy_syn(CONNECTION_VERIFIED, A);
		tuple.source.port++;
	}
	syn_on(CONNECTION_VERIFIED, plan_syn(A), VERDICT_CLOSED, REASON_TABLE_FULL);
	now += 132000;
	for (int i = 0; i < 3; i++)
		protect_tick(engine, now);
	busy_syn(CONNECTION_VERIFIED, A);
}
END_TEST

/* A copy of the SYN that a living connection began with. */
START_TEST(repeated_syn)
{
	services[0].reassemble = true;
	open_pending(A);
	send_bytes(A, payload, 5, VERDICT_PENDING, REASON_PAYLOAD_HELD);
	syn_on(CONNECTION_PENDING, plan_syn(A), VERDICT_PENDING, REASON_SYN_REPEATED);
	ck_assert_uint_eq(protect_held(engine), 1);
	complete(A);
	syn_on(CONNECTION_VERIFIED, plan_syn(A), VERDICT_DROP, REASON_SYN_REPEATED);
	send_bytes(A, payload, NUMBER, VERDICT_PASS, REASON_CONNECTION_VERIFIED);
}
END_TEST

/* SYN+ACKs on the tuple of a verified connection. */
START_TEST(answers_to_nobody)
{
	syn_ack(A, true, VERDICT_DROP);
	open_verified(A);
	syn_ack(B, true, VERDICT_DROP);
	/* One that was late. */
	syn_ack(A, true, VERDICT_PASS);
	send_bytes(A, payload, NUMBER, VERDICT_PASS, REASON_CONNECTION_VERIFIED);
	/* A server that has begun anew. */
	reply(TCP_SYN | TCP_ACK, SERVER_ISN + 5, isn_of(A) + 1, true, VERDICT_PENDING);
	ck_assert_uint_eq(protect_pending(engine), 1);
	/* In authentication mode it is the client's business. */
	services[0].integrity = 0;
	syn_ack(C, true, VERDICT_PASS);
	tuple.destination.port = 23;
	syn_ack(A, true, VERDICT_PASS);
}
END_TEST

/* Nothing that a client says counts before the server has answered this very SYN, nor what is not
 * about that answer: the server may be in a connection that began with another SYN. */
START_TEST(out_of_step)
{
	struct segment_plan plan = {
		.tuple = tuple, .sequence = isn_of(A) + 1, .flags = TCP_ACK, .hop_limit = 64};

	open_pending(A);
	syn(B, VERDICT_PENDING, REASON_TOKEN_VALID);
	/* The server is still in the other one, and has more of that than it needs of this. */
	reply(TCP_ACK, SERVER_ISN + 1, isn_of(B) + 1000, false, VERDICT_PASS);
	send_bytes(B, payload, NUMBER, VERDICT_DROP, REASON_ACKNOWLEDGEMENT_WRONG);
	reply(TCP_ACK, SERVER_ISN + 1, isn_of(B) + 1000, false, VERDICT_PASS);
	ck_assert_uint_eq(action_count, 0);
	/* The handshake of the other one, with a server that knows it by a cookie. */
	reply(TCP_SYN | TCP_ACK, SERVER_ISN + 100, isn_of(B) + 1, false, VERDICT_PASS);
	plan.acknowledgement = SERVER_ISN + 1;
	judge(&plan, true);
	expect(VERDICT_DROP, REASON_ACKNOWLEDGEMENT_WRONG);
	/* What the server says later may be acknowledged. */
	plan.sequence = isn_of(B) + 1;
	for (uint32_t i = 0; i < 7; i++) {
		plan.acknowledgement = SERVER_ISN + 100 + i;
		judge(&plan, true);
		expect(i == 1 ? VERDICT_PENDING : VERDICT_DROP,
		       i == 1 ? REASON_PENDING_EMPTY : REASON_ACKNOWLEDGEMENT_WRONG);
	}
	reply(TCP_ACK | TCP_FIN, SERVER_ISN + 101, isn_of(B) + 1, false, VERDICT_PASS);
	plan.acknowledgement = SERVER_ISN + 102;
	judge(&plan, true);
	expect(VERDICT_PENDING, REASON_PENDING_EMPTY);
	/* A client that was asked says that the other one is gone. */
	plan.flags = TCP_RST;
	plan.sequence = isn_of(A) + 1;
	judge(&plan, true);
	expect(VERDICT_PENDING, REASON_PENDING_EMPTY);
}
END_TEST

START_TEST(dead_on_a_busy_tuple)
{
	struct segment_plan plan = plan_syn(A);

	open_pending(A);
	send_bytes(A, other, NUMBER, VERDICT_RESET, REASON_PAYLOAD_WRONG);
	judge(&plan, true);
	expect(VERDICT_CLOSED, REASON_CONNECTION_DEAD);
	syn_on(CONNECTION_PENDING, plan_syn(B), VERDICT_PENDING, REASON_TOKEN_VALID);
	syn_ack(A, false, VERDICT_DROP);
	syn_ack(B, false, VERDICT_PASS);
	complete(B);
	judge(&plan, true);
	expect(VERDICT_CLOSED, REASON_CONNECTION_DEAD);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("protect-syn");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, another_begins, 0, 2);
	tcase_add_test(tcase, copy_begins_again);
	tcase_add_loop_test(tcase, busy_tuple, 0, 2);
	tcase_add_test(tcase, busy_tuple_while_bytes_are_held);
	tcase_add_test(tcase, busy_tuple_in_time);
	tcase_add_loop_test(tcase, server_decides, 0, 3);
	tcase_add_test(tcase, unknown_connection);
	tcase_add_test(tcase, no_room_for_unknown_connections);
	tcase_add_test(tcase, repeated_syn);
	tcase_add_test(tcase, answers_to_nobody);
	tcase_add_test(tcase, out_of_step);
	tcase_add_test(tcase, dead_on_a_busy_tuple);
	return run_tcase("protect-syn", tcase);
}
