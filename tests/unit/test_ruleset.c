/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Golden tests: tests/data/ruleset/CASE.conf gives CASE.nft. With KNOCKGW_TEST_UPDATE set the files
 * are written instead: read the difference before committing it. */
#include "io/ruleset.h"
#include "io/ruleset_changes.h"

#include "io/ruleset_egress.h"

#include <sys/stat.h>
#include <unistd.h>

#include "support.h"

static const char *const cases[] = {"protect",     "balance",          "egress-drop",
				    "egress-pass", "egress-integrity", "both"};

/* libconfig wants a file that only its owner may read where secrets stand in it. */
static struct config *load(const char *name)
{
	char copy[] = "/tmp/knockgw-ruleset-XXXXXX";
	char line[512];
	char source[256];
	struct diagnostics diagnostics = {0};
	int fd = mkstemp(copy);

	snprintf(source, sizeof(source), "ruleset/%s.conf", name);
	FILE *from = fopen(data_path(source), "re");
	FILE *to = fdopen(fd, "we");
	ck_assert(from != NULL && to != NULL);
	while (fgets(line, sizeof(line), from) != NULL)
		fputs(line, to);
	fclose(from);
	fclose(to);
	struct config *config = config_load(copy, &diagnostics);
	unlink(copy);
	diagnostics_print(&diagnostics, stderr);
	diagnostics_free(&diagnostics);
	ck_assert_ptr_nonnull(config);
	return config;
}

static char *ruleset_of(const struct config *config, bool native)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(stream);
	ruleset_write(stream, config, native);
	fclose(stream);
	return text;
}

static void compare(const char *path, const char *text)
{
	static char expected[65536];

	if (getenv("KNOCKGW_TEST_UPDATE") != NULL) {
		FILE *stream = fopen(path, "we");
		ck_assert_ptr_nonnull(stream);
		fputs(text, stream);
		fclose(stream);
	}
	FILE *stream = fopen(path, "re");
	ck_assert_msg(stream != NULL, "%s cannot be read", path);
	size_t length = fread(expected, 1, sizeof(expected) - 1, stream);
	expected[length] = '\0';
	fclose(stream);
	ck_assert_str_eq(text, expected);
}

START_TEST(golden)
{
	struct config *config = load(cases[_i]);
	char name[64];
	char *text = ruleset_of(config, true);

	snprintf(name, sizeof(name), "ruleset/%s.nft", cases[_i]);
	compare(data_path(name), text);
	free(text);
	config_free(config);
}
END_TEST

/* Without queue statements the chains are the same, and every one of them can be filled. */
START_TEST(without_queue_statement)
{
	struct config *config = load(cases[_i]);
	struct queue_chain chains[QUEUE_CHAINS_MAX];
	size_t count = ruleset_queue_chains(config, chains);
	unsigned int kinds = ruleset_splice_queues(config) > 0 ? 3 : 2;
	char *text = ruleset_of(config, false);
	char *native = ruleset_of(config, true);

	ck_assert_ptr_null(strstr(text, "queue"));
	for (size_t i = 0; i < count; i++) {
		char opening[64];
		snprintf(opening, sizeof(opening), "\tchain %.32s {\n%s\t}\n", chains[i].name,
			 chains[i].drop ? "\t\tdrop\n" : "");
		ck_assert_msg(strstr(text, opening) != NULL, "no %s", opening);
		snprintf(opening, sizeof(opening), "\tchain %.32s {\n\t\tqueue ", chains[i].name);
		ck_assert_msg(strstr(native, opening) != NULL, "no %s", opening);
		ck_assert_uint_ge(chains[i].first, config->queue_first);
		ck_assert_uint_le(chains[i].first + chains[i].count,
				  config->queue_first + kinds * config->queue_count);
	}
	free(text);
	free(native);
	config_free(config);
}
END_TEST

/* The ruleset and the engine agree on which worker a port belongs to. */
START_TEST(shares_of_the_workers)
{
	struct config *config = load("egress-pass");
	char *text = ruleset_of(config, true);
	const char *map = strstr(text, "tcp sport & 0x007e vmap");

	ck_assert_ptr_nonnull(map);
	for (unsigned int port = 0; port < 65536; port++) {
		char element[64];
		snprintf(element, sizeof(element), "0x%04x : goto translate_%u", port & 0x7e,
			 flow_shard((uint16_t)port, 3));
		const char *found = strstr(map, element);
		ck_assert_ptr_nonnull(found);
		ck_assert_ptr_null(memchr(map, '\n', (size_t)(found - map)));
	}
	free(text);
	config_free(config);
}
END_TEST

/* The first rule of both directions drops, and nothing else differs. */
START_TEST(held_while_sets_of_prefixes_are_filled)
{
	struct config *config = load("egress-pass");
	char *text = ruleset_of(config, true);
	char *held = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&held, &size);

	ck_assert_ptr_nonnull(stream);
	ruleset_write_held(stream, config, true);
	fclose(stream);
	ck_assert(ruleset_egress_needs_hold(config, NULL));
	ck_assert(!ruleset_egress_needs_hold(config, text));
	static const char *const heads[] = {"\tchain egress_out {\n", "\tchain egress_in {\n"};
	for (size_t i = 0; i < 2; i++) {
		char *rule = strstr(held, heads[i]);
		ck_assert_ptr_nonnull(rule);
		rule = strchr(rule + strlen(heads[i]), '\n') + 1;
		unsigned int rules = 0;
		while (strcspn(rule, "\n") > 5 && memcmp(strchr(rule, '\n') - 5, " drop", 5) == 0) {
			char *next = strchr(rule, '\n') + 1;
			memmove(rule, next, strlen(next) + 1);
			rules++;
		}
		ck_assert_uint_eq(rules, 3);
	}
	ck_assert_str_eq(held, text);
	free(text);
	free(held);
	config_free(config);
	config = load("egress-drop");
	ck_assert(!ruleset_egress_needs_hold(config, NULL));
	config_free(config);
}
END_TEST

/* Nothing leads to what is added; a second look finds nothing more to add. */
START_TEST(new_chains_come_before_what_leads_to_them)
{
	static const char old[] = "\tset a {\n\t\ttype mark\n\t\telements = { 1 }\n\t}\n"
				  "\tchain base {\n\t\ttype filter hook input priority 0;\n"
				  "\t\taccept\n\t}\n";
	static const char new[] = "\tset a {\n\t\ttype mark\n\t\telements = { 2 }\n\t}\n"
				  "\tset b {\n\t\ttype mark\n\t\telements = { 3 }\n\t}\n"
				  "\tchain more {\n\t\tmeta mark @b drop\n\t}\n"
				  "\tchain base {\n\t\ttype filter hook input priority 0;\n"
				  "\t\tgoto more\n\t}\n"
				  "\tchain other {\n\t\ttype filter hook output priority 0;\n"
				  "\t\tgoto more\n\t}\n";
	static const char added[] = "\tset b {\n\t\ttype mark\n\t}\n"
				    "\tchain more {\n\t\tmeta mark @b drop\n\t}\n";
	char *result;

	ck_assert(ruleset_additions(old, new, &result));
	ck_assert_int_eq(strncmp(result, old, strlen(old)), 0);
	ck_assert_str_eq(result + strlen(old), added);
	char *again = result;
	ck_assert(ruleset_additions(again, new, &result));
	ck_assert_ptr_null(result);
	ck_assert(ruleset_additions(new, old, &result));
	ck_assert_ptr_null(result);
	free(again);
}
END_TEST

START_TEST(bits_of_the_mark)
{
	struct marks marks = marks_from_mask(0x90000100);

	ck_assert_uint_eq(marks.verified, 0x100);
	ck_assert_uint_eq(marks.pending, 0x10000000);
	ck_assert_uint_eq(marks.refused, 0x10000100);
	ck_assert_uint_eq(marks.mask, 0x90000100);
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("ruleset");

	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, golden, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_loop_test(tcase, without_queue_statement, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_test(tcase, shares_of_the_workers);
	tcase_add_test(tcase, held_while_sets_of_prefixes_are_filled);
	tcase_add_test(tcase, new_chains_come_before_what_leads_to_them);
	tcase_add_test(tcase, bits_of_the_mark);
	return run_tcase("ruleset", tcase);
}
