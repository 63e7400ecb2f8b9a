/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Netlink messages of nfnetlink_queue, made by libmnl as the kernel makes them, and damaged. */
#include "io/queue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>

#include "support.h"

static _Alignas(8) uint8_t buffer[4096];

static struct nlmsghdr *begin(void)
{
	memset(buffer, 0, sizeof(buffer));
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET;
	mnl_nlmsg_put_extra_header(message, sizeof(struct nfgenmsg));
	return message;
}

static void put_start(struct nlmsghdr *message)
{
	const struct nfqnl_msg_packet_hdr start = {.packet_id = htonl(0x01020304), .hook = 4};

	mnl_attr_put(message, NFQA_PACKET_HDR, sizeof(start), &start);
}

static struct nlmsghdr *whole(void)
{
	struct nlmsghdr *message = begin();

	put_start(message);
	mnl_attr_put_u32(message, NFQA_MARK, htonl(0x30000007));
	mnl_attr_put_u32(message, NFQA_IFINDEX_INDEV, htonl(3));
	mnl_attr_put_u32(message, NFQA_IFINDEX_OUTDEV, htonl(5));
	mnl_attr_put_u32(message, NFQA_SKB_INFO, htonl(NFQA_SKB_CSUMNOTREADY | NFQA_SKB_GSO));
	mnl_attr_put(message, NFQA_PAYLOAD, 5, "bytes");
	return message;
}

START_TEST(takes_a_packet)
{
	struct queue_packet packet;

	ck_assert(queue_parse(whole(), &packet));
	ck_assert_uint_eq(packet.id, 0x01020304);
	ck_assert_uint_eq(packet.hook, 4);
	ck_assert_uint_eq(packet.mark, 0x30000007);
	ck_assert_uint_eq(packet.indev, 3);
	ck_assert_uint_eq(packet.outdev, 5);
	ck_assert(packet.checksum_not_ready && packet.unsegmented);
	ck_assert_uint_eq(packet.length, 5);
	ck_assert_mem_eq(packet.payload, "bytes", 5);
}
END_TEST

START_TEST(does_without_what_is_optional)
{
	struct nlmsghdr *message = begin();
	struct queue_packet packet;

	put_start(message);
	mnl_attr_put(message, NFQA_PAYLOAD, 0, "");
	ck_assert(queue_parse(message, &packet));
	ck_assert_uint_eq(packet.mark + packet.indev + packet.outdev, 0);
	ck_assert(!packet.checksum_not_ready && !packet.unsegmented);
	ck_assert_uint_eq(packet.length, 0);
}
END_TEST

/* What has an id can be given a verdict. */
START_TEST(takes_a_packet_without_its_bytes)
{
	struct nlmsghdr *message = begin();
	struct queue_packet packet;

	put_start(message);
	ck_assert(queue_parse(message, &packet));
	ck_assert_ptr_null(packet.payload);
	ck_assert_uint_eq(packet.length, 0);
}
END_TEST

START_TEST(refuses_what_makes_no_sense)
{
	struct queue_packet packet;
	struct nlmsghdr *message = begin();

	ck_assert(!queue_parse(message, &packet));
	message = begin();
	mnl_attr_put(message, NFQA_PAYLOAD, 5, "bytes");
	ck_assert(!queue_parse(message, &packet));
	mnl_attr_put(message, NFQA_PACKET_HDR, 2, "id");
	ck_assert(!queue_parse(message, &packet));
	message = whole();
	message->nlmsg_len = sizeof(struct nlmsghdr) + 2;
	ck_assert(!queue_parse(message, &packet));
}
END_TEST

/* Whatever one byte says, what comes out lies inside the message. */
START_TEST(any_byte_may_be_wrong)
{
	uint32_t length = whole()->nlmsg_len;

	for (uint32_t i = sizeof(struct nlmsghdr); i < length; i++) {
		for (unsigned int value = 0; value < 256; value++) {
			struct queue_packet packet;
			struct nlmsghdr *message = whole();
			buffer[i] = (uint8_t)value;
			if (!queue_parse(message, &packet))
				continue;
			if (packet.payload == NULL) {
				ck_assert_uint_eq(packet.length, 0);
				continue;
			}
			ck_assert(packet.payload >= buffer);
			ck_assert(packet.payload + packet.length <= buffer + length);
		}
	}
}
END_TEST

static void count_packet(void *context, struct queue_packet *packet)
{
	ck_assert_uint_eq(packet->length, 5);
	++*(unsigned int *)context;
}

/* A message that claims more than there is, up to a length that looks negative, ends the datagram;
 * those in front of it count. */
START_TEST(messages_of_a_datagram)
{
	const uint32_t lengths[] = {0, 15, 17, 0x1000, 0x7fffffff, 0x80000000, 0xfffffff0};
	uint32_t first = whole()->nlmsg_len;

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct queue_counters counters = {0};
		unsigned int packets = 0;
		struct nlmsghdr *second = (void *)((uint8_t *)whole() + NLMSG_ALIGN(first));
		second->nlmsg_len = lengths[i];
		queue_take_datagram(&counters, buffer, NLMSG_ALIGN(first) + 16, count_packet,
				    &packets);
		ck_assert_uint_eq(packets, 1);
		ck_assert_uint_eq(counters.packets, 1);
		ck_assert_uint_eq(counters.malformed, 1);
	}
}
END_TEST

START_TEST(errors_are_counted)
{
	struct queue_counters counters = {0};
	struct nlmsghdr *message = mnl_nlmsg_put_header(memset(buffer, 0, sizeof(buffer)));
	struct nlmsgerr *error = mnl_nlmsg_put_extra_header(message, sizeof(*error));

	message->nlmsg_type = NLMSG_ERROR;
	for (int i = 0; i < 3; i++) {
		error->error = (int[]){-ENOENT, -EINVAL, 0}[i];
		queue_take_datagram(&counters, buffer, message->nlmsg_len, count_packet, NULL);
	}
	ck_assert_uint_eq(counters.verdict_errors, 2);
	ck_assert_uint_eq(counters.packets_gone, 1);
	message->nlmsg_len = sizeof(*message) + 2;
	queue_take_datagram(&counters, buffer, sizeof(*message) + 2, count_packet, NULL);
	ck_assert_uint_eq(counters.malformed, 1);
}
END_TEST

RUN_TESTS("queue", takes_a_packet, does_without_what_is_optional, takes_a_packet_without_its_bytes,
	  refuses_what_makes_no_sense, any_byte_may_be_wrong, messages_of_a_datagram,
	  errors_are_counted);
