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

static void read_reply(const struct nf_conntrack *ct, struct tuple *tuple)
{
	bool ipv4 = nfct_get_attr_u8(ct, ATTR_L3PROTO) == AF_INET;
	const void *source = nfct_get_attr(ct, ipv4 ? ATTR_REPL_IPV4_SRC : ATTR_REPL_IPV6_SRC);
	const void *destination = nfct_get_attr(ct, ipv4 ? ATTR_REPL_IPV4_DST : ATTR_REPL_IPV6_DST);

	*tuple = (struct tuple){.source.family = ipv4 ? FAMILY_IPV4 : FAMILY_IPV6};
	tuple->destination.family = tuple->source.family;
	if (source != NULL)
		memcpy(tuple->source.address, source, family_address_length(tuple->source.family));
	if (destination != NULL)
		memcpy(tuple->destination.address, destination,
		       family_address_length(tuple->source.family));
	tuple->source.port = ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_SRC));
	tuple->destination.port = ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_DST));
}

static int read_entry(const struct nlmsghdr *message, void *context)
{
	struct conntrack_entry *entry = context;
	struct nf_conntrack *ct = nfct_new();

	if (ct == NULL)
		return MNL_CB_ERROR;
	if (nfct_nlmsg_parse(message, ct) == 0 && entry != NULL) {
		entry->mark = nfct_get_attr_u32(ct, ATTR_MARK);
		entry->status = nfct_get_attr_u32(ct, ATTR_STATUS);
		read_reply(ct, &entry->reply);
	}
	nfct_destroy(ct);
	return MNL_CB_OK;
}

/* Receives until the acknowledgement of the request. An answer that came too late for an earlier
 * request has another sequence number and is stepped over. */
static int await_answer(struct conntrack *conntrack, struct conntrack_entry *entry)
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
					read_entry, entry);
		if (result <= MNL_CB_STOP)
			return result;
	}
}

/* The mark is part of the request where its mask is not 0. */
static int ask(struct conntrack *conntrack, const struct tuple *tuple, uint16_t type, uint32_t mark,
	       uint32_t mask, struct conntrack_entry *entry)
{
	char buffer[1024];
	struct nf_conntrack *ct = make_tuple(tuple);

	if (ct == NULL)
		return -1;
	struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
	message->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	message->nlmsg_seq = ++conntrack->sequence;
	struct nfgenmsg *general = mnl_nlmsg_put_extra_header(message, sizeof(*general));
	general->nfgen_family = tuple->source.family == FAMILY_IPV4 ? AF_INET : AF_INET6;
	general->version = NFNETLINK_V0;
	int built = nfct_nlmsg_build(message, ct);
	nfct_destroy(ct);
	if (mask != 0) {
		mnl_attr_put_u32(message, CTA_MARK, htonl(mark));
		mnl_attr_put_u32(message, CTA_MARK_MASK, htonl(mask));
	}
	if (built < 0 || mnl_socket_sendto(conntrack->socket, message, message->nlmsg_len) < 0)
		return -1;
	return await_answer(conntrack, entry);
}

int conntrack_lookup(struct conntrack *conntrack, const struct tuple *original,
		     struct conntrack_entry *entry)
{
	*entry = (struct conntrack_entry){0};
	if (ask(conntrack, original, IPCTNL_MSG_CT_GET, 0, 0, entry) >= 0)
		return 1;
	return errno == ENOENT ? 0 : -1;
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
