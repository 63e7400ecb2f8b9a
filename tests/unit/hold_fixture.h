/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A protect engine with reassemble = true, and a client and a server that speak through it. */
#ifndef KNOCKGW_TESTS_HOLD_FIXTURE_H
#define KNOCKGW_TESTS_HOLD_FIXTURE_H

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

static inline void judge(const struct segment_plan *plan)
{
	make_segment(&segment, &packet, bytes, sizeof(bytes), plan);
	protect_judge(engine, table, &segment, false, (struct moment){.steady = now}, &decision);
}

/* A client's segment at an offset behind its ISN. */
static inline struct segment_plan client_plan(uint8_t flags, uint32_t offset, const void *data,
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

static inline void expect(enum verdict verdict, enum reason reason)
{
	ck_assert_str_eq(reason_word(decision.reason), reason_word(reason));
	ck_assert_int_eq(decision.verdict, verdict);
}

/* The bytes of the right payload from at on, where first is 1. */
static inline void send_bytes(uint32_t at, size_t length, enum verdict verdict, enum reason reason)
{
	struct segment_plan plan =
		client_plan(TCP_ACK | TCP_PSH, at, (const uint8_t *)payload + at - 1, length);

	judge(&plan);
	expect(verdict, reason);
}

static inline void reply_with(uint8_t flags, uint32_t sequence, uint32_t acknowledgement,
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

static inline void reply(uint8_t flags, uint32_t sequence, uint32_t acknowledgement)
{
	reply_with(flags, sequence, acknowledgement, NULL, 0);
}

static inline void set_up(void)
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

static inline void tear_down(void)
{
	protect_free(engine);
	service_table_free(table);
}

static inline void shake_hands(void)
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

static inline void expect_action(size_t number, enum protect_action_kind kind)
{
	ck_assert_uint_gt(action_count, number);
	ck_assert_int_eq(actions[number].action.kind, kind);
	ck_assert(tuple_equal(&actions[number].action.tuple, &tuple));
}

static inline int run_tcase_with_fixture(const char *name, TCase *tcase)
{
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	return run_tcase(name, tcase);
}

#endif
