/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A state file that is foreign or damaged: it is refused, or what is left of it is a table in which
 * everything can be found, expires, and makes room. What is left of flows in integrity mode goes to
 * the engine: no half-made connection comes out of a file. An input is a whole file, or (first byte
 * odd) changes to a good one. */
#include "core/flow.h"
#include "core/segment_build.h"
#include "core/splice.h"
#include "fuzz.h"
#include "io/state.h"

enum { CAPACITY = 16, NOW = 5000000, BOOT = 77, ROOM = 1 << 16 };

static _Alignas(64) uint8_t memory[ROOM];

static struct tuple tuple_number(unsigned int number)
{
	return (struct tuple){{.family = FAMILY_IPV4, .port = (uint16_t)(30000 + number)},
			      {.family = FAMILY_IPV4, .port = 22}};
}

static struct table_layout layout_of(enum state_kind kind)
{
	return kind == STATE_FLOWS ? flow_table_layout(CAPACITY) : splice_table_layout(CAPACITY);
}

static void *insert(struct table *table, enum state_kind kind, unsigned int number,
		    uint32_t timeout)
{
	const struct tuple tuple = tuple_number(number);
	const struct flow flow = {.syn = {.isn = number, .delta = 7}};
	const struct splice_flow joined = {
		.client_isn = number,
		.token = number + 7,
		.iss = 900,
		.server_isn = 400,
		.server_shift = 7,
		.client_sent = number + 1,
		.server_sent = 401,
		.stage = (uint8_t)(1 + number % SPLICE_BROKEN),
	};

	return table_insert(table, &tuple, kind == STATE_FLOWS ? (const void *)&flow : &joined, NOW,
			    timeout);
}

static size_t make_good(enum state_kind kind)
{
	const struct table_layout layout = layout_of(kind);
	static const uint8_t hash_key[16] = {3};
	struct table *table = table_init(memory, &layout, hash_key, NOW);

	MUST(table_size(&layout) <= ROOM);
	table_set_boot(table, BOOT);
	for (unsigned int i = 0; i < CAPACITY / 2; i++)
		insert(table, kind, i, 1000 * (i + 1));
	return table_size(&layout);
}

static size_t make_damaged(enum state_kind kind, struct input *input)
{
	size_t size = make_good(kind);

	for (unsigned int i = 0; input->left >= 3 && i < 64; i++) {
		size_t at = take16(input) % size;
		memory[at] = take8(input);
	}
	return size;
}

static void check_contents(struct table *table, enum state_kind kind)
{
	uint32_t found = 0;

	for (uint32_t slot = 0; slot < table_capacity(table); slot++) {
		void *value = table_slot(table, slot);
		if (value == NULL)
			continue;
		found++;
		MUST(table_find(table, table_tuple(value)) != NULL);
		MUST((kind == STATE_FLOWS ? flow_state_word(value) : splice_state_word(value)) !=
		     NULL);
	}
	MUST(found == table_count(table) && found <= table_capacity(table));
}

static void check_use(struct table *table, enum state_kind kind)
{
	uint64_t later = NOW + 10ULL * 24 * 3600 * 1000;
	uint32_t before = table_count(table);

	for (unsigned int i = 100; i < 100 + 2 * CAPACITY; i++) {
		struct tuple tuple = tuple_number(i);
		if (table_find(table, &tuple) != NULL)
			continue;
		void *value = insert(table, kind, i, 5000);
		MUST((value != NULL) == (before < table_capacity(table)));
		before += value != NULL;
	}
	check_contents(table, kind);
	for (unsigned int i = 0; i < 20000 && table_count(table) > 0; i++)
		table_expire(table, later + 1000 * i, 64, NULL, NULL);
	MUST(table_count(table) == 0);
}

/* Nobody is let in or collected for, only told that it is over. */
static void emit(void *context, const struct emission *emission)
{
	static uint8_t copy[SEGMENT_HEADERS_MAX];
	struct packet packet;
	struct segment segment;

	(void)context;
	MUST(emission->kind == EMIT_TO_CLIENT || emission->kind == EMIT_TO_SERVER);
	MUST(emission->length <= sizeof(copy));
	memcpy(copy, emission->bytes, emission->length);
	MUST(packet_parse(&packet, copy, emission->length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	MUST(segment_checksum_valid(&segment) && (segment.flags & TCP_RST) != 0);
}

static void give(struct splice *engine, const struct splice_output *output, unsigned int number,
		 bool from_client)
{
	static const uint8_t payload[8] = "payload";
	static uint8_t bytes[SEGMENT_HEADERS_MAX + sizeof(payload)];
	const struct tuple tuple = tuple_number(number);
	const struct segment_plan plan = {
		.tuple = from_client ? tuple : tuple_reverse(&tuple),
		.sequence = from_client ? number + 1 : 401,
		.acknowledgement = from_client ? 901 : number + 8,
		.flags = TCP_ACK | TCP_PSH,
		.window = 5000,
		.hop_limit = 64,
		.options = {.timestamp = true, .tsval = 5, .tsecr = 6},
		.payload = payload,
		.payload_length = sizeof(payload),
	};
	struct packet packet;
	struct segment segment;
	struct splice_result result;
	size_t length = segment_build(&plan, bytes, sizeof(bytes));

	MUST(packet_parse(&packet, bytes, length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	if (from_client)
		splice_from_client(engine, NULL, &segment, 1, NOW, output, &result);
	else
		splice_from_server(engine, &segment, NOW, output, &result);
	MUST(!result.hold && packet.length == length);
	MUST(!result.decision.modified || segment_checksum_valid(&segment));
}

static void check_engine(struct table *table)
{
	static const uint8_t key[16] = {5};
	const struct splice_output output = {.emit = emit};
	struct splice_limits limits = splice_limits_default(32);

	limits.half_made = 2;
	struct promise_cache *promises = promise_cache_new(4, key);
	MUST(promises != NULL);
	struct splice *engine = splice_new(table, promises, &limits, key, NOW);
	MUST(engine != NULL && splice_half_made(engine) == 0);
	splice_tick(engine, NOW, &output);
	for (unsigned int i = 0; i < 2 * CAPACITY; i++)
		give(engine, &output, i % CAPACITY, i < CAPACITY);
	splice_tick(engine, NOW + 1000, &output);
	MUST(splice_half_made(engine) == 0);
	splice_free(engine);
	promise_cache_free(promises);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	const char *why = NULL;
	uint8_t choice = take8(&input);
	uint64_t boot = (choice & 2) != 0 ? BOOT + 1 : BOOT;
	enum state_kind kind = (choice & 4) != 0 ? STATE_INTEGRITY : STATE_FLOWS;
	size_t length;

	memset(memory, 0, sizeof(memory));
	if ((choice & 1) != 0)
		length = make_damaged(kind, &input);
	else
		length = take_bytes(&input, memory, input.left <= ROOM ? input.left : ROOM);
	struct table *table = state_attach(kind, memory, length, boot, NOW, &why);
	MUST((table == NULL) == (why != NULL));
	if (table == NULL)
		return 0;
	check_contents(table, kind);
	if (kind == STATE_INTEGRITY)
		check_engine(table);
	check_use(table, kind);
	return 0;
}
