/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ruleset_watch.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "ruleset.h"

enum { RECEIVE_BUFFER = 1024 * 1024, DATAGRAM_SIZE = 64 * 1024 };

/* How often and how many milliseconds to wait for the end of a transaction whose start was read. */
enum { WAITS = 10, WAIT = 50 };

struct ruleset_watch {
	struct mnl_socket *socket;
	_Alignas(struct nlmsghdr) uint8_t datagram[DATAGRAM_SIZE];
};

static bool start(struct ruleset_watch *watch)
{
	int group = NFNLGRP_NFTABLES;
	int size = RECEIVE_BUFFER;

	watch->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (watch->socket == NULL || mnl_socket_bind(watch->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return false;
	if (setsockopt(ruleset_watch_fd(watch), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) !=
	    0)
		setsockopt(ruleset_watch_fd(watch), SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return mnl_socket_setsockopt(watch->socket, NETLINK_ADD_MEMBERSHIP, &group,
				     sizeof(group)) == 0;
}

struct ruleset_watch *ruleset_watch_open(void)
{
	struct ruleset_watch *watch = calloc(1, sizeof(*watch));

	if (watch == NULL || start(watch))
		return watch;
	int failure = errno;
	ruleset_watch_close(watch);
	errno = failure;
	return NULL;
}

void ruleset_watch_close(struct ruleset_watch *watch)
{
	if (watch == NULL)
		return;
	if (watch->socket != NULL)
		mnl_socket_close(watch->socket);
	free(watch);
}

int ruleset_watch_fd(const struct ruleset_watch *watch)
{
	return mnl_socket_get_fd(watch->socket);
}

/* NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE,
 * NFTA_FLOWTABLE_TABLE and NFTA_OBJ_TABLE are one number. */
_Static_assert((int)NFTA_TABLE_NAME == (int)NFTA_CHAIN_TABLE &&
		       (int)NFTA_TABLE_NAME == (int)NFTA_RULE_TABLE &&
		       (int)NFTA_TABLE_NAME == (int)NFTA_SET_TABLE &&
		       (int)NFTA_TABLE_NAME == (int)NFTA_SET_ELEM_LIST_TABLE &&
		       (int)NFTA_TABLE_NAME == (int)NFTA_FLOWTABLE_TABLE,
	       "the table's name must be the same attribute everywhere");

struct names {
	const char *table;
	const char *process;
};

static int collect(const struct nlattr *attribute, void *context)
{
	struct names *names = context;
	uint16_t type = mnl_attr_get_type(attribute);

	if (mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) < 0)
		return MNL_CB_OK;
	if (type == NFTA_TABLE_NAME)
		names->table = mnl_attr_get_str(attribute);
	else if (type == NFTA_GEN_PROC_NAME)
		names->process = mnl_attr_get_str(attribute);
	return MNL_CB_OK;
}

/* Each transaction ends with a message that says who made it. */
static void parse_message(const struct nlmsghdr *message, struct ruleset_change *change)
{
	const struct nfgenmsg *generic = mnl_nlmsg_get_payload(message);
	size_t length = mnl_nlmsg_get_payload_len(message);
	struct names names = {0};

	if (message->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || length < sizeof(*generic) ||
	    mnl_attr_parse_payload(mnl_nlmsg_get_payload_offset(message, sizeof(*generic)),
				   length - sizeof(*generic), collect, &names) < 0)
		return;
	unsigned int type = message->nlmsg_type & 0xff;
	if (type == NFT_MSG_NEWGEN) {
		if (names.process != NULL)
			log_quote(change->who, sizeof(change->who), names.process);
	} else if (generic->nfgen_family == NFPROTO_INET && names.table != NULL &&
		   strcmp(names.table, RULESET_TABLE) == 0) {
		change->ours = true;
	} else if (type == NFT_MSG_NEWRULE) {
		change->others = true;
	}
}

void ruleset_watch_parse(const uint8_t *bytes, size_t length, struct ruleset_change *change)
{
	*change = (struct ruleset_change){0};
	while (length >= sizeof(struct nlmsghdr)) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)bytes;
		if (message->nlmsg_len < sizeof(*message) || message->nlmsg_len > length)
			return;
		parse_message(message, change);
		size_t step = NLMSG_ALIGN((size_t)message->nlmsg_len);
		if (step >= length)
			return;
		bytes += step;
		length -= step;
	}
}

/* The name comes last, and on one processor its reader may run before it is sent. */
static bool more_follows(struct ruleset_watch *watch)
{
	struct pollfd wanted = {.fd = ruleset_watch_fd(watch), .events = POLLIN};

	return poll(&wanted, 1, WAIT) != 0;
}

bool ruleset_watch_changed(struct ruleset_watch *watch, char who[static RULESET_WATCH_WHO_SIZE],
			   bool *others)
{
	struct ruleset_change change;
	unsigned int waits = 0;
	bool changed = false;
	bool named = false;
	ssize_t length;

	*others = false;
	snprintf(who, RULESET_WATCH_WHO_SIZE, "unknown");
	for (;;) {
		length = recv(ruleset_watch_fd(watch), watch->datagram, sizeof(watch->datagram),
			      MSG_DONTWAIT);
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0 && errno != ENOBUFS) {
			if (changed && !named && waits++ < WAITS && more_follows(watch))
				continue;
			return changed;
		}
		/* Lost messages may have been about our table. */
		if (length < 0) {
			changed = true;
			continue;
		}
		ruleset_watch_parse(watch->datagram, (size_t)length, &change);
		changed = changed || change.ours;
		*others = *others || change.others;
		if (changed && change.who[0] != '\0') {
			memcpy(who, change.who, sizeof(change.who));
			named = true;
		}
	}
}

void ruleset_watch_forget(struct ruleset_watch *watch)
{
	char who[RULESET_WATCH_WHO_SIZE];
	bool others;

	ruleset_watch_changed(watch, who, &others);
}
