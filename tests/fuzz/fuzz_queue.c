/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any bytes as netlink messages of nfnetlink_queue: a packet is found inside its message only. */
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>

#include "fuzz.h"
#include "io/queue.h"
#include "io/ruleset_watch.h"

struct bounds {
	const uint8_t *start;
	const uint8_t *end;
	uint64_t packets;
};

static void check(void *context, struct queue_packet *packet)
{
	struct bounds *bounds = context;

	bounds->packets++;
	if (packet->payload == NULL) {
		MUST(packet->length == 0);
		return;
	}
	MUST(packet->payload >= bounds->start && packet->payload + packet->length <= bounds->end);
	/* It may be written to. */
	memset(packet->payload, 0xa5, packet->length);
}

static void walk(uint8_t *bytes, size_t length)
{
	struct bounds bounds = {bytes, bytes + length, 0};
	struct queue_counters counters = {0};

	struct ruleset_change change;

	/* It only looks; the walk over packets writes. */
	ruleset_watch_parse(bytes, length, &change);
	MUST(memchr(change.who, '\0', sizeof(change.who)) != NULL);
	queue_take_datagram(&counters, bytes, length, check, &bounds);
	MUST(counters.packets == bounds.packets);
	MUST(counters.packets_gone <= counters.verdict_errors);
	/* Every message is one or the other. */
	MUST(counters.packets + counters.malformed + counters.verdict_errors <= length / 16 + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size + sizeof(struct nlmsghdr));

	if (bytes == NULL || size > 65536) {
		free(bytes);
		return -1;
	}
	/* As it is, and as the attributes of one message whose header is right. */
	memcpy(bytes, data, size);
	walk(bytes, size);
	struct nlmsghdr *message = (struct nlmsghdr *)(void *)bytes;
	*message = (struct nlmsghdr){.nlmsg_len = (uint32_t)(size + sizeof(*message)),
				     .nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET};
	if (size > 0)
		memcpy(bytes + sizeof(*message), data, size);
	walk(bytes, size + sizeof(*message));
	free(bytes);
	return 0;
}
