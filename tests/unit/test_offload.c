/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules as the kernel lists them: which of them offload connections that must be seen. */
#include "io/offload.h"

#include <libnftnl/expr.h>
#include <linux/netfilter/nf_tables.h>

#include "support.h"

enum { OUR_MASK = 0x30000000, OUR_VERIFIED = 0x10000000 };

static struct nftnl_rule *rule;
static const struct config without_egress = {.mark = OUR_MASK};

static struct nftnl_expr *add(const char *name)
{
	struct nftnl_expr *expression = nftnl_expr_alloc(name);

	if (rule == NULL)
		rule = nftnl_rule_alloc();
	ck_assert(rule != NULL && expression != NULL);
	nftnl_rule_add_expr(rule, expression);
	return expression;
}

static void add_load(const char *name, uint16_t key_attribute, uint32_t key, uint16_t to)
{
	struct nftnl_expr *expression = add(name);

	nftnl_expr_set_u32(expression, key_attribute, key);
	nftnl_expr_set_u32(expression, to, NFT_REG_1);
}

static void add_ct(uint32_t key)
{
	add_load("ct", NFTNL_EXPR_CT_KEY, key, NFTNL_EXPR_CT_DREG);
}

static void add_bitwise(uint32_t mask, uint32_t flipped)
{
	struct nftnl_expr *expression = add("bitwise");

	nftnl_expr_set_u32(expression, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
	nftnl_expr_set_u32(expression, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
	nftnl_expr_set_u32(expression, NFTNL_EXPR_BITWISE_LEN, sizeof(mask));
	nftnl_expr_set_u32(expression, NFTNL_EXPR_BITWISE_OP, NFT_BITWISE_BOOL);
	nftnl_expr_set_data(expression, NFTNL_EXPR_BITWISE_MASK, &mask, sizeof(mask));
	nftnl_expr_set_data(expression, NFTNL_EXPR_BITWISE_XOR, &flipped, sizeof(flipped));
}

static void add_cmp(uint32_t operation, uint32_t value)
{
	struct nftnl_expr *expression = add("cmp");

	nftnl_expr_set_u32(expression, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
	nftnl_expr_set_u32(expression, NFTNL_EXPR_CMP_OP, operation);
	nftnl_expr_set_data(expression, NFTNL_EXPR_CMP_DATA, &value, sizeof(value));
}

static void add_flow(void)
{
	nftnl_expr_set_str(add("flow_offload"), NFTNL_EXPR_FLOW_TABLE_NAME, "f");
}

/* The rule so far, which ends here. */
static bool careless(const struct config *config)
{
	bool result = offload_is_careless(rule, config);

	nftnl_rule_free(rule);
	rule = NULL;
	return result;
}

START_TEST(a_rule_that_offloads_nothing)
{
	add_ct(NFT_CT_MARK);
	add_cmp(NFT_CMP_EQ, 0);
	add("counter");
	ck_assert(!careless(&without_egress));
}
END_TEST

START_TEST(everything_is_offloaded)
{
	add_flow();
	ck_assert(careless(&without_egress));
	/* ct state established flow add @f */
	add_ct(NFT_CT_STATE);
	add_bitwise(2, 0);
	add_cmp(NFT_CMP_NEQ, 0);
	add_flow();
	ck_assert(careless(&without_egress));
}
END_TEST

/* What stands between ct and flow add. */
static const struct {
	const char *what;
	uint32_t key, mask, flipped, operation, value;
	bool careless;
} matches[] = {
	{"ct mark & mask == verified", NFT_CT_MARK, OUR_MASK, 0, NFT_CMP_EQ, OUR_VERIFIED, false},
	{"more bits than ours", NFT_CT_MARK, 0xf0000001, 0, NFT_CMP_EQ, 0x90000001, false},
	{"ct mark & mask == pending", NFT_CT_MARK, OUR_MASK, 0, NFT_CMP_EQ, 0x20000000, true},
	{"fewer bits: refused ones as well", NFT_CT_MARK, OUR_VERIFIED, 0, NFT_CMP_EQ, OUR_VERIFIED,
	 true},
	{"all but verified", NFT_CT_MARK, OUR_MASK, 0, NFT_CMP_NEQ, OUR_VERIFIED, true},
	{"flipped", NFT_CT_MARK, OUR_MASK, OUR_VERIFIED, NFT_CMP_EQ, OUR_VERIFIED, true},
	{"another key", NFT_CT_STATE, OUR_MASK, 0, NFT_CMP_EQ, OUR_VERIFIED, true},
};

START_TEST(the_mark_decides)
{
	for (size_t i = 0; i < sizeof(matches) / sizeof(matches[0]); i++) {
		add_ct(matches[i].key);
		add_bitwise(matches[i].mask, matches[i].flipped);
		add_cmp(matches[i].operation, matches[i].value);
		add_flow();
		ck_assert_msg(careless(&without_egress) == matches[i].careless, "%s",
			      matches[i].what);
	}
}
END_TEST

START_TEST(the_mark_must_come_first_and_from_conntrack)
{
	add_flow();
	add_ct(NFT_CT_MARK);
	add_bitwise(OUR_MASK, 0);
	add_cmp(NFT_CMP_EQ, OUR_VERIFIED);
	ck_assert(careless(&without_egress));
	add_ct(NFT_CT_MARK);
	add_load("meta", NFTNL_EXPR_META_KEY, NFT_META_MARK, NFTNL_EXPR_META_DREG);
	add_bitwise(OUR_MASK, 0);
	add_cmp(NFT_CMP_EQ, OUR_VERIFIED);
	add_flow();
	ck_assert(careless(&without_egress));
	/* The whole mark, without a mask. */
	add_ct(NFT_CT_MARK);
	add_cmp(NFT_CMP_EQ, OUR_VERIFIED);
	add_flow();
	ck_assert(!careless(&without_egress));
}
END_TEST

/* Translated connections that may pass without the daemon have that mark, too. */
START_TEST(the_mark_is_not_enough_with_on_failure_pass)
{
	struct egress_config egress = {.on_failure = ON_FAILURE_DROP};
	struct config config = {.mark = OUR_MASK, .egress = &egress, .egress_count = 1};

	for (int pass = 0; pass < 2; pass++) {
		egress.on_failure = pass ? ON_FAILURE_PASS : ON_FAILURE_DROP;
		add_ct(NFT_CT_MARK);
		add_bitwise(OUR_MASK, 0);
		add_cmp(NFT_CMP_EQ, OUR_VERIFIED);
		add_flow();
		ck_assert(careless(&config) == pass);
	}
}
END_TEST

RUN_TESTS("offload", a_rule_that_offloads_nothing, everything_is_offloaded, the_mark_decides,
	  the_mark_must_come_first_and_from_conntrack, the_mark_is_not_enough_with_on_failure_pass);
