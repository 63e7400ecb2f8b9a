/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Traffic for benchmarks, with as little of its own as possible:
 *
 *     traffic serve PORT                                serves the three below, until killed
 *     traffic send ADDRESS PORT SECONDS [ISN]           bulk to the server: prints bytes per second
 *     traffic receive ADDRESS PORT SECONDS [ISN]        bulk from the server: the same
 *     traffic connect ADDRESS PORT SECONDS [ISN]        connections, 16 at a time: their rate
 *     traffic flood ADDRESS PORT SECONDS ISN            SYNs from many addresses: prints their rate
 *     traffic discard QUEUE SECONDS                     a queue's consumer that accepts everything
 *
 * ISN, in hex, is set with TCP_REPAIR: an authorised client where the TSval is known to be 0. */
#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "core/packet.h"
#include "core/segment_build.h"
#include "io/queue.h"

enum { BLOCK = 256 * 1024, FLOOD_BATCH = 64, CLIENTS = 16 };

static uint8_t block[BLOCK];

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		fail(address);
	return to;
}

/* What the first byte of a connection asks for. */
static void *serve_one(void *argument)
{
	int peer = (int)(intptr_t)argument;
	char wish = 0;

	if (read(peer, &wish, 1) == 1 && wish == 'C')
		(void)!write(peer, "C", 1);
	while (wish == 'S' && read(peer, block, sizeof(block)) > 0)
		continue;
	while (wish == 'R' && write(peer, block, sizeof(block)) > 0)
		continue;
	close(peer);
	return NULL;
}

static void serve(const char *port)
{
	struct sockaddr_in at = address_of("0.0.0.0", port);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	int on = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(listener, 4096) != 0)
		fail("listen");
	for (;;) {
		pthread_t thread;
		int peer = accept(listener, NULL, NULL);
		struct pollfd polled = {.fd = peer, .events = POLLIN};
		char wish = 0;
		if (peer < 0)
			continue;
		/* Short ones are served here: a thread for each would be what is measured. */
		poll(&polled, 1, 1000);
		if (recv(peer, &wish, 1, MSG_PEEK | MSG_DONTWAIT) == 1 && wish == 'C')
			serve_one((void *)(intptr_t)peer);
		else if (pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)peer) == 0)
			pthread_detach(thread);
	}
}

static void set_isn(int client, const char *hex)
{
	int on = 1, queue = TCP_SEND_QUEUE, off = TCP_REPAIR_OFF_NO_WP;
	uint32_t isn = (uint32_t)strtoul(hex, NULL, 16);

	if (setsockopt(client, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)) != 0 ||
	    setsockopt(client, IPPROTO_TCP, TCP_REPAIR_QUEUE, &queue, sizeof(queue)) != 0 ||
	    setsockopt(client, IPPROTO_TCP, TCP_QUEUE_SEQ, &isn, sizeof(isn)) != 0 ||
	    setsockopt(client, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)) != 0)
		fail("TCP_REPAIR");
}

static int open_connection(const struct sockaddr_in *to, const char *isn, char wish)
{
	int client = socket(AF_INET, SOCK_STREAM, 0);

	if (isn != NULL)
		set_isn(client, isn);
	if (connect(client, (const struct sockaddr *)to, sizeof(*to)) != 0 ||
	    write(client, &wish, 1) != 1)
		fail("connect");
	return client;
}

static double bulk(const struct sockaddr_in *to, const char *isn, double seconds, char wish)
{
	int client = open_connection(to, isn, wish);
	double start = now();
	double bytes = 0;

	while (now() - start < seconds) {
		ssize_t moved = wish == 'S' ? write(client, block, sizeof(block))
					    : read(client, block, sizeof(block));
		if (moved <= 0)
			fail("transfer");
		bytes += (double)moved;
	}
	double took = now() - start;
	close(client);
	return bytes / took;
}

struct client {
	pthread_t thread;
	const struct sockaddr_in *to;
	const char *isn;
	double end;
	unsigned int count;
};

static void *connect_again_and_again(void *argument)
{
	struct client *client = argument;
	char byte;

	while (now() < client->end) {
		int peer = open_connection(client->to, client->isn, 'C');
		/* The server closes first, so that the port is free again at once. */
		while (read(peer, &byte, 1) > 0)
			continue;
		close(peer);
		client->count++;
	}
	return NULL;
}

static double connections(const struct sockaddr_in *to, const char *isn, double seconds)
{
	struct client clients[CLIENTS];
	double start = now();
	double count = 0;

	for (unsigned int i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){.to = to, .isn = isn, .end = start + seconds};
		if (pthread_create(&clients[i].thread, NULL, connect_again_and_again,
				   &clients[i]) != 0)
			fail("pthread_create");
	}
	for (unsigned int i = 0; i < CLIENTS; i++) {
		pthread_join(clients[i].thread, NULL);
		count += clients[i].count;
	}
	return count / (now() - start);
}

static void next_client(struct segment_plan *plan, uint32_t number)
{
	plan->tuple.source.address[0] = 10;
	plan->tuple.source.address[1] = 9;
	plan->tuple.source.address[2] = (uint8_t)(number >> 8);
	plan->tuple.source.address[3] = (uint8_t)number;
	plan->tuple.source.port = (uint16_t)(1024 + (number >> 16));
}

static double flood(const struct sockaddr_in *to, const char *isn, double seconds)
{
	static uint8_t packets[FLOOD_BATCH][SEGMENT_HEADERS_MAX];
	struct mmsghdr messages[FLOOD_BATCH] = {0};
	struct iovec vectors[FLOOD_BATCH];
	struct segment_plan plan = {.sequence = (uint32_t)strtoul(isn, NULL, 16),
				    .flags = TCP_SYN,
				    .window = 64240,
				    .hop_limit = 64};
	int raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	double start = now();
	uint32_t number = 0;

	if (raw < 0)
		fail("raw socket");
	plan.tuple.source.family = plan.tuple.destination.family = FAMILY_IPV4;
	memcpy(plan.tuple.destination.address, &to->sin_addr, 4);
	plan.tuple.destination.port = ntohs(to->sin_port);
	while (now() - start < seconds) {
		for (unsigned int i = 0; i < FLOOD_BATCH; i++) {
			next_client(&plan, number++);
			vectors[i].iov_base = packets[i];
			vectors[i].iov_len = segment_build(&plan, packets[i], sizeof(packets[i]));
			messages[i].msg_hdr = (struct msghdr){.msg_name = (void *)(uintptr_t)to,
							      .msg_namelen = sizeof(*to),
							      .msg_iov = &vectors[i],
							      .msg_iovlen = 1};
		}
		sendmmsg(raw, messages, FLOOD_BATCH, 0);
	}
	close(raw);
	return number / (now() - start);
}

static void accept_packet(void *context, struct queue_packet *packet)
{
	queue_verdict(context, packet->id, NF_ACCEPT, NULL, NULL, 0);
}

/* The least that a consumer of a queue can do, with the queue's parameters of the protect role. */
static void discard(const char *number, double seconds)
{
	const struct queue_options options = {
		.number = (uint16_t)atoi(number), .copy_range = 256, .max_length = 8192};
	char error[QUEUE_ERROR_SIZE];
	struct queue *queue = queue_open(&options, error);
	double start = now();

	if (queue == NULL) {
		fprintf(stderr, "%s\n", error);
		exit(EXIT_FAILURE);
	}
	puts("ready");
	fflush(stdout);
	while (now() - start < seconds) {
		struct pollfd polled = {.fd = queue_fd(queue), .events = POLLIN};
		if (poll(&polled, 1, 100) > 0)
			queue_receive(queue, accept_packet, queue);
	}
	queue_close(queue);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	const char *isn = argc > 5 ? argv[5] : NULL;

	signal(SIGPIPE, SIG_IGN);
	if (strcmp(what, "serve") == 0 && argc == 3) {
		serve(argv[2]);
	} else if (strcmp(what, "discard") == 0 && argc == 4) {
		discard(argv[2], atof(argv[3]));
	} else if (argc >= 5) {
		struct sockaddr_in to = address_of(argv[2], argv[3]);
		double seconds = atof(argv[4]);
		double rate = 0;
		if (strcmp(what, "send") == 0 || strcmp(what, "receive") == 0)
			rate = bulk(&to, isn, seconds, what[0] == 's' ? 'S' : 'R');
		else if (strcmp(what, "connect") == 0)
			rate = connections(&to, isn, seconds);
		else if (strcmp(what, "flood") == 0 && isn != NULL)
			rate = flood(&to, isn, seconds);
		printf("%.0f\n", rate);
	} else {
		return EXIT_FAILURE;
	}
	return EXIT_SUCCESS;
}
