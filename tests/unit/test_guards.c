/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits and replay protection as the protect engine applies them: two engines with shared guards,
 * as two workers have. */
#include "core/guards.h"

#include "core/protect.h"
#include "core/token.h"
#include "support.h"

enum { SECOND = 1000, START = 1000000, MOST = 5, BACK_OFF = 30, NUMBER = 28 };

static const uint8_t hash_key[16] = {3};
static const char payload[] = "Protected payload goes here.";
static struct failure_rules rules;
static struct key key = {.name = "alice"};
static struct service services[2];

static struct {
	struct guards *guards;
	struct protect *engines[2];
	struct service_table *table;
	struct moment now;
	uint8_t bytes[512];
	struct packet packet;
	struct segment segment;
	struct decision decision;
} world;

static void set_up(void)
{
	bool truncated;

	rules = (struct failure_rules){.max_failures = MOST,
				       .back_off = BACK_OFF,
				       .max_service_failures = 3 * MOST,
				       .ipv4_prefix = 24,
				       .ipv6_prefix = 56};
	secret_from_bytes(&key.secret, (const uint8_t *)"secret", 6, &truncated);
	services[0] = (struct service){.name = "auth",
				       .keys = &key,
				       .key_count = 1,
				       .replay_window = 3600,
				       .failures = &rules};
	services[1] = services[0];
	services[1].integrity = NUMBER;
	services[1].replay_window = 0;
	const struct service_row rows[] = {
		{make_endpoint("192.0.2.1", 22), &services[0]},
		{make_endpoint("2001:db8::1", 22), &services[0]},
		{make_endpoint("192.0.2.1", 23), &services[1]},
	};
	world.table = service_table_new(rows, 3);
	world.guards = guards_new(1024, hash_key);
	world.now = (struct moment){.steady = START, .wall = 1700000000};
	const struct protect_options options = {.capacity = 1024, .client_only = true};

	for (size_t i = 0; i < 2; i++) {
		world.engines[i] = protect_new(&options, hash_key, START);
		protect_use_guards(world.engines[i], world.guards);
	}
}

static void tear_down(void)
{
	for (size_t i = 0; i < 2; i++)
		protect_free(world.engines[i]);
	guards_free(world.guards);
	service_table_free(world.table);
}

/* A SYN to a port of the service's address in the family of source. tsval 0: without timestamps.
 * wrong: what the token is off by. */
static void send_syn(size_t worker, const char *source, uint16_t source_port, uint16_t port,
		     uint32_t tsval, uint32_t wrong)
{
	bool ipv6 = strchr(source, ':') != NULL;
	struct endpoint destination = make_endpoint(ipv6 ? "2001:db8::1" : "192.0.2.1", port);
	uint16_t hash = token_payload_hash(&key.secret, (const uint8_t *)payload, NUMBER);
	struct segment_plan plan = {
		.tuple = {make_endpoint(source, source_port), destination},
		.sequence = wrong ^
			    (port == 23 ? token_integrity(&key.secret, &destination, tsval, hash)
					: token_auth(&key.secret, &destination, tsval)),
		.flags = TCP_SYN,
		.hop_limit = 64,
		.options = {.timestamp = tsval != 0, .tsval = tsval},
	};

	make_segment(&world.segment, &world.packet, world.bytes, sizeof(world.bytes), &plan);
	protect_judge(world.engines[worker], world.table, &world.segment, false, world.now,
		      &world.decision);
}

static void expect(enum verdict verdict, enum reason reason)
{
	ck_assert_str_eq(reason_word(world.decision.reason), reason_word(reason));
	ck_assert_int_eq(world.decision.verdict, verdict);
}

/* Fails until the limit is exceeded; the failures come to both workers. */
static void fail_too_often(const char *prefix)
{
	char source[64];

	for (unsigned int i = 0; i <= MOST; i++) {
		snprintf(source, sizeof(source), "%s%u", prefix, i + 1);
		send_syn(i % 2, source, 1000, 22, 5, 1);
		expect(VERDICT_CLOSED, REASON_TOKEN_WRONG);
		ck_assert_uint_eq(world.decision.alarms & ALARM_SOURCE,
				  i == MOST ? ALARM_SOURCE : 0U);
	}
}

START_TEST(a_prefix_is_held_and_others_are_not)
{
	const char *prefix = _i == 0 ? "198.51.100." : "2001:db8:9:aa";
	const char *inside = _i == 0 ? "198.51.100.99" : "2001:db8:9:a0::99";
	const char *outside = _i == 0 ? "198.51.101.99" : "2001:db8:9:100::99";
	char sources[64];

	snprintf(sources, sizeof(sources), "%s%s", prefix, _i == 0 ? "" : "::");
	send_syn(0, inside, 1, 22, 6, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	fail_too_often(sources);
	for (size_t worker = 0; worker < 2; worker++) {
		/* The right token, even one that was accepted before. */
		send_syn(worker, inside, 2, 22, 7, 0);
		expect(VERDICT_CLOSED, REASON_SOURCE_HELD);
		send_syn(worker, inside, 1, 22, 6, 0);
		expect(VERDICT_CLOSED, REASON_SOURCE_HELD);
		ck_assert_ptr_null(world.decision.key);
		send_syn(worker, outside, 2, 22, 100 + (uint32_t)worker, 0);
		expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	}
	world.now.steady += BACK_OFF * SECOND;
	send_syn(0, inside, 2, 22, 7, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
}
END_TEST

/* A hold is of a prefix with its length. */
START_TEST(other_prefix_lengths_are_other_prefixes)
{
	fail_too_often("198.51.0.");
	send_syn(0, "198.51.0.99", 2, 22, 7, 0);
	expect(VERDICT_CLOSED, REASON_SOURCE_HELD);
	rules.ipv4_prefix = 16;
	send_syn(0, "198.51.1.99", 2, 22, 8, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	rules.ipv4_prefix = 24;
	send_syn(0, "198.51.0.99", 2, 22, 9, 0);
	expect(VERDICT_CLOSED, REASON_SOURCE_HELD);
	fail_too_often("2001:db8::");
	rules.ipv6_prefix = 40;
	send_syn(0, "2001:db8:9::1", 2, 22, 10, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
}
END_TEST

/* The default: it is told, once, and nobody is refused. */
START_TEST(without_back_off_nobody_is_held)
{
	rules.back_off = 0;
	fail_too_often("198.51.100.");
	send_syn(0, "198.51.100.1", 1000, 22, 5, 1);
	expect(VERDICT_CLOSED, REASON_TOKEN_WRONG);
	ck_assert_uint_eq(world.decision.alarms & ALARM_SOURCE, 0);
	send_syn(0, "198.51.100.1", 1, 22, 7, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	/* Switched on by a reload, it counts from there. */
	rules.back_off = BACK_OFF;
	world.now.steady += 61 * SECOND;
	fail_too_often("198.51.100.");
	send_syn(0, "198.51.100.1", 2, 22, 8, 0);
	expect(VERDICT_CLOSED, REASON_SOURCE_HELD);
}
END_TEST

START_TEST(a_service_is_told_of_only)
{
	char source[64];
	unsigned int alarms = 0;

	/* Every failure from a prefix of its own. */
	for (unsigned int i = 0; i < 10 * MOST; i++) {
		snprintf(source, sizeof(source), "10.0.%u.1", i);
		send_syn(i % 2, source, 1000, 22, 5, 1);
		expect(VERDICT_CLOSED, REASON_TOKEN_WRONG);
		alarms += (world.decision.alarms & ALARM_SERVICE) != 0;
		ck_assert_uint_eq(alarms, i >= 3 * MOST ? 1 : 0);
	}
	send_syn(0, "10.0.1.1", 1, 22, 7, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
}
END_TEST

/* What is no guess does not count: scans, expired keys, replays, and the right token. */
START_TEST(what_is_not_counted)
{
	send_syn(0, "198.51.100.1", 1, 22, 9, 0);
	for (uint16_t i = 0; i < 10 * MOST; i++) {
		send_syn(1, "198.51.100.7", (uint16_t)(2000 + i), 22, 9, 0);
		expect(VERDICT_CLOSED, REASON_TOKEN_REPLAYED);
		key.not_after = 1;
		send_syn(0, "198.51.100.7", (uint16_t)(2000 + i), 22, 10, 0);
		expect(VERDICT_CLOSED, REASON_KEY_EXPIRED);
		key.not_after = 0;
		send_syn(0, "198.51.100.7", (uint16_t)(2000 + i), 24, 10, 0);
		expect(VERDICT_CLOSED, REASON_NO_SERVICE);
		ck_assert_uint_eq(world.decision.alarms, 0);
	}
	send_syn(0, "198.51.100.7", 5, 22, 11, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
}
END_TEST

START_TEST(replays)
{
	const char *own = _i == 0 ? "198.51.100.1" : "2001:db8:9::1";
	const char *other = _i == 0 ? "203.0.113.1" : "2001:db8:a::1";

	send_syn(0, own, 40000, 22, 5, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	world.now.steady += SECOND;
	/* The kernel gives another address to another worker. */
	send_syn(1, other, 40000, 22, 5, 0);
	expect(VERDICT_CLOSED, REASON_TOKEN_REPLAYED);
	ck_assert_str_eq(world.decision.key->name, "alice");
	send_syn(0, own, 40001, 22, 5, 0);
	expect(VERDICT_CLOSED, REASON_TOKEN_REPLAYED);
	/* Retransmission, and the next connections of both. */
	send_syn(0, own, 40000, 22, 5, 0);
	expect(VERDICT_VERIFIED, REASON_SYN_REPEATED);
	send_syn(0, own, 40000, 22, 6, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	send_syn(1, other, 40000, 22, 7, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	/* A worker that never saw the first SYN knows the tuple all the same. */
	send_syn(1, own, 40000, 22, 5, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	world.now.steady += 3601ULL * SECOND;
	send_syn(1, other, 40000, 22, 5, 0);
	expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
}
END_TEST

/* One token for all connections: it cannot belong to one of them. */
START_TEST(without_timestamps_nothing_is_bound)
{
	for (uint16_t port = 1; port < 100; port++) {
		send_syn(port % 2, "198.51.100.1", port, 22, 0, 0);
		expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	}
}
END_TEST

START_TEST(switched_off)
{
	services[0].replay_window = 0;
	services[0].failures = NULL;
	for (uint16_t port = 1; port < 100; port++) {
		world.now.steady += SECOND;
		send_syn(port % 2, "198.51.100.1", port, 22, 5, 0);
		expect(VERDICT_VERIFIED, REASON_TOKEN_VALID);
	}
	for (uint16_t port = 1; port < 100; port++) {
		send_syn(port % 2, "198.51.100.1", port, 22, 6, 1);
		expect(VERDICT_CLOSED, REASON_TOKEN_WRONG);
		ck_assert_uint_eq(world.decision.alarms, 0);
	}
}
END_TEST

/* Wrong payload under a right SYN is a guess as well. */
START_TEST(wrong_payload_counts)
{
	for (uint16_t port = 1; port <= MOST + 1; port++) {
		send_syn(0, "198.51.100.1", port, 23, 5, 0);
		expect(VERDICT_PENDING, REASON_TOKEN_VALID);
		struct segment_plan plan = {
			.tuple = world.segment.tuple,
			.sequence = world.segment.sequence + 1,
			.flags = TCP_ACK,
			.hop_limit = 64,
			.payload = (const uint8_t *)"Other bytes than were promised..",
			.payload_length = NUMBER,
		};
		make_segment(&world.segment, &world.packet, world.bytes, sizeof(world.bytes),
			     &plan);
		protect_judge(world.engines[0], world.table, &world.segment, false, world.now,
			      &world.decision);
		expect(VERDICT_RESET, REASON_PAYLOAD_WRONG);
	}
	ck_assert_uint_eq(world.decision.alarms & ALARM_SOURCE, ALARM_SOURCE);
	send_syn(0, "198.51.100.2", 1, 23, 5, 0);
	expect(VERDICT_CLOSED, REASON_SOURCE_HELD);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("guards");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_set_timeout(tcase, 120);
	tcase_add_loop_test(tcase, a_prefix_is_held_and_others_are_not, 0, 2);
	tcase_add_test(tcase, other_prefix_lengths_are_other_prefixes);
	tcase_add_test(tcase, without_back_off_nobody_is_held);
	tcase_add_test(tcase, a_service_is_told_of_only);
	tcase_add_test(tcase, what_is_not_counted);
	tcase_add_loop_test(tcase, replays, 0, 2);
	tcase_add_test(tcase, without_timestamps_nothing_is_bound);
	tcase_add_test(tcase, switched_off);
	tcase_add_test(tcase, wrong_payload_counts);
	return run_tcase("guards", tcase);
}
