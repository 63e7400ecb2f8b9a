/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "offload.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "log.h"
#include "ruleset.h"
#include "ruleset_egress.h"

/* Somebody else may change the rules while they are listed; then the kernel wants to be asked anew.
 */
enum { ATTEMPTS = 5, QUOTED_SIZE = 64 };

static bool has_pending(const struct config *config)
{
	for (size_t i = 0; i < config->service_count; i++)
		if (config->services[i].service.integrity > 0)
			return true;
	return false;
}

/* What the expressions of a rule have said so far. */
struct reading {
	struct marks marks;
	uint32_t source; /* register with the ct mark, if it is loaded */
	uint32_t mask;   /* the bits of it that are still there */
	bool loaded;
	bool verified; /* the rule goes on for verified connections only */
	bool offloads;
	bool verified_only; /* when it came to offloading */
};

/* Where the expression does not have the attribute, word is as before. */
static bool get_word(const struct nftnl_expr *expression, uint16_t attribute, uint32_t *word)
{
	uint32_t length;
	const void *data = nftnl_expr_get(expression, attribute, &length);

	if (data == NULL || length != sizeof(*word))
		return false;
	memcpy(word, data, sizeof(*word));
	return true;
}

static bool has_word(const struct nftnl_expr *expression, uint16_t attribute, uint32_t expected)
{
	uint32_t word;

	return get_word(expression, attribute, &word) && word == expected;
}

static void read_ct(struct reading *reading, const struct nftnl_expr *expression)
{
	reading->loaded = has_word(expression, NFTNL_EXPR_CT_KEY, NFT_CT_MARK) &&
			  get_word(expression, NFTNL_EXPR_CT_DREG, &reading->source);
	reading->mask = UINT32_MAX;
}

static void read_bitwise(struct reading *reading, const struct nftnl_expr *expression)
{
	uint32_t mask = 0;

	reading->loaded = reading->loaded &&
			  has_word(expression, NFTNL_EXPR_BITWISE_SREG, reading->source) &&
			  has_word(expression, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL) &&
			  has_word(expression, NFTNL_EXPR_BITWISE_XOR, 0) &&
			  get_word(expression, NFTNL_EXPR_BITWISE_MASK, &mask) &&
			  get_word(expression, NFTNL_EXPR_BITWISE_DREG, &reading->source);
	reading->mask &= mask;
}

static void read_cmp(struct reading *reading, const struct nftnl_expr *expression)
{
	uint32_t ours = reading->marks.mask;
	uint32_t value;

	if (reading->loaded && (reading->mask & ours) == ours &&
	    has_word(expression, NFTNL_EXPR_CMP_SREG, reading->source) &&
	    has_word(expression, NFTNL_EXPR_CMP_OP, NFT_CMP_EQ) &&
	    get_word(expression, NFTNL_EXPR_CMP_DATA, &value) &&
	    (value & ours) == reading->marks.verified)
		reading->verified = true;
	reading->loaded = false;
}

static int read_expression(struct nftnl_expr *expression, void *context)
{
	struct reading *reading = context;
	const char *name = nftnl_expr_get_str(expression, NFTNL_EXPR_NAME);

	if (strcmp(name, "ct") == 0)
		read_ct(reading, expression);
	else if (strcmp(name, "bitwise") == 0)
		read_bitwise(reading, expression);
	else if (strcmp(name, "cmp") == 0)
		read_cmp(reading, expression);
	else
		reading->loaded = false;
	if (strcmp(name, "flow_offload") == 0) {
		reading->offloads = true;
		reading->verified_only = reading->verified;
	}
	return 0;
}

bool offload_is_careless(const struct nftnl_rule *rule, const struct config *config)
{
	struct reading reading = {.marks = marks_from_mask(config->mark)};

	nftnl_expr_foreach((struct nftnl_rule *)rule, read_expression, &reading);
	/* With on_failure = "pass" that mark is one of translated connections, too. */
	return reading.offloads && (!reading.verified_only || ruleset_egress_may_pass(config));
}

/* What is looked for, and the first that was found. */
struct search {
	const struct config *config;
	bool flowtables; /* there is one */
	bool found;
	char *text;
};

static const char *family_word(uint32_t family)
{
	switch (family) {
	case NFPROTO_INET:
		return "inet";
	case NFPROTO_IPV4:
		return "ip";
	case NFPROTO_IPV6:
		return "ip6";
	default:
		return "other";
	}
}

static void describe(const struct search *search, const struct nftnl_rule *rule)
{
	const struct config *config = search->config;
	struct marks marks = marks_from_mask(config->mark);
	bool pending = has_pending(config);
	bool egress = config->egress_count > 0;
	char table[QUOTED_SIZE];
	char chain[QUOTED_SIZE];
	char mark[QUOTED_SIZE] = "";

	if (pending)
		snprintf(mark, sizeof(mark), "ct mark & 0x%08x == 0x%08x before flow add%s",
			 marks.mask, marks.verified, egress ? ", and " : "");
	snprintf(search->text, OFFLOAD_TEXT_SIZE,
		 "family=%s table=%s chain=%s reason=\"flow add takes %s%s%s connections out of "
		 "knockgw's sight, which must not be offloaded\" expected=\"%s%s\"",
		 family_word(nftnl_rule_get_u32(rule, NFTNL_RULE_FAMILY)),
		 log_quote(table, sizeof(table), nftnl_rule_get_str(rule, NFTNL_RULE_TABLE)),
		 log_quote(chain, sizeof(chain), nftnl_rule_get_str(rule, NFTNL_RULE_CHAIN)),
		 pending ? "pending (integrity)" : "", pending && egress ? " and " : "",
		 egress ? "egress" : "", mark, egress ? "egress destinations left out" : "");
}

static int read_rule(const struct nlmsghdr *message, void *context)
{
	struct search *search = context;
	struct nftnl_rule *rule = nftnl_rule_alloc();

	if (rule == NULL)
		return MNL_CB_ERROR;
	/* What libnftnl does not know cannot be judged. */
	if (!search->found && nftnl_rule_nlmsg_parse(message, rule) == 0 &&
	    offload_is_careless(rule, search->config)) {
		search->found = true;
		describe(search, rule);
	}
	nftnl_rule_free(rule);
	return MNL_CB_OK;
}

static int read_flowtable(const struct nlmsghdr *message, void *context)
{
	struct search *search = context;

	(void)message;
	search->flowtables = true;
	return MNL_CB_OK;
}

static int list(struct mnl_socket *socket, uint16_t type, uint32_t sequence, mnl_cb_t row,
		struct search *search)
{
	char buffer[32 * 1024];
	struct nlmsghdr *message =
		nftnl_nlmsg_build_hdr(buffer, type, NFPROTO_UNSPEC, NLM_F_DUMP, sequence);
	int result = MNL_CB_OK;

	if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0)
		return -1;
	while (result > MNL_CB_STOP) {
		ssize_t length = mnl_socket_recvfrom(socket, buffer, sizeof(buffer));
		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			return -1;
		result = mnl_cb_run(buffer, (size_t)length, sequence, mnl_socket_get_portid(socket),
				    row, search);
	}
	return result;
}

/* Rules are listed only where there is a flowtable. */
static int look(struct search *search)
{
	const struct timeval limit = {.tv_sec = 1};
	struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (socket == NULL)
		return -1;
	int result = -1;
	if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 &&
	    setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ==
		    0)
		result = list(socket, NFT_MSG_GETFLOWTABLE, 1, read_flowtable, search);
	if (result >= 0 && search->flowtables)
		result = list(socket, NFT_MSG_GETRULE, 2, read_rule, search);
	int failure = errno;
	mnl_socket_close(socket);
	errno = failure;
	return result;
}

int offload_find(const struct config *config, char text[static OFFLOAD_TEXT_SIZE])
{
	int result = 0;

	if (!has_pending(config) && config->egress_count == 0)
		return 0;
	for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
		struct search search = {.config = config, .text = text};
		result = look(&search);
		if (result >= 0)
			return search.found;
		if (errno != EINTR)
			return -1;
	}
	return -1;
}
