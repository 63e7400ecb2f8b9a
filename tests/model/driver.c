/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engines as a filter, for the model beside this file: orders on standard input, one a line,
 * and for each packet a line that says what the engine did with it.
 *
 *   service N ADDRESS PORT SECRET…   pieces N ADDRESS PORT SECRET…   (hex; pieces: may come in
 * several) destination ADDRESS LENGTH PORT SECRET   (then "begin")
 *   protect|client|server|from-wire|to-wire MILLISECONDS PACKET
 *   from-client|from-server MILLISECONDS PACKET   tick MILLISECONDS
 *
 * Answers: "VERDICT PEER-SEQUENCE PACKET", or "not-asked"; to the last three before that what the
 * engine wants done, "to-client PACKET", "to-server PACKET", "verify" or "forget", and to a tick
 * "done". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/destination.h"
#include "core/egress.h"
#include "core/flow.h"
#include "core/protect.h"
#include "core/replay.h"

enum { ROWS = 16, KEYS = 4, FLOWS = 256, HOLDS = 64, PACKET_SIZE = 16384, WORDS = 8 };
enum { PENDING_TIMEOUT = 20 }; /* seconds, known to stream_model.py */

static struct service services[ROWS];
static struct service_row service_rows[ROWS];
static struct key keys[ROWS][KEYS];
static size_t service_count;
static struct destination destinations[ROWS];
static struct destination_row destination_rows[ROWS];
static struct key destination_keys[ROWS];
static size_t destination_count;

static struct replay *replay;
static struct egress *egress;
static struct protect *protect;
static struct service_table *service_table;
static struct destination_table *destination_table;

static _Noreturn void give_up(const char *why, const char *line)
{
	fprintf(stderr, "driver: %s: %s\n", why, line);
	exit(EXIT_FAILURE);
}

static size_t unhex(uint8_t *bytes, size_t size, const char *text)
{
	size_t length = strlen(text) / 2;

	if (length > size)
		give_up("too long", text);
	for (size_t i = 0; i < length; i++)
		if (sscanf(text + 2 * i, "%2hhx", &bytes[i]) != 1)
			give_up("not hex", text);
	return length;
}

static struct endpoint endpoint_of(const char *address, const char *port)
{
	struct endpoint endpoint;

	if (!endpoint_parse_address(&endpoint, address))
		give_up("no address", address);
	endpoint.port = (uint16_t)atoi(port);
	return endpoint;
}

static void read_key(struct key *key, const char *hex)
{
	uint8_t bytes[256];
	bool truncated;

	secret_from_bytes(&key->secret, bytes, unhex(bytes, sizeof(bytes), hex), &truncated);
}

static void add_service(char **words, size_t count)
{
	struct service *service = &services[service_count];

	if (service_count == ROWS || count < 5)
		give_up("bad service", words[0]);
	service->reassemble = strcmp(words[0], "pieces") == 0;
	service->pending_timeout = service->reassemble ? PENDING_TIMEOUT : 0;
	service->integrity = (uint16_t)atoi(words[1]);
	service->keys = keys[service_count];
	service->key_count = count - 4;
	for (size_t i = 4; i < count; i++)
		read_key(&keys[service_count][i - 4], words[i]);
	service_rows[service_count].endpoint = endpoint_of(words[2], words[3]);
	service_rows[service_count++].service = service;
}

static void add_destination(char **words, size_t count)
{
	struct destination_row *row = &destination_rows[destination_count];

	if (destination_count == ROWS || count != 5)
		give_up("bad destination", words[0]);
	read_key(&destination_keys[destination_count], words[4]);
	destinations[destination_count].key = &destination_keys[destination_count];
	row->prefix.base = endpoint_of(words[1], words[3]);
	row->prefix.length = (uint8_t)atoi(words[2]);
	row->destination = &destinations[destination_count++];
}

static void print_bytes(const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static void print_action(void *context, const struct protect_action *action)
{
	static const char *const words[] = {
		[PROTECT_TO_CLIENT] = "to-client ",
		[PROTECT_TO_SERVER] = "to-server ",
		[PROTECT_VERIFY] = "verify",
		[PROTECT_FORGET] = "forget",
		[PROTECT_SHUT] = "shut",
	};
	static uint8_t bytes[PACKET_SIZE];

	(void)context;
	printf("%s", words[action->kind]);
	print_bytes(bytes,
		    action->plan != NULL ? segment_build(action->plan, bytes, sizeof(bytes)) : 0);
}

static void begin(void)
{
	static const struct protect_options options = {
		.capacity = FLOWS, .holds = HOLDS, .output = {.act = print_action}};
	static const uint8_t hash_key[16] = {7};
	const struct table_layout layout = flow_table_layout(FLOWS);
	void *memory = aligned_alloc(4096, (table_size(&layout) + 4095) / 4096 * 4096);

	service_table = service_table_new(service_rows, service_count);
	destination_table = destination_table_new(destination_rows, destination_count);
	replay = replay_new(service_table, FLOWS);
	protect = protect_new(&options, hash_key, 0);
	egress = egress_new(table_init(memory, &layout, hash_key, 0));
}

static void print_answer(const struct decision *decision, const struct packet *packet)
{
	static const char *const words[] = {
		[VERDICT_CLOSED] = "closed",   [VERDICT_DROP] = "drop",
		[VERDICT_PASS] = "pass",       [VERDICT_VERIFIED] = "verified",
		[VERDICT_PENDING] = "pending", [VERDICT_RESET] = "reset",
		[VERDICT_LOOKUP] = "lookup",   [VERDICT_DELIVER] = "deliver",
	};

	printf("%s %08x ", words[decision->verdict], decision->peer_sequence);
	print_bytes(packet->bytes, packet->length);
}

static void judge_error(const char *order, struct packet *packet)
{
	struct icmp_quote quote;
	struct decision decision = {.verdict = VERDICT_PASS};

	if (icmp_quote_parse(&quote, packet) != REASON_NONE)
		give_up("not an ICMP error", order);
	if (strcmp(order, "from-wire") == 0)
		egress_quote_from_wire(egress, &quote, &decision);
	else
		egress_quote_to_wire(egress, &quote, &decision);
	print_answer(&decision, packet);
}

/* What conntrack knows of the connection is part of the order. */
static bool judge_protected(const char *order, uint64_t now, struct segment *segment,
			    struct decision *decision)
{
	static const struct {
		const char *order;
		bool from_server;
		enum connection_state state;
	} orders[] = {
		{"from-client", false, CONNECTION_UNKNOWN},
		{"on-pending", false, CONNECTION_PENDING},
		{"on-verified", false, CONNECTION_VERIFIED},
		{"from-server", true, CONNECTION_PENDING},
		{"back-on-verified", true, CONNECTION_VERIFIED},
	};
	const struct moment moment = {.steady = now};
	size_t i = 0;

	while (i < sizeof(orders) / sizeof(orders[0]) && strcmp(order, orders[i].order) != 0)
		i++;
	if (i == sizeof(orders) / sizeof(orders[0]))
		return false;
	enum connection_state state = orders[i].state;
	if (orders[i].from_server) {
		protect_reply(protect, service_table, segment, state == CONNECTION_VERIFIED, now,
			      decision);
		return true;
	}
	bool syn = segment_is_initial_syn(segment);
	protect_judge(protect, service_table, segment, state != CONNECTION_UNKNOWN, moment,
		      decision);
	if (syn && decision->verdict == VERDICT_LOOKUP)
		protect_resolve(protect, segment, state, moment, decision);
	return true;
}

static void judge(const char *order, uint64_t now, const char *hex)
{
	static uint8_t bytes[PACKET_SIZE];
	struct packet packet;
	struct segment segment;
	struct decision decision;

	if (packet_parse(&packet, bytes, unhex(bytes, sizeof(bytes), hex)) != REASON_NONE)
		give_up("not a packet", hex);
	if (packet.protocol != PROTOCOL_TCP) {
		judge_error(order, &packet);
		return;
	}
	if (segment_parse(&segment, &packet) != REASON_NONE)
		give_up("not a segment", hex);
	if (strcmp(order, "client") == 0) {
		egress_from_client(egress, destination_table, &segment, now, &decision);
	} else if (strcmp(order, "server") == 0) {
		egress_from_server(egress, destination_table, &segment, now, &decision);
	} else if (judge_protected(order, now, &segment, &decision)) {
		/* All done. */
	} else if (!replay_segment(replay, &segment, (struct moment){.steady = now}, &decision)) {
		puts("not-asked");
		return;
	}
	print_answer(&decision, &packet);
}

static void pass_time(uint64_t now)
{
	protect_tick(protect, now);
	puts("done");
}

static void obey(char *line)
{
	char *words[WORDS];
	char *rest = line;
	size_t count = 0;

	while (count < WORDS && (words[count] = strsep(&rest, " \n")) != NULL &&
	       *words[count] != '\0')
		count++;
	if (count == 0)
		give_up("empty line", "");
	if (strcmp(words[0], "service") == 0 || strcmp(words[0], "pieces") == 0)
		add_service(words, count);
	else if (strcmp(words[0], "destination") == 0)
		add_destination(words, count);
	else if (strcmp(words[0], "begin") == 0)
		begin();
	else if (count == 2 && protect != NULL && strcmp(words[0], "tick") == 0)
		pass_time(strtoull(words[1], NULL, 10));
	else if (count == 3 && replay != NULL)
		judge(words[0], strtoull(words[1], NULL, 10), words[2]);
	else
		give_up("unknown order", words[0]);
}

int main(void)
{
	char *line = NULL;
	size_t room = 0;

	/* Who asks may wait for each answer. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (getline(&line, &room, stdin) > 0)
		obey(line);
	free(line);
	return EXIT_SUCCESS;
}
