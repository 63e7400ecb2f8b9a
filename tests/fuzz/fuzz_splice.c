/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Segments of clients and servers, time, reloads and restarts before the splice engine. The input
 * is a program. Held against what the engine does: what leaves for a server is what a Knock server
 * opens for, and nothing before; packets of its own are whole; every SYN that waits gets one
 * answer; the numbers of both sides are inverses of each other; nothing grows. */
#include "core/splice.h"

#include "core/segment_build.h"
#include "core/token.h"
#include "fuzz.h"

enum {
	CAPACITY = 6,
	TUPLES = 5,
	HALF_MADE = 3,
	SERVERS = 4,
	BUFFER = 80,
	BUFFER_LONGER = 120,
	STEPS_MAX = 200,
	ROOM = 2048,
	HELD_MAX = 16,
	NUMBERS = 32,
};

/* What a server's side has seen of a tuple. */
struct wire {
	bool known; /* a SYN of ours */
	bool open;  /* its first bytes were right, or its token needs none */
	uint32_t token;
};

/* Initial numbers of a tuple, as they were seen outside: the engine's own word for what lies
 * between them does not count. */
struct numbers {
	uint32_t list[NUMBERS];
	unsigned int count;
};

static struct seen {
	struct numbers client; /* of clients' SYNs */
	struct numbers wire;   /* of SYNs that left for the server */
	struct numbers ours;   /* of SYN+ACKs that a client got */
	struct numbers server; /* of SYN+ACKs that the server sent */
} seen[TUPLES];

static struct key keys[2];
static struct destination variants[] = {
	{.name = "fuzz", .integrity = 32, .key = &keys[0]},
	{.name = "fuzz", .integrity = 40, .key = &keys[0]},
	{.name = "fuzz", .integrity = 32, .key = &keys[1]},
	{.name = "fuzz", .integrity = 0, .key = &keys[0]},
};
enum { VARIANTS = sizeof(variants) / sizeof(variants[0]) };
static const struct destination *configured; /* NULL: no longer */
static _Alignas(4096) uint8_t memory[1 << 16];
static struct table *flows;
static struct promise_cache *promises;
static struct splice *engine;
static struct splice_limits limits;
static struct wire wires[TUPLES];
static uint32_t held[HELD_MAX];
static unsigned int held_count;
static uint32_t next_id;
static uint64_t now;
static uint8_t bytes[ROOM];
static uint8_t before[ROOM];

static void make_world(void)
{
	bool truncated;

	secret_from_bytes(&keys[0].secret, (const uint8_t *)"splice", 6, &truncated);
	secret_from_bytes(&keys[1].secret, (const uint8_t *)"other", 5, &truncated);
}

static struct tuple tuple_of(unsigned int number)
{
	struct tuple tuple;
	bool ipv4 = number % 2 == 0;

	MUST(endpoint_parse_address(&tuple.source, ipv4 ? "198.51.100.1" : "2001:db8:1::1"));
	MUST(endpoint_parse_address(&tuple.destination, ipv4 ? "192.0.2.80" : "2001:db8::80"));
	tuple.source.port = (uint16_t)(40000 + number);
	tuple.destination.port = 443;
	return tuple;
}

static struct wire *wire_of(const struct tuple *tuple)
{
	return &wires[tuple->source.port - 40000];
}

static struct seen *seen_of(const struct tuple *tuple)
{
	return &seen[tuple->source.port - 40000];
}

static void note(struct numbers *numbers, uint32_t number)
{
	for (unsigned int i = 0; i < numbers->count; i++)
		if (numbers->list[i] == number)
			return;
	if (numbers->count < NUMBERS)
		numbers->list[numbers->count++] = number;
}

/* Whether it is what lies between a pair of them. */
static bool is_between(const struct numbers *from, const struct numbers *to, uint32_t delta)
{
	if (from->count == NUMBERS || to->count == NUMBERS)
		return true;
	for (unsigned int i = 0; i < from->count; i++)
		for (unsigned int j = 0; j < to->count; j++)
			if (to->list[j] - from->list[i] == delta)
				return true;
	return false;
}

static bool is_token(const struct segment *syn, bool integrity)
{
	for (unsigned int i = 0; i < 2; i++) {
		const struct secret *secret = &keys[i].secret;
		const struct endpoint *server = &syn->tuple.destination;
		uint32_t token = integrity ? token_integrity(secret, server, syn->tsval,
							     (uint16_t)syn->sequence)
					   : token_auth(secret, server, syn->tsval);
		if (token == syn->sequence)
			return true;
	}
	return false;
}

static bool is_right_payload(const struct wire *wire, const struct segment *segment)
{
	const uint8_t *payload = segment->packet->bytes + segment->payload;

	if (segment->sequence != wire->token + 1)
		return false;
	for (unsigned int i = 0; i < VARIANTS; i++) {
		uint16_t length = variants[i].integrity;
		if (length > 0 && segment->payload_length >= length &&
		    token_payload_hash(&variants[i].key->secret, payload, length) ==
			    (uint16_t)wire->token)
			return true;
	}
	return false;
}

/* What leaves for a server, and is ours. */
static void server_hears(const struct segment *segment)
{
	struct wire *wire = wire_of(&segment->tuple);

	if (segment_is_initial_syn(segment)) {
		note(&seen_of(&segment->tuple)->wire, segment->sequence);
		bool plain = is_token(segment, false);
		MUST(is_token(segment, true) || (plain && limits.plain_after_timeout));
		MUST(segment->payload_length == 0);
		if (!wire->known || wire->token != segment->sequence)
			*wire = (struct wire){true, plain, segment->sequence};
		return;
	}
	if (!wire->known || wire->open ||
	    (segment->payload_length == 0 && (segment->flags & TCP_FIN) == 0))
		return;
	MUST(is_right_payload(wire, segment));
	wire->open = true;
}

static void let_go(uint32_t id)
{
	unsigned int i = 0;

	while (i < held_count && held[i] != id)
		i++;
	MUST(i < held_count);
	held[i] = held[--held_count];
}

static void emit(void *context, const struct emission *emission)
{
	static uint8_t copy[ROOM];
	struct packet packet;
	struct segment segment;

	(void)context;
	if (emission->kind == EMIT_RELEASE_HELD || emission->kind == EMIT_DROP_HELD)
		let_go(emission->packet_id);
	if (emission->kind == EMIT_DROP_HELD)
		return;
	MUST(emission->length <= sizeof(copy));
	memcpy(copy, emission->bytes, emission->length);
	MUST(packet_parse(&packet, copy, emission->length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	MUST(packet.length == emission->length && segment_checksum_valid(&segment));
	if (emission->kind == EMIT_TO_CLIENT) {
		struct tuple tuple = tuple_reverse(&segment.tuple);
		MUST(tuple_equal(&tuple, &emission->tuple));
		if ((segment.flags & TCP_SYN) != 0)
			note(&seen_of(&tuple)->ours, segment.sequence);
		return;
	}
	MUST(tuple_equal(&segment.tuple, &emission->tuple));
	MUST(emission->kind != EMIT_RELEASE_HELD || segment_is_initial_syn(&segment));
	server_hears(&segment);
}

static const struct splice_output output = {.emit = emit};

static uint32_t pick(const uint32_t *numbers, size_t count, struct input *input)
{
	uint8_t which = take8(input);

	return which < 128 ? numbers[which % count] : numbers[which % count] + which % 64 - 8;
}

static void plan_numbers(struct segment_plan *plan, const struct splice_flow *flow,
			 bool from_client, struct input *input)
{
	uint32_t client = flow->token - flow->client_isn;
	uint32_t server = flow->iss - flow->server_isn;
	const uint32_t of_client[] = {flow->client_isn + 1, flow->client_isn, flow->client_sent,
				      flow->client_isn + 33};
	const uint32_t heard[] = {flow->iss + 1, flow->server_sent + server, flow->iss + 33};
	const uint32_t of_server[] = {flow->server_sent, flow->server_isn, flow->server_isn + 1,
				      0x5000};
	const uint32_t on_wire[] = {flow->token + 1, flow->client_sent + client, flow->token + 33};

	plan->sequence = from_client ? pick(of_client, 4, input) : pick(of_server, 4, input);
	plan->acknowledgement = from_client ? pick(heard, 3, input) : pick(on_wire, 3, input);
}

static size_t build(struct segment_plan *plan, const struct splice_flow *flow, bool from_client,
		    struct input *input)
{
	static const uint8_t flags[] = {TCP_SYN,           TCP_ACK, TCP_ACK | TCP_PSH,
					TCP_ACK | TCP_FIN, TCP_RST, TCP_RST | TCP_ACK,
					TCP_SYN | TCP_ACK, TCP_ACK};
	static uint8_t payload[256];
	uint8_t how = take8(input);
	uint8_t length = take8(input);

	plan->flags = flags[how & 7];
	plan->options = (struct segment_options){.timestamp = (how & 8) != 0,
						 .tsval = length,
						 .tsecr = take8(input),
						 .sack_permitted = (how & 0x10) != 0,
						 .window_scale = (how & 0x20) != 0,
						 .window_shift = how >> 4,
						 .mss = (how & 0x40) != 0,
						 .mss_value = (uint16_t)(100 + 4 * length)};
	plan_numbers(plan, flow, from_client, input);
	for (unsigned int i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(plan->sequence - flow->client_isn + i);
	plan->payload = payload;
	plan->payload_length = (how & 0x80) != 0 ? length : 0;
	size_t built = segment_build(plan, bytes, sizeof(bytes));
	MUST(built > 0);
	return built;
}

/* Whether a translated segment has the numbers of the other side. */
static void check_numbers(const struct segment *was, const struct segment *is, bool from_client,
			  const struct tuple *client)
{
	struct splice_deltas deltas;
	bool bare = was->payload_length == 0 && (was->flags & (TCP_SYN | TCP_FIN | TCP_RST)) == 0;
	const struct seen *numbers = seen_of(client);
	uint32_t moved = is->sequence - was->sequence;

	if (from_client) {
		MUST(is_between(&numbers->client, &numbers->wire, moved) ||
		     (bare && is->sequence == wire_of(client)->token + 1));
		MUST((was->flags & TCP_ACK) == 0 ||
		     is_between(&numbers->server, &numbers->ours,
				was->acknowledgement - is->acknowledgement));
	} else {
		/* One that refuses has no numbers yet. */
		MUST((was->flags & TCP_RST) != 0 ||
		     is_between(&numbers->server, &numbers->ours, moved));
	}
	if (!splice_deltas(engine, client, &deltas))
		return;
	if (from_client) {
		/* while the bytes are delivered acknowledgements leave with the first number */
		MUST(is->sequence == was->sequence + deltas.client ||
		     (bare && is->sequence == wire_of(client)->token + 1));
		MUST((was->flags & TCP_ACK) == 0 ||
		     is->acknowledgement == was->acknowledgement - deltas.server);
	} else {
		MUST(is->sequence == was->sequence + deltas.server);
	}
	MUST(is->payload_length == was->payload_length && is->flags == was->flags);
}

static void give(const struct tuple *client, bool from_client, size_t length, bool spoil)
{
	struct packet packet, old_packet;
	struct segment segment, was;
	struct splice_result result;
	size_t heap = heap_in_use();

	MUST(packet_parse(&packet, bytes, length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	if (spoil)
		bytes[packet.transport + 16] ^= 1;
	memcpy(before, bytes, length);
	MUST(packet_parse(&old_packet, before, length) == REASON_NONE);
	MUST(segment_parse(&was, &old_packet) == REASON_NONE);
	if (from_client && segment_is_initial_syn(&was))
		note(&seen_of(client)->client, was.sequence);
	if (!from_client && (was.flags & TCP_SYN) != 0)
		note(&seen_of(client)->server, was.sequence);
	if (from_client)
		splice_from_client(engine, configured, &segment, ++next_id, now, &output, &result);
	else
		splice_from_server(engine, &segment, now, &output, &result);
	MUST(heap_in_use() == heap);
	MUST(!result.hold || (from_client && segment_is_initial_syn(&was) && !spoil));
	if (result.hold && held_count < HELD_MAX)
		held[held_count++] = next_id;
	if (result.hold || result.decision.verdict == VERDICT_DROP)
		return;
	MUST(result.decision.verdict == VERDICT_PASS);
	if (!result.decision.modified) {
		MUST(memcmp(bytes, before, length) == 0);
		if (from_client && segment_is_initial_syn(&was))
			wire_of(client)->known = false; /* somebody else's from now on */
		return;
	}
	MUST(spoil || segment_checksum_valid(&segment));
	check_numbers(&was, &segment, from_client, client);
	if (from_client)
		server_hears(&segment);
}

static void renew(void)
{
	static const uint8_t random_key[16] = {9};

	splice_free(engine);
	held_count = 0;
	engine = splice_new(flows, promises, &limits, random_key, now);
	MUST(engine != NULL);
}

/* Time, a reload, or a restart. */
static void happen(struct input *input)
{
	uint8_t what = take8(input);

	if (what < 0x80) {
		now += 20U * what * what;
		size_t heap = heap_in_use();
		splice_tick(engine, now, &output);
		MUST(heap_in_use() == heap);
	} else if (what < 0xc0) {
		unsigned int which = what % (VARIANTS + 1);
		configured = which < VARIANTS ? &variants[which] : NULL;
	} else if (what < 0xf0) {
		struct splice_limits other = limits;
		other.buffer_size = (what & 1) != 0 ? BUFFER_LONGER : BUFFER;
		MUST(splice_use_limits(engine, &other));
	} else {
		renew();
	}
}

static void step(struct input *input)
{
	static const struct splice_flow none;
	uint8_t what = take8(input);
	struct tuple tuple = tuple_of((what >> 3) % TUPLES);
	const struct splice_flow *flow = table_find(flows, &tuple);
	bool from_client = (what & 1) != 0;

	if ((what & 7) == 6) {
		happen(input);
	} else {
		struct segment_plan plan = {.tuple = from_client ? tuple : tuple_reverse(&tuple),
					    .window = 5000,
					    .hop_limit = 64};
		size_t length = build(&plan, flow != NULL ? flow : &none, from_client, input);
		give(&tuple, from_client, length, (what & 7) == 7);
	}
	MUST(splice_half_made(engine) <= HALF_MADE && held_count <= HALF_MADE);
	MUST(table_count(flows) <= CAPACITY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t hash_key[16] = {1};
	const struct table_layout layout = splice_table_layout(CAPACITY);
	struct input input = {data, size};
	uint8_t how = take8(&input);

	if (keys[0].secret.bytes[0] == 0)
		make_world();
	MUST(table_size(&layout) <= sizeof(memory));
	now = 1000;
	next_id = 0;
	memset(wires, 0, sizeof(wires));
	memset(seen, 0, sizeof(seen));
	configured = &variants[0];
	limits = splice_limits_default(32);
	limits.half_made = HALF_MADE;
	limits.half_made_per_client = 2;
	limits.buffer_size = BUFFER;
	limits.plain_after_timeout = (how & 1) != 0;
	limits.defaults.timestamps = (how & 2) != 0;
	limits.defaults.sack = limits.defaults.window_scale = (how & 4) != 0;
	flows = table_init(memory, &layout, hash_key, now);
	promises = promise_cache_new(SERVERS, hash_key);
	MUST(promises != NULL);
	renew();
	for (unsigned int i = 0; input.left > 0 && i < STEPS_MAX; i++)
		step(&input);
	splice_free(engine);
	engine = NULL;
	promise_cache_free(promises);
	return 0;
}
