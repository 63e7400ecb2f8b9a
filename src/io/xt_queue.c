/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "xt_queue.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/xt_NFQUEUE.h>
#include <stdlib.h>
#include <string.h>

enum { XT_NFQUEUE_REVISION = 3 };

static struct nftnl_expr *queue_expression(const struct queue_chain *chain)
{
	struct nftnl_expr *expression = nftnl_expr_alloc("target");
	struct xt_NFQ_info_v3 *info = calloc(1, sizeof(*info));

	if (expression == NULL || info == NULL) {
		free(info);
		if (expression != NULL)
			nftnl_expr_free(expression);
		return NULL;
	}
	info->queuenum = chain->first;
	info->queues_total = chain->count;
	info->flags = chain->bypass ? NFQ_FLAG_BYPASS : 0;
	nftnl_expr_set_str(expression, NFTNL_EXPR_TG_NAME, "NFQUEUE");
	nftnl_expr_set_u32(expression, NFTNL_EXPR_TG_REV, XT_NFQUEUE_REVISION);
	/* The expression owns info from now on. */
	nftnl_expr_set(expression, NFTNL_EXPR_TG_INFO, info, sizeof(*info));
	return expression; /* NOLINT(clang-analyzer-unix.Malloc): see above */
}

static struct nftnl_rule *queue_rule(const char *table, const struct queue_chain *chain)
{
	struct nftnl_rule *rule = nftnl_rule_alloc();
	struct nftnl_expr *expression = queue_expression(chain);

	if (rule == NULL || expression == NULL) {
		if (rule != NULL)
			nftnl_rule_free(rule);
		if (expression != NULL)
			nftnl_expr_free(expression);
		return NULL;
	}
	nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, table);
	nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain->name);
	nftnl_rule_set_u32(rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	nftnl_rule_add_expr(rule, expression);
	return rule;
}

/* Without NLM_F_APPEND the rule comes first in its chain. */
static bool add_rule(struct mnl_nlmsg_batch *batch, const char *table,
		     const struct queue_chain *chain, uint32_t sequence)
{
	struct nftnl_rule *rule = queue_rule(table, chain);
	if (rule == NULL)
		return false;
	struct nlmsghdr *message =
		nftnl_nlmsg_build_hdr(mnl_nlmsg_batch_current(batch), NFT_MSG_NEWRULE, NFPROTO_INET,
				      NLM_F_CREATE | NLM_F_ACK, sequence);
	nftnl_rule_nlmsg_build_payload(message, rule);
	nftnl_rule_free(rule);
	mnl_nlmsg_batch_next(batch);
	return true;
}

/* Waits for an acknowledgement of every rule; the first error counts. */
static int await_acknowledgements(struct mnl_socket *socket, size_t count)
{
	char buffer[8192];
	unsigned int port = mnl_socket_get_portid(socket);

	for (uint32_t sequence = 1; sequence <= count;) {
		ssize_t length = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return errno;
		const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
		int left = (int)length;
		for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
			if (mnl_cb_run(message, message->nlmsg_len, 0, port, NULL, NULL) < 0)
				return errno;
			sequence += message->nlmsg_type == NLMSG_ERROR;
		}
	}
	return 0;
}

static int send_rules(struct mnl_socket *socket, const char *table,
		      const struct queue_chain *chains, size_t count)
{
	/* A rule takes 200 bytes. The second half is where libmnl lets a message run over. */
	char buffer[2 * 512 * QUEUE_CHAINS_MAX];
	struct mnl_nlmsg_batch *batch = mnl_nlmsg_batch_start(buffer, sizeof(buffer) / 2);

	if (batch == NULL)
		return ENOMEM;
	nftnl_batch_begin(mnl_nlmsg_batch_current(batch), 0);
	mnl_nlmsg_batch_next(batch);
	for (size_t i = 0; i < count; i++) {
		if (!add_rule(batch, table, &chains[i], (uint32_t)i + 1)) {
			mnl_nlmsg_batch_stop(batch);
			return ENOMEM;
		}
	}
	nftnl_batch_end(mnl_nlmsg_batch_current(batch), (uint32_t)count + 1);
	mnl_nlmsg_batch_next(batch);
	ssize_t sent =
		mnl_socket_sendto(socket, mnl_nlmsg_batch_head(batch), mnl_nlmsg_batch_size(batch));
	int error = sent < 0 ? errno : 0;
	mnl_nlmsg_batch_stop(batch);
	return error != 0 ? error : await_acknowledgements(socket, count);
}

bool xt_queue_install(const char *table, const struct queue_chain *chains, size_t count,
		      char error[static NFT_ERROR_SIZE])
{
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	int failure;

	if (socket == NULL || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
		failure = errno;
	else
		failure = send_rules(socket, table, chains, count);
	if (socket != NULL)
		mnl_socket_close(socket);
	if (failure == 0)
		return true;
	snprintf(error, NFT_ERROR_SIZE,
		 "nftables: the kernel has neither the queue statement (nft_queue) nor the xtables "
		 "target NFQUEUE (try: modprobe -a nft_queue nft_compat xt_NFQUEUE): %s",
		 strerror(failure));
	return false;
}
