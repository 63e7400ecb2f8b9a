/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sequences of segments from both sides, and ICMP errors about them, before the egress engine. The
 * input is a program. Held against each answer: the numbers of both sides are inverses of each
 * other, nothing but numbers changes, a SYN on the wire carries the token that protect accepts. */
#include "core/egress.h"

#include "core/checksum.h"
#include "core/flow.h"
#include "core/segment_build.h"
#include "core/token.h"
#include "fuzz.h"

enum { CAPACITY = 4, TUPLES = 6, STEPS_MAX = 200, ROOM = 4096, SYNS_MAX = 64 };

static struct key key = {.name = "1"};
static struct destination destination = {.name = "fuzz", .key = &key};
static struct destination_table *destinations;
static _Alignas(4096) uint8_t memory[1 << 16];
static struct table *flows;
static struct egress *engine;
/* What was added to the ISNs of a tuple, as its SYNs showed; the engine's own word does not count.
 */
static struct record {
	uint32_t deltas[SYNS_MAX];
	unsigned int count;
} records[TUPLES];
static uint64_t now;
static uint8_t bytes[ROOM];
static uint8_t before[ROOM];

static void make_world(void)
{
	struct destination_row rows[2] = {{.destination = &destination},
					  {.destination = &destination}};
	bool truncated;

	secret_from_bytes(&key.secret, (const uint8_t *)"egress", 6, &truncated);
	MUST(endpoint_parse_address(&rows[0].prefix.base, "192.0.2.0"));
	MUST(endpoint_parse_address(&rows[1].prefix.base, "2001:db8::"));
	rows[0].prefix.length = 24;
	rows[1].prefix.length = 64;
	rows[0].prefix.base.port = rows[1].prefix.base.port = 22;
	destinations = destination_table_new(rows, 2);
}

static struct tuple tuple_of(unsigned int number)
{
	struct tuple tuple;
	bool ipv4 = number % 2 == 0;

	MUST(endpoint_parse_address(&tuple.source, ipv4 ? "198.51.100.1" : "2001:db8:1::1"));
	MUST(endpoint_parse_address(&tuple.destination, ipv4 ? "192.0.2.80" : "2001:db8::80"));
	tuple.source.port = (uint16_t)(40000 + number);
	/* One of them goes elsewhere. */
	tuple.destination.port = number == TUPLES - 1 ? 23 : 22;
	return tuple;
}

static uint32_t pick(const uint32_t *numbers, size_t count, struct input *input)
{
	uint8_t which = take8(input);

	return which < count ? numbers[which] : which < 128 ? which : take32(input);
}

/* Numbers that mean something to the flow, else any. */
static void plan_numbers(struct segment_plan *plan, const struct flow *flow, bool from_client,
			 struct input *input)
{
	uint32_t delta = flow->syn.delta;
	const struct flow_side *client = &flow->sides[FLOW_FROM_CLIENT];
	const struct flow_side *server = &flow->sides[FLOW_FROM_SERVER];
	const uint32_t of_client[] = {flow->syn.isn, flow->syn.isn + 1, client->sent - delta,
				      client->sent - delta + 1, flow->next.isn + 1};
	const uint32_t on_wire[] = {flow->syn.isn + delta + 1, client->sent,
				    flow->next.isn + flow->next.delta + 1};
	const uint32_t of_server[] = {server->sent, server->sent + 1, client->acknowledged, 0x5000};

	plan->sequence = from_client ? pick(of_client, 5, input) : pick(of_server, 4, input);
	plan->acknowledgement = from_client ? pick(of_server, 4, input) : pick(on_wire, 3, input);
}

static size_t build(struct segment_plan *plan, bool from_client, const struct flow *flow,
		    struct input *input)
{
	static const uint8_t flags[] = {TCP_SYN,           TCP_SYN,           TCP_SYN | TCP_ACK,
					TCP_ACK,           TCP_ACK | TCP_FIN, TCP_RST,
					TCP_RST | TCP_ACK, TCP_ACK | TCP_PSH};
	uint8_t how = take8(input);

	plan->flags = (how & 0x80) != 0 ? take8(input) : flags[how & 7];
	plan->options.timestamp = (how & 8) != 0;
	plan->options.tsval = how & 0x10 ? 5 : 6;
	plan->options.sack_permitted = (how & 0x20) != 0;
	plan->options.mss = plan->options.window_scale = (how & 0x40) != 0;
	plan->payload_length = (how & 0x80) != 0 ? take8(input) : 0;
	plan->payload = before;
	plan_numbers(plan, flow, from_client, input);
	size_t length = segment_build(plan, bytes, sizeof(bytes));
	MUST(length > 0);
	return length;
}

/* Overwrites the options by bytes of the input, and puts the checksum right. */
static void spoil_options(struct segment *segment, struct input *input)
{
	uint8_t *options = segment->packet->bytes + segment->options;

	take_bytes(input, options, segment->options_length);
	segment_read_timestamp(segment);
	segment_complete_checksum(segment);
}

static void must_be_same_but(const struct packet *packet, size_t field, size_t length)
{
	size_t checksum = packet->transport + 16;

	for (size_t i = 0; i < packet->length; i++)
		MUST(packet->bytes[i] == before[i] || i - checksum < 2 || i - field < length);
}

static bool is_known(const struct record *record, uint32_t delta)
{
	for (unsigned int i = 0; i < record->count; i++)
		if (record->deltas[i] == delta)
			return true;
	return record->count == SYNS_MAX;
}

static void check_syn(const struct tuple *tuple, const struct segment *was,
		      const struct segment *segment)
{
	const struct flow *flow = table_find(flows, tuple);
	struct record *record = &records[tuple->source.port - 40000];
	uint32_t delta = segment->sequence - was->sequence;

	if (!is_known(record, delta))
		record->deltas[record->count++] = delta;

	MUST(flow != NULL);
	const struct flow_syn *syn =
		flow->has_next && segment->sequence == flow->next.isn + flow->next.delta
			? &flow->next
			: &flow->syn;
	MUST(segment->sequence == syn->isn + syn->delta);
	MUST(segment->sequence == token_auth(&key.secret, &tuple->destination, syn->tsval));
	/* What protect will see is what the token was made for, if there was room to say so. */
	MUST(segment->tsval == syn->tsval || segment->options_length > 28);
	MUST(segment->timestamp == 0 || syn->timestamp != 0);
}

/* An ICMP error about what went out must speak of the number that came in. */
static void check_quote(const struct segment *segment, const uint8_t *original, bool to_wire,
			uint32_t expected)
{
	static uint8_t error[ROOM + 64];
	const struct packet *packet = segment->packet;
	struct packet outer;
	struct icmp_quote quote;
	struct decision decision;
	bool ipv4 = packet->family == FAMILY_IPV4;
	size_t header = ipv4 ? 20 : 40;
	size_t length = header + 8 + packet->length;

	memset(error, 0, header + 8);
	error[0] = ipv4 ? 0x45 : 0x60;
	store16(error + (ipv4 ? 2 : 4), (uint16_t)(length - (ipv4 ? 0 : 40)));
	error[ipv4 ? 9 : 6] = ipv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
	error[header] = ipv4 ? 3 : 2;
	memcpy(error + header + 8, original, packet->length);
	uint64_t sum = ipv4 ? 0
			    : checksum_pseudo(FAMILY_IPV6, error + 8, error + 24, PROTOCOL_ICMPV6,
					      (uint32_t)(length - header));
	store16(error + header + 2,
		checksum_finish(checksum_add(sum, error + header, length - header)));
	MUST(packet_parse(&outer, error, length) == REASON_NONE);
	MUST(icmp_quote_parse(&quote, &outer) == REASON_NONE);
	if (to_wire)
		egress_quote_to_wire(engine, &quote, &decision);
	else
		egress_quote_from_wire(engine, &quote, &decision);
	MUST(decision.reason == REASON_QUOTE_TRANSLATED);
	MUST((to_wire ? quote.acknowledgement : quote.sequence) == expected);
}

static void check_from_client(const struct tuple *tuple, const struct segment *was,
			      const struct segment *segment)
{
	const struct packet *packet = segment->packet;

	if (segment_is_initial_syn(was)) {
		check_syn(tuple, was, segment);
	} else {
		MUST(is_known(&records[tuple->source.port - 40000],
			      segment->sequence - was->sequence));
		const struct flow *flow = table_find(flows, tuple);
		MUST(flow != NULL && segment->sequence == was->sequence + flow->syn.delta);
		must_be_same_but(packet, packet->transport + 4, 4);
	}
	/* Two SYNs of one tuple with one TSval have one token: an error may be about either. */
	const struct flow *flow = table_find(flows, tuple);
	if (!flow->has_next || segment->sequence != flow->next.isn + flow->next.delta)
		check_quote(segment, packet->bytes, false, was->sequence);
}

static void check_from_server(const struct tuple *tuple, const struct segment *was,
			      const struct segment *segment, uint32_t delta, uint32_t next_delta)
{
	const struct packet *packet = segment->packet;
	struct tcp_option_iterator iterator = tcp_option_begin(was);
	struct tcp_option option;
	uint32_t used = was->acknowledgement - segment->acknowledgement;
	const struct tuple back = tuple_reverse(tuple);
	const struct flow *flow = table_find(flows, &back);

	MUST(used == delta || used == next_delta);
	MUST(is_known(&records[tuple->destination.port - 40000], used));
	while (tcp_option_next(&iterator, &option)) {
		size_t edges = option.kind == TCP_OPTION_SACK ? (option.length - 2U) / 4 : 0;
		for (size_t i = 0; i < edges; i++) {
			size_t at = option.offset + 2 + 4 * i;
			MUST(load32(before + at) - load32(packet->bytes + at) == used);
		}
	}
	must_be_same_but(packet, packet->transport + 8, 12 + segment->options_length);
	MUST(packet->bytes[packet->transport + 13] == was->flags);
	if (flow != NULL && used == flow->syn.delta)
		check_quote(segment, packet->bytes, true, was->acknowledgement);
}

static void check_table(void)
{
	uint32_t found = 0;

	for (uint32_t slot = 0; slot < CAPACITY; slot++)
		found += table_slot(flows, slot) != NULL;
	MUST(found == table_count(flows) && found <= CAPACITY);
}

static void give(const struct tuple *tuple, bool from_client, size_t length, bool spoil,
		 struct input *input)
{
	const struct tuple client = from_client ? *tuple : tuple_reverse(tuple);
	const struct flow *flow = table_find(flows, &client);
	struct flow old = flow != NULL ? *flow : (struct flow){0};
	struct packet packet, old_packet;
	struct segment segment, was;
	struct decision decision;

	MUST(packet_parse(&packet, bytes, length) == REASON_NONE);
	MUST(segment_parse(&segment, &packet) == REASON_NONE);
	if (spoil)
		spoil_options(&segment, input);
	memcpy(before, bytes, length);
	MUST(packet_parse(&old_packet, before, length) == REASON_NONE);
	MUST(segment_parse(&was, &old_packet) == REASON_NONE);
	if (from_client)
		egress_from_client(engine, destinations, &segment, now, &decision);
	else
		egress_from_server(engine, destinations, &segment, now, &decision);
	if (decision.verdict != VERDICT_VERIFIED) {
		MUST(!decision.modified && memcmp(bytes, before, length) == 0);
		return;
	}
	MUST(segment_checksum_valid(&segment));
	if (from_client)
		check_from_client(&client, &was, &segment);
	else
		check_from_server(tuple, &was, &segment, old.syn.delta, old.next.delta);
}

static void step(struct input *input)
{
	static const struct flow none;
	uint8_t what = take8(input);
	struct tuple tuple = tuple_of((what >> 3) % TUPLES);
	const struct flow *flow = table_find(flows, &tuple);
	bool from_client = (what & 1) != 0;

	if ((what & 7) == 7) {
		now += 1000U * take16(input);
		for (unsigned int i = 0; i < 4; i++)
			egress_expire(engine, now);
		return;
	}
	struct segment_plan plan = {.tuple = from_client ? tuple : tuple_reverse(&tuple),
				    .window = 5000,
				    .hop_limit = 64};
	size_t length = build(&plan, from_client, flow != NULL ? flow : &none, input);
	give(&plan.tuple, from_client, length, (what & 6) == 6, input);
	check_table();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t hash_key[16] = {1};
	const struct table_layout layout = flow_table_layout(CAPACITY);
	struct input input = {data, size};

	if (destinations == NULL)
		make_world();
	MUST(table_size(&layout) <= sizeof(memory));
	now = 1000;
	memset(records, 0, sizeof(records));
	flows = table_init(memory, &layout, hash_key, now);
	engine = egress_new(flows);
	size_t heap = heap_in_use();
	for (unsigned int i = 0; input.left > 0 && i < STEPS_MAX; i++)
		step(&input);
	MUST(heap_in_use() == heap);
	egress_free(engine);
	return 0;
}
