/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/secret.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/secret_file.h"
#include "support.h"

/* Parses text and makes a secret of it. Returns NULL or what was wrong. */
static const char *secret_of(struct secret *secret, const char *text, size_t length,
			     bool *truncated)
{
	struct secret_text parsed;
	const char *error = NULL;

	if (!secret_text_parse(&parsed, text, length, &error) ||
	    !secret_from_text(secret, &parsed, truncated, &error))
		ck_assert_ptr_nonnull(error);
	return error;
}

START_TEST(test_notations)
{
	static const struct {
		const char *text;
		size_t length;
		const char *bytes;
		size_t count;
	} rows[] = {
		{"plain", 5, "plain", 5},
		{"h", 1, "h", 1},
		{"h:00ff7F", 8, "\x00\xff\x7f", 3},
		{"r:3:a\0b", 7, "a\0b", 3},
		{"r:1:h", 5, "h", 1},
		{"with:colon", 10, "with:colon", 10},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct secret secret, expected = {0};
		bool truncated;

		memcpy(expected.bytes, rows[i].bytes, rows[i].count);
		ck_assert_ptr_null(secret_of(&secret, rows[i].text, rows[i].length, &truncated));
		ck_assert_mem_eq(secret.bytes, expected.bytes, SECRET_SIZE);
		ck_assert(!truncated);
	}
}
END_TEST

START_TEST(test_bad_notations)
{
	static const char *const rows[] = {
		"",    "h:",    "h:0",   "h:0g",   "h:00 ", "f:",    "r:",
		"r::", "r:x:a", "r:2:a", "r:1:ab", "r:0:",  "r:-1:", "r:99999999999999999999:a",
		"r:3"};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct secret secret;
		bool truncated;

		ck_assert_msg(secret_of(&secret, rows[i], strlen(rows[i]), &truncated) != NULL,
			      "'%s' was taken", rows[i]);
	}
}
END_TEST

START_TEST(test_truncation)
{
	char text[4 * SECRET_SIZE];
	struct secret secret;
	bool truncated;

	memset(text, 'a', sizeof(text));
	ck_assert_ptr_null(secret_of(&secret, text, SECRET_SIZE, &truncated));
	ck_assert(!truncated);
	ck_assert_ptr_null(secret_of(&secret, text, SECRET_SIZE + 1, &truncated));
	ck_assert(truncated);
	memcpy(text, "h:", 2);
	ck_assert_ptr_null(secret_of(&secret, text, 2 + 2 * SECRET_SIZE, &truncated));
	ck_assert(!truncated && secret.bytes[SECRET_SIZE - 1] == 0xaa);
	ck_assert_ptr_null(secret_of(&secret, text, 4 + 2 * SECRET_SIZE, &truncated));
	ck_assert(truncated);
}
END_TEST

static char file_path[] = "/tmp/knockgw-test-secret-XXXXXX";

static bool read_file(const char *bytes, size_t length, mode_t mode, struct secret *secret,
		      bool *truncated)
{
	char error[256] = "";

	ck_assert_int_eq(truncate(file_path, 0), 0);
	int fd = open(file_path, O_WRONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, length), (ssize_t)length);
	close(fd);
	ck_assert_int_eq(chmod(file_path, mode), 0);
	bool fine = secret_file_read(secret, file_path, (gid_t)-1, truncated, error, sizeof(error));
	ck_assert(fine == (error[0] == '\0'));
	ck_assert(fine || strstr(error, file_path) != NULL);
	return fine;
}

START_TEST(test_files)
{
	char bytes[SECRET_SIZE + 1] = "a\0b\n";
	struct secret secret;
	bool truncated;
	char error[256];

	strcpy(file_path + sizeof(file_path) - 7, "XXXXXX");
	close(mkstemp(file_path));
	ck_assert(read_file(bytes, SECRET_SIZE, 0600, &secret, &truncated) && !truncated);
	ck_assert_mem_eq(secret.bytes, bytes, SECRET_SIZE);
	ck_assert(read_file(bytes, SECRET_SIZE + 1, 0400, &secret, &truncated) && truncated);
	chmod(file_path, 0600);
	ck_assert(!read_file(bytes, 0, 0600, &secret, &truncated));
	ck_assert(!read_file(bytes, 4, 0640, &secret, &truncated));
	/* A group may be let in to read, that and nothing else. */
	ck_assert(
		secret_file_read(&secret, file_path, getegid(), &truncated, error, sizeof(error)));
	ck_assert(!secret_file_read(&secret, file_path, getegid() + 1, &truncated, error,
				    sizeof(error)));
	chmod(file_path, 0660);
	ck_assert(
		!secret_file_read(&secret, file_path, getegid(), &truncated, error, sizeof(error)));
	ck_assert(!read_file(bytes, 4, 0604, &secret, &truncated));
	unlink(file_path);
	ck_assert(
		!secret_file_read(&secret, file_path, (gid_t)-1, &truncated, error, sizeof(error)));
	ck_assert(!secret_file_read(&secret, "/", (gid_t)-1, &truncated, error, sizeof(error)));
	/* A FIFO without a writer must not hang. */
	ck_assert_int_eq(mkfifo(file_path, 0600), 0);
	ck_assert(
		!secret_file_read(&secret, file_path, (gid_t)-1, &truncated, error, sizeof(error)));
	unlink(file_path);
}
END_TEST

RUN_TESTS("secret", test_notations, test_bad_notations, test_truncation, test_files);
