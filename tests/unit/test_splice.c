/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The splice engine between a model of a client and a model of a server that judges as Knock does,
 * over a network that loses packets:
 *
 *     client ---- 3 ms ---- engine ---- 10 ms ---- server
 */
#include "core/splice.h"

#include "core/token.h"
#include "splice_peer.h"
#include "support.h"

enum {
	CAPACITY = 64,
	START = 5000000,
	TO_ENGINE = 3,
	TO_SERVER = 10,
	FLYING_MAX = 96,
	INTEGRITY = 100,
	MINUTE = 60000,
};

enum leg { CLIENT_TO_ENGINE, ENGINE_TO_CLIENT, ENGINE_TO_SERVER, SERVER_TO_ENGINE };

struct flying {
	bool used;
	enum leg leg;
	uint64_t arrives;
	uint64_t order;
	size_t length;
	uint8_t bytes[PEER_PACKET_MAX];
};

static struct key key = {.name = "1"};
static struct destination destination = {
	.name = "branch", .index = 2, .integrity = INTEGRITY, .key = &key};

static struct world {
	uint64_t now;
	uint64_t random;
	unsigned int loss;                    /* of 1000 */
	const struct destination *configured; /* what a look-up finds now */
	bool deaf;                            /* the server hears nothing */
	bool refuses;
	void *memory;
	struct table *flows;
	struct promise_cache *promises;
	struct splice_limits limits;
	struct splice *engine;
	struct splice_output output;
	struct peer client, server;
	struct flying flying[FLYING_MAX];
	uint64_t order;
	bool holding;
	uint32_t packet_id, held_id;
	unsigned int emissions[4];
	unsigned int reasons[REASON_COUNT];
} world;

void peer_fail(const struct peer *peer, const char *what)
{
	ck_abort_msg("%s: %s (at %llu ms)", peer->name, what,
		     (unsigned long long)(world.now - START));
}

static void launch(enum leg leg, const uint8_t *bytes, size_t length)
{
	bool near = leg == CLIENT_TO_ENGINE || leg == ENGINE_TO_CLIENT;

	ck_assert_uint_le(length, PEER_PACKET_MAX);
	if (random32(&world.random) % 1000 < world.loss)
		return;
	for (unsigned int i = 0; i < FLYING_MAX; i++) {
		struct flying *flying = &world.flying[i];

		if (flying->used)
			continue;
		*flying = (struct flying){.used = true,
					  .leg = leg,
					  .arrives = world.now + (near ? TO_ENGINE : TO_SERVER),
					  .order = world.order++,
					  .length = length};
		memcpy(flying->bytes, bytes, length);
		return;
	}
	ck_abort_msg("too many packets under way");
}

static void client_sends(void *context, struct peer *peer, const uint8_t *bytes, size_t length)
{
	(void)context;
	(void)peer;
	launch(CLIENT_TO_ENGINE, bytes, length);
}

static void server_sends(void *context, struct peer *peer, const uint8_t *bytes, size_t length)
{
	(void)context;
	(void)peer;
	launch(SERVER_TO_ENGINE, bytes, length);
}

static void emit(void *context, const struct emission *emission)
{
	(void)context;
	world.emissions[emission->kind]++;
	world.reasons[emission->reason]++;
	ck_assert(tuple_equal(&emission->tuple, &world.client.tuple) || world.client.iss == 0);
	if (emission->kind == EMIT_RELEASE_HELD || emission->kind == EMIT_DROP_HELD) {
		ck_assert(world.holding);
		ck_assert_uint_eq(emission->packet_id, world.held_id);
		world.holding = false;
	}
	if (emission->kind == EMIT_TO_CLIENT)
		launch(ENGINE_TO_CLIENT, emission->bytes, emission->length);
	else if (emission->kind != EMIT_DROP_HELD)
		launch(ENGINE_TO_SERVER, emission->bytes, emission->length);
}

static void parse(struct packet *packet, struct segment *segment, uint8_t *bytes, size_t length)
{
	ck_assert_int_eq(packet_parse(packet, bytes, length), REASON_NONE);
	ck_assert_int_eq(segment_parse(segment, packet), REASON_NONE);
}

static void give_to_engine(struct segment *segment, bool from_client)
{
	struct splice_result result;

	if (from_client)
		splice_from_client(world.engine, world.configured, segment, ++world.packet_id,
				   world.now, &world.output, &result);
	else
		splice_from_server(world.engine, segment, world.now, &world.output, &result);
	world.reasons[result.decision.reason]++;
	if (result.hold) {
		ck_assert(!world.holding);
		world.holding = true;
		world.held_id = world.packet_id;
	}
	if (result.hold || result.decision.verdict == VERDICT_DROP)
		return;
	ck_assert_int_eq(result.decision.verdict, VERDICT_PASS);
	launch(from_client ? ENGINE_TO_SERVER : ENGINE_TO_CLIENT, segment->packet->bytes,
	       segment->packet->length);
}

static void refuse(const struct segment *segment)
{
	uint8_t bytes[SEGMENT_HEADERS_MAX];
	const struct segment_plan plan = {.tuple = tuple_reverse(&segment->tuple),
					  .acknowledgement = segment->sequence + 1,
					  .flags = TCP_RST | TCP_ACK,
					  .hop_limit = 64};

	launch(SERVER_TO_ENGINE, bytes, segment_build(&plan, bytes, sizeof(bytes)));
}

static void land(struct flying *flying)
{
	struct packet packet;
	struct segment segment;

	parse(&packet, &segment, flying->bytes, flying->length);
	if (flying->leg == CLIENT_TO_ENGINE || flying->leg == SERVER_TO_ENGINE)
		give_to_engine(&segment, flying->leg == CLIENT_TO_ENGINE);
	else if (flying->leg == ENGINE_TO_CLIENT)
		peer_receive(&world.client, &segment, world.now);
	else if (world.refuses)
		refuse(&segment);
	else if (!world.deaf)
		peer_receive(&world.server, &segment, world.now);
	flying->used = false;
}

static struct flying *next_arrival(void)
{
	struct flying *first = NULL;

	for (unsigned int i = 0; i < FLYING_MAX; i++) {
		struct flying *flying = &world.flying[i];

		if (flying->used && flying->arrives <= world.now &&
		    (first == NULL || flying->order < first->order))
			first = flying;
	}
	return first;
}

static void step(void)
{
	struct flying *flying;

	world.now++;
	while ((flying = next_arrival()) != NULL) {
		struct flying copy = *flying;

		flying->used = false;
		land(&copy);
	}
	peer_timer(&world.client, world.now);
	peer_timer(&world.server, world.now);
	if (world.now % 100 == 0)
		splice_tick(world.engine, world.now, &world.output);
}

static void run(uint64_t milliseconds)
{
	for (uint64_t end = world.now + milliseconds; world.now < end;)
		step();
}

static bool both_done(void)
{
	return peer_done(&world.client) && peer_done(&world.server);
}

static bool client_was_reset(void)
{
	return world.client.state == PEER_RESET;
}

static bool server_established(void)
{
	return world.server.state == PEER_ESTABLISHED;
}

static struct splice_flow *the_flow(void)
{
	return table_find(world.flows, &world.client.tuple);
}

static bool stage_reached(int stage)
{
	return the_flow() != NULL && the_flow()->stage == stage;
}

static bool collecting(void)
{
	return stage_reached(SPLICE_COLLECTING) && world.client.state == PEER_ESTABLISHED;
}

static bool connecting(void)
{
	return stage_reached(SPLICE_CONNECTING);
}

static bool delivering(void)
{
	return stage_reached(SPLICE_DELIVERING);
}

static bool draining(void)
{
	return stage_reached(SPLICE_DRAINING);
}

static bool joined(void)
{
	return stage_reached(SPLICE_JOINED);
}

/* Returns the time that it took. */
static uint64_t run_until(bool (*condition)(void), uint64_t limit)
{
	uint64_t start = world.now;

	while (!condition()) {
		ck_assert_msg(world.now < start + limit, "waited too long");
		step();
	}
	return world.now - start;
}

static const struct peer_settings usual = {
	.window_scale = true,
	.sack = true,
	.timestamps = true,
	.shift = 7,
	.mss = 1460,
	.window = 60000,
	.write_size = 5000,
	.stream_length = 9000,
};

static void make_peer(struct peer *peer, const char *name, const struct peer_settings *settings)
{
	memset(peer, 0, sizeof(*peer));
	peer->name = name;
	peer->settings = *settings;
	peer->iss = random32(&world.random);
	peer->clock_base = random32(&world.random);
	peer->retransmit_at = UINT64_MAX;
	for (uint32_t i = 0; i < PEER_STREAM_MAX; i++)
		peer->out[i] = (uint8_t)random32(&world.random);
}

static void make_peers(const struct peer_settings *client, const struct peer_settings *server,
		       bool ipv6)
{
	make_peer(&world.client, "client", client);
	make_peer(&world.server, "server", server);
	world.client.tuple.source = make_endpoint(ipv6 ? "fd00::9" : "192.0.2.9", 40001);
	world.client.tuple.destination = make_endpoint(ipv6 ? "fd03::7" : "10.3.0.7", 443);
	world.client.send = client_sends;
	world.server.send = server_sends;
	world.server.state = PEER_LISTEN;
	world.server.key = &key;
	world.server.integrity = destination.integrity;
}

/* As of another worker: nothing is known but what servers negotiated last time. */
static void next_engine(void)
{
	const uint8_t random_key[16] = {7, 8, 9};

	splice_free(world.engine);
	world.holding = false;
	world.engine =
		splice_new(world.flows, world.promises, &world.limits, random_key, world.now);
	ck_assert_ptr_nonnull(world.engine);
}

static void new_engine(void)
{
	const uint8_t hash_key[16] = {6};

	promise_cache_free(world.promises);
	world.promises = promise_cache_new(16, hash_key);
	next_engine();
}

static void set_up(void)
{
	const uint8_t hash_key[16] = {5};
	const struct table_layout layout = splice_table_layout(CAPACITY);
	bool truncated;

	memset(&world, 0, sizeof(world));
	world.now = START;
	world.random = 4711;
	world.output = (struct splice_output){.emit = emit};
	world.limits = splice_limits_default(INTEGRITY);
	world.limits.half_made = 16;
	world.limits.half_made_per_client = 8;
	destination.integrity = INTEGRITY;
	world.configured = &destination;
	secret_from_bytes(&key.secret, (const uint8_t *)"splice", 6, &truncated);
	world.memory = aligned_alloc(64, (table_size(&layout) + 63) / 64 * 64);
	world.flows = table_init(world.memory, &layout, hash_key, START);
	make_peers(&usual, &usual, false);
	new_engine();
}

static void tear_down(void)
{
	splice_free(world.engine);
	promise_cache_free(world.promises);
	free(world.memory);
}

static const char *state(void)
{
	return the_flow() != NULL ? splice_state_word(the_flow()) : "none";
}

static void check_streams(void)
{
	const struct peer *client = &world.client, *server = &world.server;

	ck_assert_uint_eq(server->received, client->settings.stream_length);
	ck_assert_uint_eq(client->received, server->settings.stream_length);
	ck_assert_mem_eq(server->in, client->out, server->received);
	ck_assert_mem_eq(client->in, server->out, client->received);
}

/* A whole connection, from the SYN until both sides have closed. */
static void exchange(void)
{
	peer_connect(&world.client, world.now);
	run_until(both_done, 20 * MINUTE);
	check_streams();
	ck_assert(world.server.judged || world.server.plain);
	ck_assert(world.server.plain || world.server.first_payload >= destination.integrity);
	ck_assert_uint_eq(splice_half_made(world.engine), 0);
	ck_assert(!world.holding);
	ck_assert_str_eq(state(), "time-wait");
}

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

static bool (*const stages[])(void) = {collecting, connecting, delivering, draining, joined};

static void reach(int stage)
{
	struct peer_settings client = usual;

	/* More than the first segment takes, so that there is something to drain. */
	client.write_size = 3000;
	make_peers(&client, &usual, false);
	world.limits.buffer_size = 4000;
	new_engine();
	peer_connect(&world.client, world.now);
	run_until(stages[stage], MINUTE);
}

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

/* As the next process finds the table in its file. */
static void attach_again(void)
{
	const struct table_layout layout = splice_table_layout(CAPACITY);
	const char *why = NULL;

	world.flows = table_attach(world.memory, table_size(&layout), &layout, 0, world.now, &why);
	ck_assert_msg(world.flows != NULL, "%s", why);
}

START_TEST(restart)
{
	reach(_i);
	attach_again();
	new_engine();
	if (_i == 4) {
		run_until(both_done, MINUTE);
		check_streams();
		return;
	}
	ck_assert_str_eq(state(), "broken");
	run(2000);
	ck_assert_int_eq(world.client.state, PEER_RESET);
	ck_assert(world.server.state == PEER_RESET || world.server.state == PEER_LISTEN);
	/* The same tuple can be used again at once. */
	make_peers(&usual, &usual, false);
	exchange();
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
	if (_i == 4) {
		run_until(both_done, MINUTE);
		check_streams();
		return;
	}
	ck_assert_str_eq(state(), "none");
	ck_assert_uint_gt(world.reasons[REASON_STOPPED], 0);
	run(2000);
	ck_assert_int_eq(world.client.state, PEER_RESET);
	ck_assert(world.server.state == PEER_RESET || world.server.state == PEER_LISTEN);
	make_peers(&usual, &usual, false);
	exchange();
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

/* Gives the engine one segment of our own making and returns what it decides. */
static struct splice_result give(const struct segment_plan *plan, const struct destination *to)
{
	struct packet packet;
	struct segment segment;
	struct splice_result result;
	uint8_t bytes[2048];

	make_segment(&segment, &packet, bytes, sizeof(bytes), plan);
	splice_from_client(world.engine, to, &segment, ++world.packet_id, world.now, &world.output,
			   &result);
	return result;
}

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
	world.output.emit = emit;
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

static TCase *make_case(void)
{
	TCase *tcase = tcase_create("splice");

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
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
	return tcase;
}

static void add_endings(TCase *tcase)
{
	tcase_add_loop_test(tcase, client_aborts, 0, 5);
	tcase_add_loop_test(tcase, server_aborts, 0, 3);
	tcase_add_loop_test(tcase, restart, 0, 5);
	tcase_add_loop_test(tcase, stop, 0, 5);
	tcase_add_test(tcase, broken_flow_answers_everybody);
	tcase_add_loop_test(tcase, syn_on_a_living_connection, 0, 2);
	tcase_add_loop_test(tcase, wild_resets_change_nothing, 0, 5);
	tcase_add_test(tcase, floods_are_bounded);
	tcase_add_test(tcase, what_is_left_alone);
	tcase_add_test(tcase, bytes_that_nobody_can_vouch_for);
	tcase_add_test(tcase, deltas_of_a_flow);
	tcase_add_loop_test(tcase, changed_while_collecting, 0, 4);
	tcase_add_loop_test(tcase, changed_after_the_token_was_made, 0, 4);
	tcase_add_test(tcase, syn_to_a_former_destination);
	tcase_add_test(tcase, other_limits);
	tcase_add_test(tcase, impossible_limits);
}

int main(void)
{
	TCase *tcase = make_case();

	add_endings(tcase);
	return run_tcase("splice", tcase);
}
