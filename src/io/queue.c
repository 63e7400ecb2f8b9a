/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "queue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/magic.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	BATCH_PACKETS = 64,
	MESSAGE_ROOM = 1024, /* netlink headers and attributes around a packet */
	VERDICT_ROOM = 128,  /* a verdict without its payload */
	VERDICT_BYTES = 100 * 1024,
	SOCKET_BUFFER = 8 * 1024 * 1024,
	/* A batch of 64 kB packets should stay in a processor's own cache. */
	BATCH_BYTES = 512 * 1024,
};

struct queue {
	struct mnl_socket *socket;
	uint16_t number;
	uint32_t copy_range;
	unsigned int batch; /* packets in one receive */
	size_t slot;        /* bytes for one message */
	uint8_t *messages;
	struct mmsghdr headers[BATCH_PACKETS];
	struct iovec vectors[BATCH_PACKETS];
	/* Verdicts that wait to be sent: a header each, and for some a payload and its padding. */
	struct iovec verdict_vectors[3 * BATCH_PACKETS];
	uint8_t verdict_headers[BATCH_PACKETS][VERDICT_ROOM];
	unsigned int verdicts;
	unsigned int vectors_used;
	size_t verdict_bytes;
	struct queue_counters counters;
};

const struct queue_counters *queue_counters(const struct queue *queue)
{
	return &queue->counters;
}

int queue_fd(const struct queue *queue)
{
	return mnl_socket_get_fd(queue->socket);
}

/* Packets are handed over as they are, unsegmented; a full queue drops (no NFQA_CFG_F_FAIL_OPEN).
 * All in one message: a queue that is bound but not yet told how would hand packets over without
 * their bytes. */
static int bind_queue(struct queue *queue, const struct queue_options *options)
{
	char buffer[256];
	struct nlmsghdr *message = nfq_nlmsg_put(buffer, NFQNL_MSG_CONFIG, queue->number);

	message->nlmsg_flags |= NLM_F_ACK;
	nfq_nlmsg_cfg_put_cmd(message, AF_UNSPEC, NFQNL_CFG_CMD_BIND);
	nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, (int)options->copy_range);
	mnl_attr_put_u32(message, NFQA_CFG_FLAGS, htonl(NFQA_CFG_F_GSO));
	mnl_attr_put_u32(message, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
	mnl_attr_put_u32(message, NFQA_CFG_QUEUE_MAXLEN, htonl(options->max_length));
	return mnl_socket_sendto(queue->socket, message, message->nlmsg_len) < 0 ? errno : 0;
}

/* mnl_nlmsg_ok takes a length above 2 GB for a negative one, and mnl_nlmsg_next then walks
 * backwards. */
static bool message_fits(const struct nlmsghdr *message, size_t left)
{
	return left >= sizeof(*message) && message->nlmsg_len >= sizeof(*message) &&
	       message->nlmsg_len <= left;
}

/* Waits for what the kernel says about the binding. Returns an errno. Packets may come first; their
 * worker does not run yet, and whoever sent them sends them again. */
static int await_binding(struct queue *queue)
{
	const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)queue->messages;
	struct queue_packet packet;

	for (;;) {
		ssize_t length = mnl_socket_recvfrom(queue->socket, queue->messages, queue->slot);
		if (length < 0 && errno != EINTR)
			return errno;
		if (length < 0 || !message_fits(message, (size_t)length))
			continue;
		if (message->nlmsg_type == NLMSG_ERROR)
			return mnl_cb_run(message, (size_t)length, 0,
					  mnl_socket_get_portid(queue->socket), NULL, NULL) < 0
				       ? errno
				       : 0;
		if (queue_parse(message, &packet))
			queue_verdict(queue, packet.id, NF_DROP, NULL, NULL, 0);
		queue_flush(queue);
	}
}

static void grow_buffer(int fd, int force, int fallback)
{
	int size = SOCKET_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)) != 0)
		setsockopt(fd, SOL_SOCKET, fallback, &size, sizeof(size));
}

static void tune_socket(const struct queue *queue)
{
	int fd = queue_fd(queue);
	int on = 1;

	grow_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	grow_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	/* An overrun then shows in the kernel's counters alone. ENOBUFS on a socket that goes on
	 * receiving anyway would only cost system calls when they are scarce. */
	setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
	/* Errors need not carry the verdict, with its payload, back to us. */
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
}

static bool make_room(struct queue *queue, uint32_t copy_range)
{
	/* Netlink headers are read in place, so every slot must be aligned. */
	size_t slot = (copy_range + MESSAGE_ROOM) / NLMSG_ALIGNTO * NLMSG_ALIGNTO;
	unsigned int batch = (unsigned int)(BATCH_BYTES / slot);

	if (batch > BATCH_PACKETS)
		batch = BATCH_PACKETS;
	uint8_t *messages = malloc(batch * slot);
	if (messages == NULL)
		return false;
	free(queue->messages);
	queue->messages = messages;
	queue->copy_range = copy_range;
	queue->slot = slot;
	queue->batch = batch;
	for (unsigned int i = 0; i < queue->batch; i++) {
		queue->vectors[i].iov_base = queue->messages + i * queue->slot;
		queue->vectors[i].iov_len = queue->slot;
		queue->headers[i].msg_hdr.msg_iov = &queue->vectors[i];
		queue->headers[i].msg_hdr.msg_iovlen = 1;
	}
	return true;
}

void queue_widen(struct queue *queue, uint32_t copy_range)
{
	char buffer[256];

	if (copy_range <= queue->copy_range || !make_room(queue, copy_range))
		return;
	/* No acknowledgement is awaited, since packets may come before it. */
	struct nlmsghdr *message = nfq_nlmsg_put(buffer, NFQNL_MSG_CONFIG, queue->number);
	nfq_nlmsg_cfg_put_params(message, NFQNL_COPY_PACKET, (int)copy_range);
	if (mnl_socket_sendto(queue->socket, message, message->nlmsg_len) < 0)
		counter_add(&queue->counters.verdict_errors, 1);
}

static int start(struct queue *queue, const struct queue_options *options)
{
	queue->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (queue->socket == NULL || mnl_socket_bind(queue->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return errno;
	tune_socket(queue);
	if (!make_room(queue, options->copy_range))
		return ENOMEM;
	int failure = bind_queue(queue, options);
	return failure != 0 ? failure : await_binding(queue);
}

struct queue *queue_open(const struct queue_options *options, char error[static QUEUE_ERROR_SIZE])
{
	struct queue *queue = calloc(1, sizeof(*queue));

	if (queue == NULL) {
		snprintf(error, QUEUE_ERROR_SIZE, "out of memory");
		return NULL;
	}
	queue->number = options->number;
	int failure = start(queue, options);
	if (failure == 0)
		return queue;
	snprintf(error, QUEUE_ERROR_SIZE, "queue %u: %s", options->number,
		 failure == EBUSY || failure == EPERM
			 ? "in use by another process, or CAP_NET_ADMIN is missing"
			 : strerror(failure));
	queue_close(queue);
	return NULL;
}

void queue_close(struct queue *queue)
{
	if (queue == NULL)
		return;
	if (queue->socket != NULL)
		mnl_socket_close(queue->socket);
	free(queue->messages);
	free(queue);
}

struct attributes {
	const struct nlattr *of[NFQA_MAX + 1];
};

static int collect_attribute(const struct nlattr *attribute, void *context)
{
	struct attributes *attributes = context;
	uint16_t type = mnl_attr_get_type(attribute);

	if (type <= NFQA_MAX)
		attributes->of[type] = attribute;
	return MNL_CB_OK;
}

/* A 32-bit attribute in network order; 0 when it is not there or has another size. */
static uint32_t attribute32(const struct attributes *attributes, enum nfqnl_attr_type type)
{
	const struct nlattr *attribute = attributes->of[type];

	if (attribute == NULL || mnl_attr_get_payload_len(attribute) != sizeof(uint32_t))
		return 0;
	return ntohl(mnl_attr_get_u32(attribute));
}

bool queue_parse(const struct nlmsghdr *message, struct queue_packet *packet)
{
	struct attributes attributes = {0};
	struct nfqnl_msg_packet_hdr header;
	size_t length = mnl_nlmsg_get_payload_len(message);

	/* Not mnl_attr_parse: it lets the last attribute reach into the padding behind the message.
	 */
	if (length < sizeof(struct nfgenmsg) ||
	    mnl_attr_parse_payload(mnl_nlmsg_get_payload_offset(message, sizeof(struct nfgenmsg)),
				   length - sizeof(struct nfgenmsg), collect_attribute,
				   &attributes) < 0)
		return false;
	const struct nlattr *payload = attributes.of[NFQA_PAYLOAD];
	const struct nlattr *start = attributes.of[NFQA_PACKET_HDR];
	if (start == NULL || mnl_attr_get_payload_len(start) < sizeof(header))
		return false;
	memcpy(&header, mnl_attr_get_payload(start), sizeof(header));
	*packet = (struct queue_packet){
		.id = ntohl(header.packet_id),
		.hook = header.hook,
		.mark = attribute32(&attributes, NFQA_MARK),
		.indev = attribute32(&attributes, NFQA_IFINDEX_INDEV),
		.outdev = attribute32(&attributes, NFQA_IFINDEX_OUTDEV),
		.payload = payload != NULL ? mnl_attr_get_payload(payload) : NULL,
		.length = payload != NULL ? mnl_attr_get_payload_len(payload) : 0,
	};
	uint32_t information = attribute32(&attributes, NFQA_SKB_INFO);
	packet->checksum_not_ready = (information & NFQA_SKB_CSUMNOTREADY) != 0;
	packet->unsegmented = (information & NFQA_SKB_GSO) != 0;
	return true;
}

/* The kernel sends errors for verdicts only; a packet that is gone was dropped with its interface
 * or its ruleset. */
static void count_error(struct queue_counters *counters, const struct nlmsghdr *message)
{
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(message);

	if (mnl_nlmsg_get_payload_len(message) < sizeof(*error)) {
		counter_add(&counters->malformed, 1);
		return;
	}
	if (error->error == 0)
		return;
	counter_add(&counters->verdict_errors, 1);
	if (error->error == -ENOENT)
		counter_add(&counters->packets_gone, 1);
}

void queue_take_datagram(struct queue_counters *counters, const uint8_t *bytes, size_t length,
			 void (*packet)(void *context, struct queue_packet *packet), void *context)
{
	const uint16_t packet_type = NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET;
	struct queue_packet parsed;

	while (length > 0) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)bytes;
		if (!message_fits(message, length)) {
			counter_add(&counters->malformed, 1);
			return;
		}
		if (message->nlmsg_type == NLMSG_ERROR)
			count_error(counters, message);
		else if (message->nlmsg_type != packet_type || !queue_parse(message, &parsed))
			counter_add(&counters->malformed, 1);
		else {
			counter_add(&counters->packets, 1);
			packet(context, &parsed);
		}
		size_t step = NLMSG_ALIGN((size_t)message->nlmsg_len);
		bytes += step < length ? step : length;
		length -= step < length ? step : length;
	}
}

static uint64_t now_nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int queue_receive(struct queue *queue, void (*packet)(void *context, struct queue_packet *packet),
		  void *context)
{
	int received = recvmmsg(queue_fd(queue), queue->headers, queue->batch, MSG_DONTWAIT, NULL);

	if (received < 0) {
		if (errno == ENOBUFS)
			counter_add(&queue->counters.overruns, 1);
		return errno == ENOBUFS || errno == EINTR || errno == EAGAIN ? 0 : -1;
	}
	uint64_t begin = now_nanoseconds();
	uint64_t packets = counter_read(&queue->counters.packets);
	counter_add(&queue->counters.batches, 1);
	for (int i = 0; i < received; i++) {
		/* A message that was cut short has an id at its start, but a packet that cannot be
		 * given back whole: the kernel keeps it until it is dropped with the queue. */
		if ((queue->headers[i].msg_hdr.msg_flags & MSG_TRUNC) != 0)
			counter_add(&queue->counters.malformed, 1);
		else
			queue_take_datagram(&queue->counters, queue->vectors[i].iov_base,
					    queue->headers[i].msg_len, packet, context);
	}
	queue_flush(queue);
	packets = counter_read(&queue->counters.packets) - packets;
	histogram_add(&queue->counters.durations, now_nanoseconds() - begin, packets);
	return received;
}

/* Adds one piece to what is sent next. */
static void push(struct queue *queue, const void *bytes, size_t length)
{
	queue->verdict_vectors[queue->vectors_used++] =
		(struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
	queue->verdict_bytes += length;
}

static size_t padded_length(size_t length)
{
	return (length + 3) & ~(size_t)3;
}

void queue_verdict(struct queue *queue, uint32_t id, uint32_t verdict, const uint32_t *mark,
		   const uint8_t *payload, size_t length)
{
	static const uint8_t padding[4];

	if (queue->verdicts == BATCH_PACKETS ||
	    (queue->verdicts > 0 && queue->verdict_bytes + length > VERDICT_BYTES))
		queue_flush(queue);
	uint8_t *header = queue->verdict_headers[queue->verdicts++];
	struct nlmsghdr *message = nfq_nlmsg_put((char *)header, NFQNL_MSG_VERDICT, queue->number);
	nfq_nlmsg_verdict_put(message, (int)id, (int)verdict);
	if (mark != NULL)
		nfq_nlmsg_verdict_put_mark(message, *mark);
	if (payload == NULL) {
		push(queue, message, message->nlmsg_len);
		return;
	}
	/* The payload attribute is only begun here: its bytes are sent from where they are. */
	struct nlattr *attribute = mnl_nlmsg_get_payload_tail(message);
	attribute->nla_type = NFQA_PAYLOAD;
	attribute->nla_len = (uint16_t)(sizeof(struct nlattr) + length);
	size_t begun = message->nlmsg_len + sizeof(struct nlattr);
	message->nlmsg_len += (uint32_t)(sizeof(struct nlattr) + padded_length(length));
	push(queue, message, begun);
	push(queue, payload, length);
	if (padded_length(length) != length)
		push(queue, padding, padded_length(length) - length);
}

void queue_flush(struct queue *queue)
{
	struct msghdr header = {.msg_iov = queue->verdict_vectors,
				.msg_iovlen = queue->vectors_used};
	ssize_t sent;

	if (queue->verdicts == 0)
		return;
	do
		sent = sendmsg(queue_fd(queue), &header, 0);
	while (sent < 0 && (errno == EINTR || errno == EAGAIN));
	if (sent < 0)
		counter_add(&queue->counters.verdict_errors, queue->verdicts);
	queue->verdicts = 0;
	queue->vectors_used = 0;
	queue->verdict_bytes = 0;
}

static const char statistics_path[] = "/proc/net/netfilter/nfnetlink_queue";
static FILE *statistics;

/* Any message for it loads the kernel's module, and only then the file is there. This one has no
 * effect of its own: NFQNL_CFG_CMD_PF_UNBIND is obsolete (nfqnl_recv_config). */
static void load_module(void)
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	char buffer[256];
	struct nlmsghdr *message = nfq_nlmsg_put(buffer, NFQNL_MSG_CONFIG, 0);

	if (socket == NULL)
		return;
	nfq_nlmsg_cfg_put_cmd(message, AF_UNSPEC, NFQNL_CFG_CMD_PF_UNBIND);
	mnl_socket_sendto(socket, message, message->nlmsg_len);
	mnl_socket_close(socket);
}

bool queue_statistics_open(void)
{
	struct statfs status;

	if (statistics == NULL && access(statistics_path, F_OK) != 0)
		load_module();
	if (statistics == NULL)
		statistics = fopen(statistics_path, "re");
	if (statistics == NULL && fstatfs(STDIN_FILENO, &status) == 0 &&
	    status.f_type == PROC_SUPER_MAGIC)
		statistics = fdopen(STDIN_FILENO, "r");
	return statistics != NULL;
}

bool queue_kernel_counters(uint16_t number, struct queue_kernel_counters *counters)
{
	/* queue_number peer_portid waiting copy_mode copy_range dropped user_dropped id 1 */
	bool found = false;
	char line[256];
	unsigned int listed;

	if (!queue_statistics_open())
		return false;
	rewind(statistics);
	while (!found && fgets(line, sizeof(line), statistics) != NULL)
		found = sscanf(line, "%u %*u %u %*u %*u %u %u", &listed, &counters->waiting,
			       &counters->dropped, &counters->user_dropped) == 4 &&
			listed == number;
	return found;
}
