/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>

struct conntrack {
	struct mnl_socket *socket;
	uint32_t sequence;
};

struct conntrack *conntrack_open(void)
{
	const struct timeval limit = {.tv_sec = 1};
	struct conntrack *conntrack = calloc(1, sizeof(*conntrack));

	if (conntrack == NULL)
		return NULL;
	conntrack->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (conntrack->socket != NULL &&
	    mnl_socket_bind(conntrack->socket, 0, MNL_SOCKET_AUTOPID) == 0 &&
	    setsockopt(mnl_socket_get_fd(conntrack->socket), SOL_SOCKET, SO_RCVTIMEO, &limit,
		       sizeof(limit)) == 0)
		return conntrack;
	int error = errno;
	conntrack_close(conntrack);
	errno = error;
	return NULL;
}

void conntrack_close(struct conntrack *conntrack)
{
	if (conntrack == NULL)
		return;
	if (conntrack->socket != NULL)
		mnl_socket_close(conntrack->socket);
	free(conntrack);
}

static struct nf_conntrack *make_tuple(const struct tuple *tuple)
{
	struct nf_conntrack *ct = nfct_new();

	if (ct == NULL)
		return NULL;
	if (tuple->source.family == FAMILY_IPV4) {
		nfct_set_attr_u8(ct, ATTR_L3PROTO, AF_INET);
		nfct_set_attr(ct, ATTR_IPV4_SRC, tuple->source.address);
		nfct_set_attr(ct, ATTR_IPV4_DST, tuple->destination.address);
	} else {
		nfct_set_attr_u8(ct, ATTR_L3PROTO, AF_INET6);
		nfct_set_attr(ct, ATTR_IPV6_SRC, tuple->source.address);
		nfct_set_attr(ct, ATTR_IPV6_DST, tuple->destination.address);
	}
	nfct_set_attr_u8(ct, ATTR_L4PROTO, IPPROTO_TCP);
	nfct_set_attr_u16(ct, ATTR_PORT_SRC, htons(tuple->source.port));
	nfct_set_attr_u16(ct, ATTR_PORT_DST, htons(tuple->destination.port));
	return ct;
}

/* Which attributes one direction of an entry is made of. */
struct direction {
	enum nf_conntrack_attr source[2]; /* IPv4, IPv6 */
	enum nf_conntrack_attr destination[2];
	enum nf_conntrack_attr source_port;
	enum nf_conntrack_attr destination_port;
};

static const struct direction original_direction = {
	{ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV6_SRC},
	{ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST},
	ATTR_ORIG_PORT_SRC,
	ATTR_ORIG_PORT_DST,
};

static const struct direction reply_direction = {
	{ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC},
	{ATTR_REPL_IPV4_DST, ATTR_REPL_IPV6_DST},
	ATTR_REPL_PORT_SRC,
	ATTR_REPL_PORT_DST,
};

static struct tuple read_tuple(const struct nf_conntrack *ct, const struct direction *direction)
{
	bool ipv6 = nfct_get_attr_u8(ct, ATTR_L3PROTO) == AF_INET6;
	const void *source = nfct_get_attr(ct, direction->source[ipv6]);
	const void *destination = nfct_get_attr(ct, direction->destination[ipv6]);
	struct tuple tuple = {.source.family = ipv6 ? FAMILY_IPV6 : FAMILY_IPV4};

	tuple.destination.family = tuple.source.family;
	if (source != NULL)
		memcpy(tuple.source.address, source, family_address_length(tuple.source.family));
	if (destination != NULL)
		memcpy(tuple.destination.address, destination,
		       family_address_length(tuple.source.family));
	tuple.source.port = ntohs(nfct_get_attr_u16(ct, direction->source_port));
	tuple.destination.port = ntohs(nfct_get_attr_u16(ct, direction->destination_port));
	return tuple;
}

/* Who wants to know of entries. */
struct reader {
	void (*row)(void *context, const struct conntrack_entry *entry);
	void *context;
};

static int read_entry(const struct nlmsghdr *message, void *context)
{
	const struct reader *reader = context;
	struct nf_conntrack *ct = nfct_new();

	if (ct == NULL)
		return MNL_CB_ERROR;
	if (reader->row != NULL && nfct_nlmsg_parse(message, ct) == 0 &&
	    nfct_get_attr_u8(ct, ATTR_L4PROTO) == IPPROTO_TCP) {
		const struct conntrack_entry entry = {
			.mark = nfct_get_attr_u32(ct, ATTR_MARK),
			.status = nfct_get_attr_u32(ct, ATTR_STATUS),
			.state = nfct_get_attr_u8(ct, ATTR_TCP_STATE),
			.original = read_tuple(ct, &original_direction),
			.reply = read_tuple(ct, &reply_direction),
		};
		reader->row(reader->context, &entry);
	}
	nfct_destroy(ct);
	return MNL_CB_OK;
}

static void keep_entry(void *context, const struct conntrack_entry *entry)
{
	*(struct conntrack_entry *)context = *entry;
}

/* Receives until the acknowledgement of the request, or the end of a list. An answer that came too
 * late for an earlier
 * request has another sequence number and is stepped over. */
static int await_answer(struct conntrack *conntrack, struct reader *reader)
{
	unsigned int port = mnl_socket_get_portid(conntrack->socket);
	char buffer[8192];

	for (;;) {
		ssize_t length = mnl_socket_recvfrom(conntrack->socket, buffer, sizeof(buffer));
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return -1;
		const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)buffer;
		if ((size_t)length < sizeof(*message) || message->nlmsg_seq != conntrack->sequence)
			continue;
		int result = mnl_cb_run(buffer, (size_t)length, conntrack->sequence, port,
					read_entry, reader);
		if (result <= MNL_CB_STOP)
			return result;
	}
}

static struct nlmsghdr *begin_request(struct conntrack *conntrack, void *buffer, uint16_t type,
				      uint16_t flags, uint8_t family)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);

	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	message->nlmsg_flags = NLM_F_REQUEST | flags;
	message->nlmsg_seq = ++conntrack->sequence;
	struct nfgenmsg *general = mnl_nlmsg_put_extra_header(message, sizeof(*general));
	general->nfgen_family = family;
	general->version = NFNETLINK_V0;
	return message;
}

static void put_mark(struct nlmsghdr *message, uint32_t value, uint32_t mask)
{
	mnl_attr_put_u32(message, CTA_MARK, htonl(value));
	mnl_attr_put_u32(message, CTA_MARK_MASK, htonl(mask));
}

/* The mark is part of the request where its mask is not 0. */
static int ask(struct conntrack *conntrack, const struct tuple *tuple, uint16_t type, uint32_t mark,
	       uint32_t mask, struct conntrack_entry *entry)
{
	char buffer[1024];
	struct nf_conntrack *ct = make_tuple(tuple);

	if (ct == NULL)
		return -1;
	struct nlmsghdr *message =
		begin_request(conntrack, buffer, type, NLM_F_ACK,
			      tuple->source.family == FAMILY_IPV4 ? AF_INET : AF_INET6);
	int built = nfct_nlmsg_build(message, ct);
	nfct_destroy(ct);
	if (mask != 0)
		put_mark(message, mark, mask);
	if (built < 0 || mnl_socket_sendto(conntrack->socket, message, message->nlmsg_len) < 0)
		return -1;
	struct reader reader = {entry != NULL ? keep_entry : NULL, entry};
	return await_answer(conntrack, &reader);
}

int conntrack_lookup(struct conntrack *conntrack, const struct tuple *tuple,
		     struct conntrack_entry *entry)
{
	*entry = (struct conntrack_entry){0};
	if (ask(conntrack, tuple, IPCTNL_MSG_CT_GET, 0, 0, entry) >= 0)
		return 1;
	return errno == ENOENT ? 0 : -1;
}

int conntrack_list(struct conntrack *conntrack, uint32_t value, uint32_t mask,
		   void (*row)(void *context, const struct conntrack_entry *entry), void *context)
{
	char buffer[1024];
	struct reader reader = {row, context};
	struct nlmsghdr *message =
		begin_request(conntrack, buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, AF_UNSPEC);

	put_mark(message, value, mask);
	if (mnl_socket_sendto(conntrack->socket, message, message->nlmsg_len) < 0)
		return -1;
	return await_answer(conntrack, &reader) >= 0 ? 0 : -1;
}

int conntrack_mark(struct conntrack *conntrack, const struct tuple *original, uint32_t value,
		   uint32_t mask)
{
	return ask(conntrack, original, IPCTNL_MSG_CT_NEW, value, mask, NULL) >= 0 ? 0 : -1;
}

int conntrack_delete(struct conntrack *conntrack, const struct tuple *original)
{
	if (ask(conntrack, original, IPCTNL_MSG_CT_DELETE, 0, 0, NULL) >= 0 || errno == ENOENT)
		return 0;
	return -1;
}
