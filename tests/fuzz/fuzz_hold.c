/* SPDX-License-Identifier: GPL-2.0-or-later */
/* First bytes that come in several segments, before the protect engine: the input is a program of
 * segments of both sides, and of time. Beside it a record says of each byte which copy was taken
 * first, and so what the server may get once the check is passed. */
#include "core/protect.h"

#include "core/segment_build.h"
#include "core/token.h"
#include "fuzz.h"

enum {
	NUMBER = 12,
	CLIENTS = 3,
	HOLDS = 2,
	ROOM = 160, /* of a stream that a program can reach */
	STEPS_MAX = 200,
	ACTIONS_MAX = 64,
	REASSEMBLE_TIME = 5000,
	LONGEST_TIME = 60000, /* until held bytes are given up, whatever was said */
	HOLD_MEMORY = 4096,   /* of one connection, at most */
	SERVER_ISN = 70000,
};

static struct key key;
static struct service service = {
	.name = "app",
	.integrity = NUMBER,
	.reassemble = true,
	.pending_timeout = 20,
	.reassemble_timeout = REASSEMBLE_TIME / 1000,
	.keys = &key,
	.key_count = 1,
};
static struct service_table *table;
static uint8_t stream[ROOM];

static struct record {
	bool known;   /* its SYN was right */
	bool checked; /* so were its first bytes */
	bool open;    /* and the server has them: nobody looks at the rest */
	uint32_t isn;
	uint32_t acknowledged; /* bytes, by the server */
	bool there[ROOM];
	uint8_t first[ROOM];
} records[CLIENTS + HOLDS];

static struct protect *engine;
static uint64_t now;
static size_t heap;
static uint8_t bytes[2048];
static unsigned int action_count;
static struct protect_action actions[ACTIONS_MAX];
static struct segment_plan plans[ACTIONS_MAX];
static uint8_t payloads[ACTIONS_MAX][ROOM];

/* The engine speaks before it says what it decides, so this is looked at later. */
static void act(void *context, const struct protect_action *action)
{
	(void)context;
	MUST(action_count < ACTIONS_MAX);
	actions[action_count] = *action;
	if (action->plan != NULL) {
		plans[action_count] = *action->plan;
		MUST(action->plan->payload_length <= ROOM);
		if (action->plan->payload_length > 0)
			memcpy(payloads[action_count], action->plan->payload,
			       action->plan->payload_length);
	}
	action_count++;
}

static struct tuple tuple_of(unsigned int client)
{
	struct tuple tuple = {0};

	tuple.source.family = tuple.destination.family = FAMILY_IPV4;
	tuple.source.address[0] = 198;
	tuple.source.port = (uint16_t)(40000 + client);
	tuple.destination.address[0] = 192;
	tuple.destination.port = 22;
	return tuple;
}

static void make_world(void)
{
	const struct service_row row = {tuple_of(0).destination, &service};
	bool truncated;

	secret_from_bytes(&key.secret, (const uint8_t *)"held", 4, &truncated);
	for (unsigned int i = 0; i < ROOM; i++)
		stream[i] = (uint8_t)(i * 7 + 1);
	table = service_table_new(&row, 1);
}

static uint32_t contiguous(const struct record *record)
{
	uint32_t length = 0;

	while (length < ROOM && record->there[length])
		length++;
	return length;
}

static void take(struct record *record, const struct segment *segment)
{
	uint32_t offset = segment->sequence - (record->isn + 1);

	for (uint32_t i = 0; i < segment->payload_length; i++) {
		if ((uint64_t)offset + i >= ROOM || record->there[offset + i])
			continue;
		record->there[offset + i] = true;
		record->first[offset + i] = segment->packet->bytes[segment->payload + i];
	}
}

/* These go to the server, which gets the first copies of those before the limit. */
static void check_bytes(const struct record *record, uint32_t limit, uint32_t sequence,
			const uint8_t *data, size_t length)
{
	uint32_t offset = sequence - (record->isn + 1);

	if (length == 0 || record->open)
		return;
	MUST(record->known && record->checked);
	for (uint32_t i = 0; i < length && (uint64_t)offset + i < limit; i++)
		MUST(!record->there[offset + i] || record->first[offset + i] == data[i]);
	MUST((int32_t)offset >= 0);
}

/* Nor may an end take the place of one of them. */
static void check_end(const struct record *record, const struct segment *segment)
{
	uint32_t end = segment->sequence + (uint32_t)segment->payload_length - (record->isn + 1);
	uint8_t flags = segment->flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK);
	bool held = memchr(record->there, true, sizeof(record->there)) != NULL;

	if (flags == (TCP_FIN | TCP_ACK) && record->known && held && !record->open)
		MUST((int32_t)end >= NUMBER);
}

static void check_action(struct record *record, const struct protect_action *action,
			 const struct segment_plan *plan, const uint8_t *data)
{
	uint32_t offset = plan->sequence - (record->isn + 1);

	switch (action->kind) {
	case PROTECT_TO_SERVER:
		check_bytes(record, ROOM, plan->sequence, data, plan->payload_length);
		MUST(plan->payload_length == 0 ||
		     offset + plan->payload_length <= contiguous(record));
		break;
	case PROTECT_TO_CLIENT:
		MUST(plan->payload_length == 0);
		if ((plan->flags & TCP_RST) == 0)
			MUST(plan->acknowledgement - (record->isn + 1) <= contiguous(record));
		break;
	case PROTECT_VERIFY:
		MUST(record->checked && record->acknowledged >= NUMBER);
		record->open = true;
		break;
	case PROTECT_FORGET:
		record->known = false;
		break;
	case PROTECT_SHUT:
		record->open = false;
		break;
	}
}

static void check_actions(void)
{
	for (unsigned int i = 0; i < action_count; i++) {
		unsigned int client = actions[i].tuple.source.port - 40000U;

		MUST(client < CLIENTS + HOLDS);
		check_action(&records[client], &actions[i], &plans[i], payloads[i]);
	}
	action_count = 0;
	MUST(protect_held(engine) <= HOLDS);
	/* And one more, since malloc counts small pieces that it keeps for the next one. */
	MUST(heap_in_use() <= heap + (protect_pending(engine) + 1) * (size_t)HOLD_MEMORY);
}

static bool goes_on(const struct decision *decision)
{
	return decision->verdict == VERDICT_PASS || decision->verdict == VERDICT_VERIFIED ||
	       decision->verdict == VERDICT_PENDING || decision->verdict == VERDICT_DELIVER;
}

static void note_syn(struct record *record, const struct segment *was,
		     const struct decision *decision)
{
	if (!goes_on(decision))
		return;
	/* Nobody says that conntrack knows the connection, so each copy begins it anew. */
	MUST(decision->reason == REASON_TOKEN_VALID || record->isn == was->sequence);
	*record = (struct record){.known = true, .isn = was->sequence};
}

/* What the engine says of the check must be so. */
static void note_segment(struct record *record, const struct segment *was,
			 const struct decision *decision)
{
	bool valid = decision->reason == REASON_PAYLOAD_VALID;

	if (valid || decision->reason == REASON_PAYLOAD_HELD)
		take(record, was);
	if (valid) {
		MUST(record->known && contiguous(record) >= NUMBER);
		MUST(token_payload_hash(&key.secret, record->first, NUMBER) ==
		     (uint16_t)record->isn);
		record->checked = true;
	}
	if (decision->verdict == VERDICT_VERIFIED)
		record->open = true;
	if (decision->verdict == VERDICT_RESET)
		record->known = false;
	/* The client gave up, and with it what was held. */
	if ((was->flags & TCP_RST) != 0 && decision->modified)
		memset(record->there, 0, sizeof(record->there));
}

static void give_client(unsigned int client, size_t length)
{
	static uint8_t copy[sizeof(bytes)];
	struct record *record = &records[client];
	struct packet packet, old_packet;
	struct segment segment, was;
	struct decision decision;

	memcpy(copy, bytes, length);
	MUST(packet_parse(&old_packet, copy, length) == REASON_NONE);
	MUST(segment_parse(&was, &old_packet) == REASON_NONE);
	MUST(packet_parse(&packet, bytes, length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	protect_judge(engine, table, &segment, false, (struct moment){.steady = now}, &decision);
	if (decision.verdict == VERDICT_LOOKUP)
		protect_resolve(engine, &segment, CONNECTION_UNKNOWN,
				(struct moment){.steady = now}, &decision);
	if (segment_is_initial_syn(&was)) {
		note_syn(record, &was, &decision);
		MUST(!goes_on(&decision) || segment.payload_length == 0);
	} else {
		note_segment(record, &was, &decision);
		if (goes_on(&decision)) {
			/* What leaves, whatever the engine takes it for. */
			MUST(segment_parse(&segment, &packet) == REASON_NONE);
			check_bytes(record, NUMBER, segment.sequence,
				    packet.bytes + segment.payload, segment.payload_length);
			check_end(record, &segment);
		}
	}
	check_actions();
}

static void give_server(unsigned int client, size_t length)
{
	struct record *record = &records[client];
	struct packet packet;
	struct segment segment;
	struct decision decision;

	MUST(packet_parse(&packet, bytes, length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	if ((segment.flags & TCP_ACK) != 0 && record->known) {
		uint32_t offset = segment.acknowledgement - (record->isn + 1);

		/* Also of what followed the held bytes, which it got from the client itself. */
		if ((int32_t)(offset - record->acknowledged) > 0)
			record->acknowledged = offset;
	}
	bool reset = (segment.flags & TCP_RST) != 0;
	protect_reply(engine, table, &segment, false, now, &decision);
	if (decision.verdict == VERDICT_RESET)
		record->known = false;
	check_actions();
	if (reset)
		memset(record->there, 0, sizeof(record->there));
}

static void answer_syn(unsigned int client)
{
	const struct tuple tuple = tuple_of(client);
	const struct segment_plan plan = {
		.tuple = tuple_reverse(&tuple),
		.sequence = SERVER_ISN,
		.acknowledgement = records[client].isn + 1,
		.window = 60000,
		.flags = TCP_SYN | TCP_ACK,
		.hop_limit = 64,
		.options = {.mss = true, .mss_value = 1460},
	};

	give_server(client, segment_build(&plan, bytes, sizeof(bytes)));
}

static void send_syn(unsigned int client, struct segment_plan *plan, struct input *input)
{
	uint8_t how = take8(input);

	plan->flags = TCP_SYN;
	plan->options.timestamp = true;
	plan->options.tsval = how & 3;
	plan->sequence = token_integrity(&key.secret, &plan->tuple.destination, how & 3,
					 token_payload_hash(&key.secret, stream, NUMBER));
	if ((how & 0xf0) == 0xf0)
		plan->sequence ^= 0x10000;
	plan->payload = stream;
	plan->payload_length = (how & 0x0c) == 0x0c ? NUMBER : 0;
	give_client(client, segment_build(plan, bytes, sizeof(bytes)));
	if ((how & 0x70) != 0x60)
		answer_syn(client);
}

static void send_data(unsigned int client, struct segment_plan *plan, struct input *input)
{
	static const uint8_t flags[] = {TCP_ACK | TCP_PSH, TCP_ACK, TCP_ACK | TCP_FIN, TCP_RST};
	uint8_t how = take8(input);
	uint8_t offset = take8(input) % (ROOM - 64);
	uint8_t length = take8(input) % 64;

	plan->flags = (how & 0x30) == 0x30 ? take8(input) : flags[how & 3];
	plan->sequence = records[client].isn + 1 + offset;
	if ((how & 0xc0) == 0xc0)
		plan->sequence = records[client].isn + 1 + take32(input);
	plan->acknowledgement = SERVER_ISN + 1 + (how >> 2 & 3);
	plan->options.timestamp = (how & 0x40) != 0;
	plan->options.tsval = how;
	plan->payload = stream + offset;
	plan->payload_length = length;
	size_t size = segment_build(plan, bytes, sizeof(bytes));
	if ((how & 0x0c) == 0x0c && length > 0) {
		/* Other bytes in their place, under a right checksum or not. */
		struct packet packet;
		struct segment segment;
		uint8_t what = take8(input);

		MUST(packet_parse(&packet, bytes, size) == REASON_NONE);
		MUST(segment_parse(&segment, &packet) == REASON_NONE);
		bytes[segment.payload + what % length] ^= 0x40;
		if ((what & 0x80) == 0)
			segment_complete_checksum(&segment);
	}
	give_client(client, size);
}

static void send_reply(unsigned int client, struct segment_plan *plan, struct input *input)
{
	static const uint8_t flags[] = {TCP_SYN | TCP_ACK, TCP_ACK, TCP_ACK | TCP_PSH,
					TCP_RST | TCP_ACK};
	uint8_t how = take8(input);

	plan->tuple = tuple_reverse(&plan->tuple);
	plan->flags = flags[how & 3];
	plan->sequence = SERVER_ISN + ((how & 3) == 0 ? 0 : 1);
	plan->acknowledgement = records[client].isn + 1 + ((how & 3) == 0 ? 0 : take8(input));
	plan->window = (how & 4) != 0 ? 20 : 60000;
	plan->options.mss = (how & 3) == 0;
	plan->options.mss_value = (how & 8) != 0 ? 64 : 1460;
	plan->payload = stream;
	plan->payload_length = (how & 3) == 2 ? 5 : 0;
	give_server(client, segment_build(plan, bytes, sizeof(bytes)));
}

static void pass_time(uint64_t milliseconds)
{
	uint64_t end = now + milliseconds;

	do {
		now = now + 100 < end ? now + 100 : end;
		protect_tick(engine, now);
		check_actions();
	} while (now < end);
}

static void step(struct input *input)
{
	uint8_t what = take8(input);
	unsigned int client = (what >> 3) % CLIENTS;
	struct segment_plan plan = {.tuple = tuple_of(client), .window = 1000, .hop_limit = 64};

	switch (what & 7) {
	case 0:
		send_syn(client, &plan, input);
		break;
	case 1:
		pass_time(take8(input) * 10U);
		break;
	case 2:
	case 3:
		send_reply(client, &plan, input);
		break;
	default:
		send_data(client, &plan, input);
		break;
	}
}

/* All room is there again, for as many as ever. */
static void check_room(void)
{
	for (unsigned int i = 0; i < HOLDS; i++) {
		struct segment_plan plan = {
			.tuple = tuple_of(CLIENTS + i), .flags = TCP_SYN, .hop_limit = 64};

		plan.sequence = token_integrity(&key.secret, &plan.tuple.destination, 0,
						token_payload_hash(&key.secret, stream, NUMBER));
		give_client(CLIENTS + i, segment_build(&plan, bytes, sizeof(bytes)));
		answer_syn(CLIENTS + i);
		plan.flags = TCP_ACK;
		plan.acknowledgement = SERVER_ISN + 1;
		plan.sequence++;
		plan.payload = stream;
		plan.payload_length = 1;
		give_client(CLIENTS + i, segment_build(&plan, bytes, sizeof(bytes)));
		MUST(protect_held(engine) == i + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t hash_key[16] = {1};
	static const struct protect_options options = {
		.capacity = 4 * CLIENTS, .holds = HOLDS, .output = {.act = act}};
	struct input input = {data, size};

	if (table == NULL)
		make_world();
	memset(records, 0, sizeof(records));
	now = 1000;
	action_count = 0;
	engine = protect_new(&options, hash_key, now);
	MUST(engine != NULL);
	heap = heap_in_use();
	for (unsigned int i = 0; input.left > 0 && i < STEPS_MAX; i++)
		step(&input);
	/* What nobody completes is not held for ever. */
	pass_time(LONGEST_TIME);
	MUST(protect_held(engine) == 0);
	MUST(heap_in_use() <= heap + HOLD_MEMORY);
	check_room();
	protect_free(engine);
	return 0;
}
