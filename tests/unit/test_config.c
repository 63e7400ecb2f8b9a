/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Golden tests of the configuration reader: tests/data/config/CASE.conf gives CASE.expected, which
 * holds the diagnostics and, when it is valid, what was read. With KNOCKGW_TEST_UPDATE set the
 * expected files are written instead: read the difference before committing it. */
#include "io/config.h"

#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/secret_memory.h"

#ifndef TEST_DATA_DIR
#define TEST_DATA_DIR "tests/data"
#endif

enum { CASES_AT_LEAST = 60, PATH_SIZE = 4096, TEXT_SIZE = 65536 };

/* libconfig loses the string before a syntax error. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

static const char *data_folder;
static struct dirent **cases;
static int case_count;
static char work_folder[PATH_SIZE];

static void path_in(char path[static PATH_SIZE], const char *folder, const char *name)
{
	int length = snprintf(path, PATH_SIZE, "%s/%s", folder, name);
	ck_assert_int_lt(length, PATH_SIZE);
}

static char *read_all(const char *path, size_t *length)
{
	FILE *stream = fopen(path, "re");
	char *text = calloc(1, TEXT_SIZE);
	ck_assert_msg(stream && text, "%s cannot be read", path);
	*length = fread(text, 1, TEXT_SIZE - 1, stream);
	ck_assert_uint_lt(*length, TEXT_SIZE - 1);
	fclose(stream);
	return text;
}

static void write_all(const char *path, const char *text, size_t length, mode_t mode)
{
	FILE *stream = fopen(path, "we");
	ck_assert_msg(stream != NULL, "%s cannot be written", path);
	ck_assert_uint_eq(fwrite(text, 1, length, stream), length);
	ck_assert_int_eq(fclose(stream), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static int has_suffix(const char *name, const char *suffix)
{
	size_t length = strlen(name);
	return length > strlen(suffix) && strcmp(name + length - strlen(suffix), suffix) == 0;
}

static int is_case(const struct dirent *entry)
{
	return has_suffix(entry->d_name, ".conf");
}

static int is_input(const struct dirent *entry)
{
	return is_case(entry) || has_suffix(entry->d_name, ".key") ||
	       has_suffix(entry->d_name, ".inc");
}

/* Copies all inputs to a folder of our own, because modes matter and do not survive a checkout:
 * exposed* is readable by all, the others by the owner only. */
static void make_work_folder(void)
{
	const char *parent = getenv("TMPDIR");
	path_in(work_folder, parent ? parent : "/tmp", "knockgw-test-config-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(work_folder));
	struct dirent **inputs;
	int count = scandir(data_folder, &inputs, is_input, alphasort);
	for (int i = 0; i < count; i++) {
		char path[PATH_SIZE];
		size_t length;
		path_in(path, data_folder, inputs[i]->d_name);
		char *text = read_all(path, &length);
		path_in(path, work_folder, inputs[i]->d_name);
		write_all(path, text, length,
			  strncmp(inputs[i]->d_name, "exposed", 7) == 0 ? 0644 : 0600);
		free(text);
		free(inputs[i]);
	}
	free(inputs);
}

static void remove_work_folder(void)
{
	struct dirent **entries;
	int count = scandir(work_folder, &entries, NULL, alphasort);
	for (int i = 0; i < count; i++) {
		char path[PATH_SIZE];
		path_in(path, work_folder, entries[i]->d_name);
		if (strcmp(entries[i]->d_name, ".") != 0 && strcmp(entries[i]->d_name, "..") != 0)
			unlink(path);
		free(entries[i]);
	}
	free(entries);
	rmdir(work_folder);
}

/* Replaces every occurrence of from, which must not be shorter than to. */
static void replace_all(char *text, const char *from, const char *to)
{
	size_t from_length = strlen(from);
	size_t to_length = strlen(to);
	ck_assert_uint_ge(from_length, to_length);
	for (char *at = strstr(text, from); at; at = strstr(at + to_length, from)) {
		memcpy(at, to, to_length);
		memmove(at + to_length, at + from_length, strlen(at + from_length) + 1);
	}
}

/* What this machine grants is no matter of the file. */
static void remove_lock_warning(struct diagnostics *diagnostics)
{
	for (size_t i = 0; i < diagnostics->count; i++) {
		if (!strstr(diagnostics->list[i].text, "could not be locked"))
			continue;
		free(diagnostics->list[i].text);
		memmove(&diagnostics->list[i], &diagnostics->list[i + 1],
			(diagnostics->count - i - 1) * sizeof(*diagnostics->list));
		diagnostics->count--;
		return;
	}
}

/* Diagnostics and dump as one text; the caller frees it. */
static char *load_as_text(const char *path)
{
	struct diagnostics diagnostics = {0};
	struct config *config = config_load(path, &diagnostics);
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	ck_assert_ptr_nonnull(stream);
	remove_lock_warning(&diagnostics);
	diagnostics_print(&diagnostics, stream);
	ck_assert_int_eq(config == NULL, diagnostics.errors > 0);
	if (config)
		config_dump(config, stream);
	fclose(stream);
	config_free(config);
	diagnostics_free(&diagnostics);
	return text;
}

static void name_cpu_count(char *text)
{
	char line[64];
	long count = sysconf(_SC_NPROCESSORS_ONLN);
	snprintf(line, sizeof(line), "first: 40, count: %ld\n", count > 64 ? 64 : count);
	replace_all(text, line, "first: 40, count: #\n");
}

START_TEST(test_golden)
{
	const char *name = cases[_i]->d_name;
	char path[PATH_SIZE];
	char prefix[PATH_SIZE];
	path_in(path, work_folder, name);
	path_in(prefix, work_folder, "");
	char *found = load_as_text(path);
	replace_all(found, prefix, "");
	name_cpu_count(found);
	ck_assert_msg(!strstr(found, "SWORDFIS"), "%s: a secret is shown: %s", name, found);
	char stem[PATH_SIZE];
	snprintf(stem, sizeof(stem), "%.*s.expected", (int)(strlen(name) - strlen(".conf")), name);
	path_in(path, data_folder, stem);
	if (getenv("KNOCKGW_TEST_UPDATE")) {
		write_all(path, found, strlen(found), 0644);
	} else {
		size_t length;
		char *expected = read_all(path, &length);
		ck_assert_msg(strcmp(found, expected) == 0, "%s: found:\n%sexpected:\n%s", name,
			      found, expected);
		free(expected);
	}
	free(found);
}
END_TEST

START_TEST(test_case_count)
{
	ck_assert_int_ge(case_count, CASES_AT_LEAST);
}
END_TEST

/* Loads text as a file, whatever comes of it. */
static void load_text(const char *text, size_t length)
{
	char path[PATH_SIZE];
	path_in(path, work_folder, "mutant");
	write_all(path, text, length, 0600);
	free(load_as_text(path));
}

START_TEST(test_truncated_anywhere)
{
	char path[PATH_SIZE];
	size_t length;
	path_in(path, work_folder, "valid-full.conf");
	char *text = read_all(path, &length);
	for (size_t end = 0; end <= length; end++)
		load_text(text, end);
	free(text);
}
END_TEST

START_TEST(test_changed_anywhere)
{
	static const char changes[] = {'\0', '"', '9', '{', '(', '\\'};
	char path[PATH_SIZE];
	size_t length;
	path_in(path, work_folder, "valid-full.conf");
	char *text = read_all(path, &length);
	for (size_t at = 0; at < length; at++) {
		char before = text[at];
		text[at] = changes[at % sizeof(changes)];
		load_text(text, length);
		text[at] = before;
	}
	free(text);
}
END_TEST

START_TEST(test_nested_deeply)
{
	static char text[3 * 20000];
	for (size_t depth = 10; depth <= 20000; depth *= 2) {
		size_t length = (size_t)sprintf(text, "services = ");
		memset(text + length, '(', depth);
		memset(text + length + depth, ')', depth);
		length += 2 * depth;
		text[length++] = ';';
		load_text(text, length);
	}
}
END_TEST

START_TEST(test_values)
{
	char path[PATH_SIZE];
	struct diagnostics diagnostics = {0};
	path_in(path, work_folder, "valid-full.conf");
	struct config *config = config_load(path, &diagnostics);
	ck_assert_ptr_nonnull(config);
	ck_assert_str_eq(config->path, path);
	const struct service *service = &config->services[0].service;
	ck_assert_uint_eq(service->key_count, 3);
	ck_assert_ptr_eq(service->keys, config->services[0].keys);
	ck_assert_str_eq(service->keys[0].name, "1");
	ck_assert_str_eq(service->keys[2].name, "3");
	ck_assert_mem_eq(service->keys[0].secret.bytes, "a key of its own\0", 17);
	ck_assert_mem_eq(service->keys[1].secret.bytes, "\0\1\2\3\4\5\6\7", 8);
	ck_assert_mem_eq(service->keys[2].secret.bytes, "SWORDFISH\0", 10);
	ck_assert_uint_eq(config->services[1].service.index, 1);
	ck_assert_mem_eq(config->egress[0].key->secret.bytes, "a key of its own", 16);
	ck_assert_uint_eq(config->mark, 0xC0000000);
	config_free(config);
	diagnostics_free(&diagnostics);
}
END_TEST

START_TEST(test_defaults)
{
	char path[PATH_SIZE];
	struct diagnostics diagnostics = {0};
	path_in(path, work_folder, "valid-minimal.conf");
	struct config *config = config_load(path, &diagnostics);
	ck_assert_ptr_nonnull(config);
	ck_assert_uint_eq(config->queue_first, 40);
	ck_assert_uint_ge(config->queue_count, 1);
	ck_assert_uint_eq(config->mark, 0x30000000);
	ck_assert_uint_eq(config->max_flows, 262144);
	ck_assert(config->manage_ruleset);
	ck_assert_uint_eq(config->services[0].decoy_port, 9);
	ck_assert_int_eq(config->services[0].reject, REJECT_CLOSED);
	config_free(config);
	diagnostics_free(&diagnostics);
}
END_TEST

/* The first line that is told about a file, with the folder cut off. */
static char *first_line(const char *path)
{
	char *text = load_as_text(path);
	char prefix[PATH_SIZE];
	path_in(prefix, work_folder, "");
	replace_all(text, prefix, "");
	text[strcspn(text, "\n")] = '\0';
	return text;
}

START_TEST(test_unreadable_files)
{
	char path[PATH_SIZE];
	path_in(path, work_folder, "no-such.conf");
	char *line = first_line(path);
	ck_assert_str_eq(line, "no-such.conf: error: cannot be read: No such file or directory");
	free(line);
	line = first_line(work_folder);
	ck_assert_msg(strstr(line, ": error: cannot be read: Is a directory") != NULL, "%s", line);
	free(line);
	line = first_line("/dev/zero");
	ck_assert_str_eq(line, "/dev/zero: error: cannot be read: File too large");
	free(line);
}
END_TEST

/* Which words the reader of secret files uses is its own matter; that it refuses and where is ours.
 */
START_TEST(test_secret_files)
{
	static const char text[] =
		"services = ( { name = \"ssh\"; address = \"192.0.2.1\"; port = 22;\n"
		"secret = [ \"f:good.key\",\n"
		"\"f:no-such.key\",\n"
		"\"f:empty.key\",\n"
		"\"f:exposed.key\",\n"
		"\"f:.\" ]; } );\n";
	char path[PATH_SIZE];
	struct diagnostics diagnostics = {0};
	path_in(path, work_folder, "files.conf");
	write_all(path, text, strlen(text), 0600);
	ck_assert_ptr_null(config_load(path, &diagnostics));
	remove_lock_warning(&diagnostics);
	ck_assert_uint_eq(diagnostics.count, 4);
	for (size_t i = 0; i < diagnostics.count; i++) {
		char start[PATH_SIZE + 64];
		const char *line = diagnostics.list[i].text;
		snprintf(start, sizeof(start),
			 "%s:%zu: error: services[0] \"ssh\": secret[%zu]: ", path, i + 3, i + 1);
		ck_assert_msg(strncmp(line, start, strlen(start)) == 0, "%s", line);
		ck_assert_uint_gt(strlen(line), strlen(start));
		ck_assert_msg(!strstr(line, "readable by all"), "a secret is shown: %s", line);
	}
	diagnostics_free(&diagnostics);
}
END_TEST

START_TEST(test_too_many_endpoints)
{
	char path[PATH_SIZE];
	path_in(path, work_folder, "many.conf");
	FILE *stream = fopen(path, "we");
	ck_assert_ptr_nonnull(stream);
	fprintf(stream, "services = ( { name = \"many\"; secret = \"SWORDFISH\"; address = [ ");
	for (int i = 0; i < 257; i++)
		fprintf(stream, "%s\"10.0.%d.%d\"", i ? ", " : "", i / 256, i % 256);
	fprintf(stream, " ];\n port = [ ");
	for (int i = 0; i < 256; i++)
		fprintf(stream, "%s%d", i ? ", " : "", 1000 + i);
	fprintf(stream, " ]; } );\n");
	ck_assert_int_eq(fclose(stream), 0);
	ck_assert_int_eq(chmod(path, 0600), 0);
	char *line = first_line(path);
	ck_assert_str_eq(line,
			 "many.conf:2: error: services[0] \"many\": port: found 65792 pairs of "
			 "address and port, expected at most 65536");
	free(line);
}
END_TEST

/* The shipped file lists everything but serves nothing until somebody fills it in. */
START_TEST(test_shipped_file)
{
	char source[PATH_SIZE];
	char path[PATH_SIZE];
	size_t length;
	path_in(source, data_folder, "../../../conf/knockgw.conf");
	char *text = read_all(source, &length);
	path_in(path, work_folder, "knockgw.conf");
	write_all(path, text, length, 0644);
	free(text);
	text = load_as_text(path);
	char prefix[PATH_SIZE];
	path_in(prefix, work_folder, "");
	replace_all(text, prefix, "");
	ck_assert_str_eq(text, "knockgw.conf: error: nothing to do: found neither services nor "
			       "egress, expected at least one entry in one of them\n");
	free(text);
}
END_TEST

/* With its comment signs removed the shipped file is valid: what it shows can be copied. */
START_TEST(test_shipped_examples)
{
	char source[PATH_SIZE];
	char path[PATH_SIZE];
	size_t length;
	path_in(source, data_folder, "../../../conf/knockgw.conf");
	char *text = read_all(source, &length);
	path_in(path, work_folder, "good.key");
	replace_all(text, "/etc/knockgw/ssh.key", "good.key");
	replace_all(text, "/etc/knockgw/alice.key", "alice.key");
	replace_all(text, "/etc/knockgw/office.key", "office.key");
	/* The examples go from "#services = (" or "#egress = (" to "#);". */
	bool example = false;
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (line[0] != '#')
			continue;
		example = example || strncmp(line + strcspn(line, "(\n"), "(\n", 2) == 0;
		if (example)
			line[0] = ' ';
		example = example && strncmp(line, " );", 3) != 0;
	}
	path_in(path, work_folder, "examples.conf");
	write_all(path, text, strlen(text), 0600);
	free(text);
	text = load_as_text(path);
	ck_assert_msg(!strstr(text, "error") || strstr(text, "level"), "%s", text);
	ck_assert_msg(strncmp(text, "service 0 ssh", 13) == 0, "%s", text);
	ck_assert_msg(strstr(text, "\negress 0 branch") != NULL, "%s", text);
	free(text);
}
END_TEST

START_TEST(test_secret_memory)
{
	size_t size = 10000;
	uint8_t *memory = secret_memory_new(size, NULL);
	ck_assert_ptr_nonnull(memory);
	for (size_t i = 0; i < size; i++)
		ck_assert_uint_eq(memory[i], 0);
	memory[0] = 1;
	memory[size - 1] = 1;
	pid_t child = fork();
	if (child == 0)
		_exit(memory[0] == 0 && memory[size - 1] == 0 ? 0 : 1);
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		      "the child of a fork sees the secret");
	ck_assert_uint_eq(memory[0], 1);
	secret_memory_free(memory, size);
	secret_memory_free(NULL, 1);
	ck_assert_ptr_null(secret_memory_new(0, NULL));
	ck_assert_ptr_null(secret_memory_new(SIZE_MAX, NULL));
}
END_TEST

static TCase *add_case(Suite *suite, const char *name)
{
	TCase *tests = tcase_create(name);
	tcase_add_unchecked_fixture(tests, make_work_folder, remove_work_folder);
	suite_add_tcase(suite, tests);
	return tests;
}

static Suite *config_suite(void)
{
	Suite *suite = suite_create("config");
	TCase *golden = add_case(suite, "golden");
	tcase_add_test(golden, test_case_count);
	tcase_add_loop_test(golden, test_golden, 0, case_count);
	TCase *values = add_case(suite, "values");
	tcase_add_test(values, test_values);
	tcase_add_test(values, test_defaults);
	tcase_add_test(values, test_unreadable_files);
	tcase_add_test(values, test_secret_files);
	tcase_add_test(values, test_too_many_endpoints);
	tcase_add_test(values, test_shipped_file);
	tcase_add_test(values, test_shipped_examples);
	tcase_add_test(values, test_secret_memory);
	TCase *mutants = add_case(suite, "mutants");
	tcase_set_timeout(mutants, 120);
	tcase_add_test(mutants, test_truncated_anywhere);
	tcase_add_test(mutants, test_changed_anywhere);
	tcase_add_test(mutants, test_nested_deeply);
	return suite;
}

int main(void)
{
	static char folder[PATH_SIZE];
	const char *data = getenv("KNOCKGW_TEST_DATA");
	snprintf(folder, sizeof(folder), "%s/config", data ? data : TEST_DATA_DIR);
	data_folder = folder;
	case_count = scandir(data_folder, &cases, is_case, alphasort);
	if (case_count < 0) {
		perror(data_folder);
		return 1;
	}
	SRunner *runner = srunner_create(config_suite());
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	for (int i = 0; i < case_count; i++)
		free(cases[i]);
	free(cases);
	return failed == 0 ? 0 : 1;
}
