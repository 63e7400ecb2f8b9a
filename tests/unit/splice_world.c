/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "splice_world.h"

struct key key = {.name = "1"};
struct destination destination = {
	.name = "branch", .index = 2, .integrity = INTEGRITY, .key = &key};

struct world world;

void peer_fail(const struct peer *peer, const char *what)
{
	ck_abort_msg("%s: %s (at %llu ms)", peer->name, what,
		     (unsigned long long)(world.now - START));
}

void launch(enum leg leg, const uint8_t *bytes, size_t length)
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

void note_emission(void *context, const struct emission *emission)
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

void run(uint64_t milliseconds)
{
	for (uint64_t end = world.now + milliseconds; world.now < end;)
		step();
}

bool both_done(void)
{
	return peer_done(&world.client) && peer_done(&world.server);
}

bool client_was_reset(void)
{
	return world.client.state == PEER_RESET;
}

bool server_established(void)
{
	return world.server.state == PEER_ESTABLISHED;
}

struct splice_flow *the_flow(void)
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

bool connecting(void)
{
	return stage_reached(SPLICE_CONNECTING);
}

bool delivering(void)
{
	return stage_reached(SPLICE_DELIVERING);
}

static bool draining(void)
{
	return stage_reached(SPLICE_DRAINING);
}

bool joined(void)
{
	return stage_reached(SPLICE_JOINED);
}

/* Returns the time that it took. */
uint64_t run_until(bool (*condition)(void), uint64_t limit)
{
	uint64_t start = world.now;

	while (!condition()) {
		ck_assert_msg(world.now < start + limit, "waited too long");
		step();
	}
	return world.now - start;
}

const struct peer_settings usual = {
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

void make_peers(const struct peer_settings *client, const struct peer_settings *server, bool ipv6)
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
void next_engine(void)
{
	const uint8_t random_key[16] = {7, 8, 9};

	splice_free(world.engine);
	world.holding = false;
	world.engine =
		splice_new(world.flows, world.promises, &world.limits, random_key, world.now);
	ck_assert_ptr_nonnull(world.engine);
}

void new_engine(void)
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
	world.output = (struct splice_output){.emit = note_emission};
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

const char *state(void)
{
	return the_flow() != NULL ? splice_state_word(the_flow()) : "none";
}

void check_streams(void)
{
	const struct peer *client = &world.client, *server = &world.server;

	ck_assert_uint_eq(server->received, client->settings.stream_length);
	ck_assert_uint_eq(client->received, server->settings.stream_length);
	ck_assert_mem_eq(server->in, client->out, server->received);
	ck_assert_mem_eq(client->in, server->out, client->received);
}

void exchange(void)
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

static bool (*const stages[])(void) = {collecting, connecting, delivering, draining, joined};

void reach(int stage)
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

struct splice_result give(const struct segment_plan *plan, const struct destination *to)
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

void attach_again(void)
{
	const struct table_layout layout = splice_table_layout(CAPACITY);
	const char *why = NULL;

	world.flows = table_attach(world.memory, table_size(&layout), &layout, 0, world.now, &why);
	ck_assert_msg(world.flows != NULL, "%s", why);
}

TCase *make_case(const char *name)
{
	TCase *tcase = tcase_create(name);

	tcase_set_timeout(tcase, 120);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	return tcase;
}
