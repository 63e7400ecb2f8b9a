/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bad network for tests: takes packets from a queue, drops some, delays some behind later ones,
 * and sends some twice.
 *
 *     mangle QUEUE DROP REORDER DUPLICATE SECONDS
 *
 * in packets of 1000. Says "ready" on standard error, and at the end on standard output what it
 * did.
 */
#include <linux/netfilter.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "io/inject.h"
#include "io/queue.h"

enum { HELD_MAX = 64, BEHIND = 3, PATIENCE_MS = 5 };

struct held {
	uint32_t id;
	unsigned int wait; /* packets that still go first */
};

struct mangle {
	struct queue *queue;
	struct inject *inject;
	unsigned int drop, reorder, duplicate;
	unsigned int packets, dropped, reordered, duplicated;
	struct held held[HELD_MAX];
	unsigned int held_count;
	uint64_t random;
};

static volatile sig_atomic_t stopped;

static void on_stop(int signal)
{
	(void)signal;
	stopped = 1;
}

static bool chance(struct mangle *mangle, unsigned int per_thousand)
{
	mangle->random = mangle->random * 6364136223846793005U + 1442695040888963407U;
	return (mangle->random >> 33) % 1000 < per_thousand;
}

/* Lets go those that waited long enough; all of them with everything set. */
static void release(struct mangle *mangle, bool everything)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < mangle->held_count; i++) {
		struct held *held = &mangle->held[i];
		if (everything || --held->wait == 0)
			queue_verdict(mangle->queue, held->id, NF_ACCEPT, NULL, NULL, 0);
		else
			mangle->held[kept++] = *held;
	}
	mangle->held_count = kept;
}

static void take(void *context, struct queue_packet *packet)
{
	struct mangle *mangle = context;

	mangle->packets++;
	if (chance(mangle, mangle->drop)) {
		mangle->dropped++;
		queue_verdict(mangle->queue, packet->id, NF_DROP, NULL, NULL, 0);
		return;
	}
	if (mangle->held_count < HELD_MAX && chance(mangle, mangle->reorder)) {
		mangle->reordered++;
		mangle->held[mangle->held_count++] = (struct held){packet->id, BEHIND};
		return;
	}
	queue_verdict(mangle->queue, packet->id, NF_ACCEPT, NULL, NULL, 0);
	if (chance(mangle, mangle->duplicate) &&
	    inject_packet(mangle->inject, packet->payload, packet->length) == 0)
		mangle->duplicated++;
	release(mangle, false);
}

static void serve(struct mangle *mangle, time_t seconds)
{
	struct pollfd polled = {.fd = queue_fd(mangle->queue), .events = POLLIN};
	time_t end = time(NULL) + seconds;

	while (!stopped && time(NULL) < end) {
		if (poll(&polled, 1, PATIENCE_MS) == 0)
			release(mangle, true);
		else if (queue_receive(mangle->queue, take, mangle) < 0)
			return;
		queue_flush(mangle->queue);
	}
}

int main(int argc, char **argv)
{
	struct mangle mangle = {.random = 4711};
	char error[QUEUE_ERROR_SIZE];

	if (argc != 6)
		return EXIT_FAILURE;
	const struct queue_options options = {
		.number = (uint16_t)atoi(argv[1]), .copy_range = 65535, .max_length = 4096};
	mangle.drop = (unsigned int)atoi(argv[2]);
	mangle.reorder = (unsigned int)atoi(argv[3]);
	mangle.duplicate = (unsigned int)atoi(argv[4]);
	mangle.queue = queue_open(&options, error);
	mangle.inject = inject_open(0);
	if (mangle.queue == NULL || mangle.inject == NULL) {
		fprintf(stderr, "mangle: cannot start\n");
		return EXIT_FAILURE;
	}
	fprintf(stderr, "ready\n");
	signal(SIGTERM, on_stop);
	serve(&mangle, atoi(argv[5]));
	printf("packets=%u dropped=%u reordered=%u duplicated=%u\n", mangle.packets, mangle.dropped,
	       mangle.reordered, mangle.duplicated);
	inject_close(mangle.inject);
	queue_close(mangle.queue);
	return EXIT_SUCCESS;
}
