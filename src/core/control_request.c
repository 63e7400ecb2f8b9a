/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control_request.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *word;
	size_t least;
	size_t most;
	const char *arguments;
} commands[] = {
#define CONTROL_ROW(name, word, least, most, arguments) \
	[CONTROL_##name] = {word, least, most, arguments},
	CONTROL_COMMAND_TABLE(CONTROL_ROW)
#undef CONTROL_ROW
};

const char *control_command_word(enum control_command command)
{
	return (unsigned int)command < CONTROL_COUNT ? commands[command].word : "unknown";
}

static bool is_printable(const char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (line[i] < 0x20 || line[i] >= 0x7f)
			return false;
	return true;
}

/* Copies the word that begins at *at. Returns false when there is none, or it is too long. */
static bool take_word(char word[static CONTROL_WORD_SIZE], const char *line, size_t length,
		      size_t *at)
{
	const char *begin = line + *at;
	const char *space = memchr(begin, ' ', length - *at);
	size_t size = space != NULL ? (size_t)(space - begin) : length - *at;

	if (size == 0 || size >= CONTROL_WORD_SIZE)
		return false;
	memcpy(word, begin, size);
	word[size] = '\0';
	*at += size;
	return true;
}

static bool find_command(struct control_request *request, const char *word)
{
	for (unsigned int i = 0; i < CONTROL_COUNT; i++) {
		if (strcmp(commands[i].word, word) != 0)
			continue;
		request->command = (enum control_command)i;
		return true;
	}
	return false;
}

static bool fail(char error[static CONTROL_ERROR_SIZE], const char *sentence)
{
	snprintf(error, CONTROL_ERROR_SIZE, "%s", sentence);
	return false;
}

bool control_request_parse(struct control_request *request, const char *line, size_t length,
			   char error[static CONTROL_ERROR_SIZE])
{
	char word[CONTROL_WORD_SIZE];
	size_t at = 0;

	*request = (struct control_request){0};
	if (length >= CONTROL_LINE_SIZE)
		return fail(error, "the request is too long");
	if (!is_printable(line, length))
		return fail(error, "expected printable ASCII");
	if (!take_word(word, line, length, &at))
		return fail(error, "expected a command");
	if (!find_command(request, word)) {
		snprintf(error, CONTROL_ERROR_SIZE, "this daemon has no command '%.100s'", word);
		return false;
	}
	while (at < length && request->count < CONTROL_ARGUMENTS) {
		at++;
		if (!take_word(request->arguments[request->count], line, length, &at))
			return fail(error, "expected words of at most 127 characters, separated by "
					   "single spaces");
		request->count++;
	}
	if (at == length && request->count >= commands[request->command].least &&
	    request->count <= commands[request->command].most)
		return true;
	snprintf(error, CONTROL_ERROR_SIZE, "expected '%s%s%s'", commands[request->command].word,
		 commands[request->command].most > 0 ? " " : "",
		 commands[request->command].arguments);
	return false;
}
