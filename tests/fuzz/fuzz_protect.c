/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sequences of segments of a few clients before the protect engine. The input is a program: each
 * step makes a segment, right or wrong in some way, and what the engine says is held against a
 * record of who has proven what. */
#include "core/protect.h"

#include "core/segment_build.h"
#include "core/token.h"
#include "fuzz.h"

enum {
	SERVICES = 3,
	CLIENTS = 3,
	CONNECTIONS = SERVICES * CLIENTS,
	ISNS = 32, /* per connection, in one input */
	CAPACITY = 6,
	DEAD_TIME = 300 * 1000,
	STEPS_MAX = 200,
	SERVER_ISN = 0xfff,
	OTHER_SERVER_ISN = 0x8fff,
	START = 1000,
	COOKIE_AGE = 120 * 1000, /* of a server's cookie at most */
};

static struct key keys[2];
static struct service services[SERVICES] = {
	{.name = "auth", .index = 0, .keys = keys, .key_count = 2},
	{.name = "four", .index = 1, .integrity = 4, .keys = keys, .key_count = 1},
	{.name = "many", .index = 2, .integrity = 28, .keys = keys, .key_count = 2},
};
static struct service_table *table;
static uint8_t payloads[4][64];

/* What a connection has proven. */
struct record {
	uint32_t authorised[ISNS]; /* ISNs that were tokens when they came */
	uint32_t tsvals[ISNS];
	bool dead[ISNS];
	unsigned int count;
	bool open;       /* checked, as far as the service wants it, and so told the kernel */
	bool checked;    /* the bytes were right, the server has yet to say that it has them */
	uint32_t isn;    /* of the connection that the engine stands for */
	bool answered;   /* by a SYN+ACK */
	uint32_t server; /* its sequence number */
	uint32_t checked_isn;
	uint8_t checked_bytes[64];
	bool acknowledged; /* by the reply that is being looked at */
};

static struct record records[CONNECTIONS];
static struct protect *engine;
static uint64_t now;
static uint8_t bytes[4096];
static uint8_t before[4096];

static struct tuple tuple_of(unsigned int connection)
{
	struct tuple tuple = {0};
	unsigned int service = connection / CLIENTS;

	tuple.source.family = tuple.destination.family = service == 1 ? FAMILY_IPV6 : FAMILY_IPV4;
	tuple.source.address[0] = 198;
	tuple.source.port = (uint16_t)(40000 + connection);
	tuple.destination.address[0] = 192;
	tuple.destination.port = (uint16_t)(22 + service);
	return tuple;
}

static void make_world(void)
{
	struct service_row rows[SERVICES];
	bool truncated;

	secret_from_bytes(&keys[0].secret, (const uint8_t *)"first", 5, &truncated);
	secret_from_bytes(&keys[1].secret, (const uint8_t *)"second", 6, &truncated);
	for (unsigned int i = 0; i < SERVICES; i++)
		rows[i] = (struct service_row){tuple_of(i * CLIENTS).destination, &services[i]};
	for (unsigned int i = 0; i < sizeof(payloads); i++)
		payloads[i / 64][i % 64] = (uint8_t)(i * 7);
	table = service_table_new(rows, SERVICES);
}

static uint32_t right_isn(const struct service *service, const struct tuple *tuple,
			  unsigned int key, uint32_t tsval, unsigned int payload)
{
	const struct secret *secret = &service->keys[key % service->key_count].secret;

	if (service->integrity == 0)
		return token_auth(secret, &tuple->destination, tsval);
	return token_integrity(secret, &tuple->destination, tsval,
			       token_payload_hash(secret, payloads[payload], service->integrity));
}

static bool is_token_of(const struct secret *secret, bool integrity,
			const struct endpoint *destination, uint32_t tsval, uint32_t isn)
{
	return isn == (integrity ? token_integrity(secret, destination, tsval, (uint16_t)isn)
				 : token_auth(secret, destination, tsval));
}

static bool is_token(const struct service *service, const struct segment *syn)
{
	for (size_t i = 0; i < service->key_count; i++)
		if (is_token_of(&service->keys[i].secret, service->integrity > 0,
				&syn->tuple.destination, syn->tsval, syn->sequence))
			return true;
	return false;
}

static int find_isn(const struct record *record, uint32_t isn)
{
	for (unsigned int i = 0; i < record->count; i++)
		if (record->authorised[i] == isn)
			return (int)i;
	return -1;
}

static void plan_syn(struct segment_plan *plan, const struct service *service, struct input *input)
{
	uint8_t how = take8(input);
	unsigned int payload = how >> 6;

	plan->flags = TCP_SYN;
	plan->options.timestamp = (how & 1) != 0;
	plan->options.tsval = how & 3;
	plan->sequence = right_isn(service, &plan->tuple, how >> 2 & 1,
				   plan->options.timestamp ? how & 3 : 0, payload);
	if ((how & 0x38) == 0x38)
		plan->sequence ^= 1U << take8(input) % 32;
	if ((how & 0x38) == 0x30) {
		plan->payload = payloads[payload];
		plan->payload_length = take8(input) % 64;
	}
}

static void plan_later(struct segment_plan *plan, const struct record *record, struct input *input)
{
	static const uint8_t flags[] = {TCP_ACK, TCP_ACK | TCP_PSH, TCP_FIN | TCP_ACK, TCP_RST};
	uint8_t how = take8(input);
	uint8_t offset = take8(input);

	plan->flags = (how & 4) != 0 ? take8(input) : flags[how & 3];
	plan->sequence =
		record->count > 0
			? record->authorised[(record->count - 1 - (how >> 3 & 1)) % record->count]
			: take32(input);
	plan->sequence += (offset & 0xf0) == 0 ? (uint32_t)offset - 4 : 1;
	plan->acknowledgement = offset == 0xff ? OTHER_SERVER_ISN + 1 : SERVER_ISN + 1;
	plan->payload = payloads[how >> 6];
	plan->payload_length = (how & 0x20) != 0 ? take8(input) % 64 : 28;
	if ((how & 0x30) == 0x10)
		plan->payload_length = 0;
}

/* A segment may be called right by the engine if it is the first payload, and exactly that. */
static bool is_right_payload(const struct service *service, const struct record *record,
			     const struct segment *segment, bool checksum_valid)
{
	int which = find_isn(record, segment->sequence - 1);

	if (which < 0 || record->dead[which] || !checksum_valid ||
	    segment->payload_length < service->integrity)
		return false;
	for (size_t i = 0; i < service->key_count; i++) {
		const struct secret *secret = &service->keys[i].secret;
		uint16_t hash = token_payload_hash(
			secret, segment->packet->bytes + segment->payload, service->integrity);
		if (hash == (uint16_t)(segment->sequence - 1) &&
		    is_token_of(secret, true, &segment->tuple.destination, record->tsvals[which],
				segment->sequence - 1))
			return true;
	}
	return false;
}

static bool goes_on(const struct decision *decision)
{
	return decision->verdict == VERDICT_PASS || decision->verdict == VERDICT_VERIFIED ||
	       decision->verdict == VERDICT_PENDING || decision->verdict == VERDICT_DELIVER;
}

/* Until the server has the bytes of the check nothing else may come to stand in their place,
 * whether the server takes this segment or not. */
static void check_range(const struct service *service, const struct record *record,
			const struct segment *segment)
{
	int32_t offset = (int32_t)(segment->sequence - (record->checked_isn + 1));
	const uint8_t *payload = segment->packet->bytes + segment->payload;

	MUST(record->checked);
	if (segment->payload_length > 0)
		MUST(offset >= 0);
	for (size_t i = 0; i < segment->payload_length; i++)
		if ((size_t)offset + i < service->integrity)
			MUST(payload[i] == record->checked_bytes[(size_t)offset + i]);
	MUST((segment->flags & TCP_URG) == 0 || offset >= service->integrity);
	MUST((segment->flags & TCP_FIN) == 0 ||
	     offset + (int32_t)segment->payload_length >= service->integrity);
}

static void begin(struct record *record, uint32_t isn)
{
	record->open = record->checked = record->answered = false;
	record->isn = isn;
}

static bool is_verified(enum connection_state conntrack)
{
	return conntrack == CONNECTION_VERIFIED || conntrack == CONNECTION_ENDING ||
	       conntrack == CONNECTION_ENDED;
}

/* conntrack: what it said, when it was asked. */
static void check_syn(const struct service *service, struct record *record,
		      const struct segment *was, const struct segment *is, bool asked,
		      enum connection_state conntrack, const struct decision *decision)
{
	int which = find_isn(record, was->sequence);
	bool right = is_token(service, was);

	/* No unauthorised SYN. */
	MUST(!goes_on(decision) || right || which >= 0);
	MUST(!goes_on(decision) || which < 0 || !record->dead[which]);
	MUST(decision->verdict != VERDICT_RESET);
	/* While there is a connection, its mark stays, whatever the SYN. */
	MUST(decision->verdict != VERDICT_PASS || (asked && is_verified(conntrack)));
	MUST(!goes_on(decision) || !asked || conntrack != CONNECTION_UNKNOWN);
	if (asked && is_verified(conntrack) && decision->verdict == VERDICT_PENDING)
		MUST(!record->open && record->isn == was->sequence);
	/* No payload before its check. */
	if (service->integrity > 0) {
		MUST(decision->verdict != VERDICT_VERIFIED);
		MUST(!goes_on(decision) || is->payload_length == 0);
	}
	if (!goes_on(decision))
		return;
	if (which < 0 && record->count < ISNS) {
		record->authorised[record->count] = was->sequence;
		record->tsvals[record->count] = was->tsval;
		record->dead[record->count++] = false;
	}
	if (decision->verdict == VERDICT_VERIFIED)
		record->open = true;
	if (decision->verdict == VERDICT_VERIFIED || decision->reason == REASON_TUPLE_BUSY)
		return;
	if (decision->reason == REASON_TOKEN_VALID)
		begin(record, was->sequence);
	else if (!asked)
		record->checked = false;
}

static void check_later(const struct service *service, struct record *record,
			const struct segment *was, bool checksum_valid,
			enum connection_state conntrack, const struct decision *decision)
{
	int which = find_isn(record, was->sequence - 1);

	/* As long as the server's cookie may be good. */
	if (conntrack == CONNECTION_ENDED && service->integrity > 0 && now - START <= COOKIE_AGE)
		MUST(!goes_on(decision) || was->payload_length == 0);
	if (goes_on(decision) && !record->open && !is_verified(conntrack)) {
		MUST(record->count > 0);
		if ((was->flags & (TCP_ACK | TCP_SYN | TCP_RST)) == TCP_ACK)
			MUST(record->answered && was->acknowledgement == record->server + 1);
		if (was->payload_length > 0) {
			MUST(service->integrity > 0 && checksum_valid);
			MUST(decision->verdict == VERDICT_DELIVER || record->checked);
		}
	}
	if (decision->verdict == VERDICT_DELIVER) {
		MUST(!record->open && is_right_payload(service, record, was, checksum_valid));
		MUST(was->sequence == record->isn + 1);
		record->checked = true;
		record->checked_isn = was->sequence - 1;
		memcpy(record->checked_bytes, was->packet->bytes + was->payload,
		       service->integrity);
	}
	if (goes_on(decision) && record->checked && !record->open &&
	    decision->reason != REASON_PENDING_EMPTY && decision->verdict != VERDICT_PASS &&
	    decision->reason != REASON_CONNECTION_DEAD)
		check_range(service, record, was);
	MUST(decision->verdict != VERDICT_VERIFIED);
	if (decision->verdict == VERDICT_RESET && decision->reason != REASON_PENDING_UNKNOWN) {
		MUST(!record->open && which >= 0);
		record->dead[which] = true;
		record->checked = false;
	}
}

static void check_bytes(const struct packet *packet, size_t length, bool checksum_valid,
			const struct decision *decision)
{
	struct packet again;
	struct segment segment;

	MUST(packet->length <= length);
	if (!decision->modified) {
		MUST(packet->length == length && memcmp(bytes, before, length) == 0);
		return;
	}
	MUST(packet_parse(&again, packet->bytes, packet->length) == REASON_NONE);
	MUST(segment_parse(&segment, &again) == REASON_NONE);
	MUST(segment_checksum_valid(&segment) ||
	     (!checksum_valid && decision->verdict != VERDICT_RESET));
	if (decision->verdict == VERDICT_RESET)
		MUST(segment.flags == TCP_RST && segment.payload_length == 0);
}

static void give(unsigned int connection, size_t length, uint8_t how)
{
	const struct service *service = &services[connection / CLIENTS];
	struct record *record = &records[connection];
	static const enum connection_state states[] = {CONNECTION_UNKNOWN, CONNECTION_PENDING,
						       CONNECTION_VERIFIED, CONNECTION_ENDED};
	enum connection_state conntrack =
		(how & 0xf0) == 0xe0 ? CONNECTION_ENDING : states[how >> 6];
	struct packet packet;
	struct packet old_packet;
	struct segment segment;
	struct segment was;
	struct decision decision;

	memcpy(before, bytes, length);
	if (packet_parse(&old_packet, before, length) != REASON_NONE ||
	    segment_parse(&was, &old_packet) != REASON_NONE)
		return;
	MUST(packet_parse(&packet, bytes, length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	bool valid = segment_checksum_valid(&was);
	const struct moment moment = {.steady = now};
	protect_judge(engine, table, &segment, (how & 0x30) == 0x30, moment, &decision);
	bool asked = decision.verdict == VERDICT_LOOKUP;
	if (asked)
		protect_resolve(engine, &segment, conntrack, moment, &decision);
	MUST(decision.verdict != VERDICT_LOOKUP);
	if (segment_is_initial_syn(&was))
		check_syn(service, record, &was, &segment, asked, conntrack, &decision);
	else
		check_later(service, record, &was, valid, asked ? conntrack : CONNECTION_UNKNOWN,
			    &decision);
	check_bytes(&packet, old_packet.length, valid, &decision);
	MUST(protect_pending(engine) <= CAPACITY);
}

static enum verdict give_reply(const struct segment_plan *plan, bool verified)
{
	size_t length = segment_build(plan, bytes, sizeof(bytes));
	struct packet packet;
	struct segment segment;
	struct decision decision;

	MUST(packet_parse(&packet, bytes, length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	protect_reply(engine, table, &segment, verified, now, &decision);
	return decision.verdict;
}

/* A SYN+ACK begins another connection, which has to be checked, unless it is a copy. verified: the
 * kernel calls the connection so. */
static void answer_syn(unsigned int connection, uint32_t isn, uint32_t server, bool verified)
{
	struct record *record = &records[connection];
	const struct tuple tuple = tuple_of(connection);
	const struct segment_plan plan = {
		.tuple = tuple_reverse(&tuple),
		.sequence = server,
		.acknowledgement = isn + 1,
		.flags = TCP_SYN | TCP_ACK,
		.window = 1000,
		.hop_limit = 64,
	};
	bool copy = record->answered && record->isn == isn && record->server == server;
	enum verdict verdict = give_reply(&plan, verified);

	if (services[connection / CLIENTS].integrity == 0)
		return;
	if (verdict == VERDICT_RESET)
		MUST(!verified);
	if (verdict == VERDICT_RESET || verdict == VERDICT_DROP)
		return;
	MUST(find_isn(record, isn) >= 0 && !record->dead[find_isn(record, isn)]);
	if (!copy)
		begin(record, isn);
	MUST(verdict == VERDICT_PENDING ||
	     (verdict == VERDICT_PASS && (!verified || record->open)));
	record->answered = true;
	record->server = server;
}

/* What the server says. It alone opens. */
static void answer(unsigned int connection, struct input *input)
{
	struct record *record = &records[connection];
	const struct service *service = &services[connection / CLIENTS];
	uint8_t how = take8(input);
	const struct tuple tuple = tuple_of(connection);
	const struct segment_plan plan = {
		.tuple = tuple_reverse(&tuple),
		.sequence = record->server + 1,
		.acknowledgement = record->checked_isn + (how & 0x3f),
		.flags = (how & 0xc0) == 0xc0 ? take8(input) : TCP_ACK,
		.window = 1000,
		.hop_limit = 64,
	};

	if ((plan.flags & TCP_SYN) != 0) {
		uint8_t which = take8(input);

		if (record->count > 0)
			answer_syn(connection, record->authorised[(which & 0x1f) % record->count],
				   (which & 0x20) != 0 ? OTHER_SERVER_ISN : SERVER_ISN,
				   (which & 0x40) != 0);
		return;
	}
	record->acknowledged = record->checked && record->answered && (plan.flags & TCP_ACK) != 0 &&
			       (how & 0x3f) >= 1 + service->integrity;
	enum verdict verdict = give_reply(&plan, false);
	MUST(verdict == VERDICT_PASS || verdict == VERDICT_RESET);
	record->acknowledged = false;
}

static void act(void *context, const struct protect_action *action)
{
	(void)context;
	if (action->kind != PROTECT_VERIFY)
		return;
	for (unsigned int i = 0; i < CONNECTIONS; i++) {
		const struct tuple tuple = tuple_of(i);

		if (!tuple_equal(&tuple, &action->tuple))
			continue;
		MUST(records[i].acknowledged);
		records[i].open = true;
	}
}

static void pass_time(uint8_t how)
{
	/* What expires while pending is dead for a time before it is forgotten. */
	for (unsigned int turn = 0; turn < (how == 255 ? 2 : 1); turn++) {
		now += how == 255 ? DEAD_TIME + 10000 : how * 10;
		for (unsigned int i = 0; i < 10; i++)
			protect_tick(engine, now);
	}
	if (how != 255)
		return;
	/* Long enough for all to be forgotten. What the kernel has on its mark stays. */
	for (unsigned int i = 0; i < CONNECTIONS; i++)
		records[i] = (struct record){.open = records[i].open};
	MUST(protect_pending(engine) == 0);
}

static void step(struct input *input)
{
	uint8_t what = take8(input);
	unsigned int connection = (what >> 2) % CONNECTIONS;
	struct segment_plan plan = {.tuple = tuple_of(connection), .window = 1000, .hop_limit = 64};
	size_t length;

	if ((what & 3) == 3) {
		pass_time(take8(input));
		return;
	}
	if ((what & 3) == 2 && what >= 0xc0) {
		answer(connection, input);
		return;
	}
	if ((what & 3) == 0)
		plan_syn(&plan, &services[connection / CLIENTS], input);
	else
		plan_later(&plan, &records[connection], input);
	uint8_t how = take8(input);
	length = segment_build(&plan, bytes, sizeof(bytes));
	MUST(length > 0);
	/* Behind the addresses and ports anything may be spoilt. */
	size_t header = plan.tuple.source.family == FAMILY_IPV4 ? 24 : 44;
	if ((how & 0xf) == 1)
		bytes[header + take8(input) % (length - header)] ^= take8(input);
	give(connection, length, how);
	/* Most servers answer at once. */
	if ((what & 3) == 0 && (how & 0x0f) != 2 && records[connection].count > 0)
		answer_syn(connection, plan.sequence, SERVER_ISN, how >> 6 == CONNECTION_VERIFIED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t hash_key[16] = {1};
	static const struct protect_options options = {
		.capacity = CAPACITY, .holds = 1, .output = {.act = act}};
	static size_t leaked;
	struct input input = {data, size};

	if (table == NULL)
		make_world();
	size_t heap = heap_in_use();
	memset(records, 0, sizeof(records));
	now = START;
	engine = protect_new(&options, hash_key, now);
	for (unsigned int i = 0; input.left > 0 && i < STEPS_MAX; i++)
		step(&input);
	protect_free(engine);
	/* Nothing stays. The C library may keep some pieces for the next time. */
	leaked += heap_in_use() - heap;
	MUST(leaked <= 16384);
	return 0;
}
