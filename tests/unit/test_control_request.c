/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/control_request.h"

#include "support.h"

static struct control_request request;
static char error[CONTROL_ERROR_SIZE];

static bool parse(const char *line)
{
	return control_request_parse(&request, line, strlen(line), error);
}

START_TEST(every_command_is_known)
{
	for (int i = 0; i < CONTROL_COUNT; i++) {
		const char *word = control_command_word((enum control_command)i);
		char line[CONTROL_LINE_SIZE];
		size_t given = 0;
		/* With as few arguments as it takes. */
		snprintf(line, sizeof(line), "%s", word);
		while (!parse(line) && given++ < CONTROL_ARGUMENTS)
			strncat(line, " a", sizeof(line) - strlen(line) - 1);
		ck_assert_int_eq(request.command, i);
		ck_assert_uint_eq(request.count, given);
	}
	ck_assert_str_eq(control_command_word(CONTROL_COUNT), "unknown");
}
END_TEST

START_TEST(arguments_are_words)
{
	ck_assert(parse("monitor debug"));
	ck_assert_int_eq(request.command, CONTROL_MONITOR);
	ck_assert_uint_eq(request.count, 1);
	ck_assert_str_eq(request.arguments[0], "debug");
	ck_assert(parse("kick www 1 2 3 4 5 6 7"));
	ck_assert_int_eq(request.command, CONTROL_KICK);
	ck_assert_uint_eq(request.count, CONTROL_ARGUMENTS);
	ck_assert_str_eq(request.arguments[0], "www");
	ck_assert_str_eq(request.arguments[7], "7");
}
END_TEST

START_TEST(anything_else_is_refused)
{
	static const struct {
		const char *line;
		const char *error;
	} cases[] = {
		{"", "expected a command"},
		{" status", "expected a command"},
		{"statu", "this daemon has no command 'statu'"},
		{"STATUS", "this daemon has no command 'STATUS'"},
		{"status ", "expected words of at most 127 characters, separated by single spaces"},
		{"monitor  debug",
		 "expected words of at most 127 characters, separated by single spaces"},
		{"status now", "expected 'status'"},
		{"monitor a b", "expected 'monitor [error|warning|info|debug]'"},
		{"monitor a b c", "expected 'monitor [error|warning|info|debug]'"},
		{"drain www", "expected 'drain SERVICE BACKEND'"},
		{"kick", "expected 'kick SERVICE [CLIENT|BACKEND...]'"},
		{"kick www 1 2 3 4 5 6 7 8", "expected 'kick SERVICE [CLIENT|BACKEND...]'"},
		{"undrain www 10.0.0.1 more", "expected 'undrain SERVICE BACKEND'"},
		{"status\r", "expected printable ASCII"},
		{"status\t", "expected printable ASCII"},
		{"st\xc3\xa4tus", "expected printable ASCII"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(!parse(cases[i].line), "accepted: %s", cases[i].line);
		ck_assert_str_eq(error, cases[i].error);
	}
	ck_assert(!control_request_parse(&request, "status\0x", 8, error));
	ck_assert_str_eq(error, "expected printable ASCII");
}
END_TEST

START_TEST(lengths_are_bounded)
{
	char line[2 * CONTROL_LINE_SIZE];
	memset(line, 'a', sizeof(line));
	ck_assert(!control_request_parse(&request, line, CONTROL_LINE_SIZE, error));
	ck_assert_str_eq(error, "the request is too long");
	ck_assert(!control_request_parse(&request, line, CONTROL_WORD_SIZE, error));
	ck_assert_str_eq(error, "expected a command");
	ck_assert(!control_request_parse(&request, line, CONTROL_WORD_SIZE - 1, error));
	memcpy(line, "monitor ", 8);
	ck_assert(control_request_parse(&request, line, 8 + CONTROL_WORD_SIZE - 1, error));
	ck_assert_uint_eq(strlen(request.arguments[0]), CONTROL_WORD_SIZE - 1);
	ck_assert(!control_request_parse(&request, line, 8 + CONTROL_WORD_SIZE, error));
}
END_TEST

START_TEST(random_lines_do_no_harm)
{
	static const char *const pieces[] = {"monitor", "kick", " ",     "x",
					     "\n",      "\0",   "debug", "\xff"};
	uint64_t seed = 11;
	for (unsigned int round = 0; round < 50000; round++) {
		char line[CONTROL_LINE_SIZE];
		size_t length = 0;
		for (unsigned int i = random32(&seed) % 12; i > 0; i--) {
			const char *piece = pieces[random32(&seed) % 8];
			size_t size = strlen(piece) + (piece[0] == '\0');
			memcpy(line + length, piece, size);
			length += size;
		}
		error[0] = '\0';
		bool fine = control_request_parse(&request, line, length, error);
		ck_assert(fine ? request.command < CONTROL_COUNT : error[0] != '\0');
		for (const char *at = error; *at != '\0'; at++)
			ck_assert(*at >= 0x20 && *at < 0x7f);
	}
}
END_TEST

RUN_TESTS("control_request", every_command_is_known, arguments_are_words, anything_else_is_refused,
	  lengths_are_bounded, random_lines_do_no_harm);
