/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A look at the text itself: libconfig cuts numbers that do not fit and strings at a NUL, and says
 * nothing (port = 4294967318 would become 22). Tokens are libconfig's own. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config_reader.h"
#include "core/secret.h"
#include "secret_memory.h"

enum { FILE_LIMIT = 1024 * 1024, DIGITS_LIMIT = 24 };

char *config_slurp(FILE *stream, size_t *length, size_t *size)
{
	struct stat status;
	if (fstat(fileno(stream), &status) != 0)
		return NULL;
	if (S_ISDIR(status.st_mode)) {
		errno = EISDIR;
		return NULL;
	}
	*size = S_ISREG(status.st_mode) && status.st_size < FILE_LIMIT ? (size_t)status.st_size + 2
								       : FILE_LIMIT + 2;
	char *text = secret_memory_new(*size, NULL);
	if (!text)
		return NULL;
	/* Unbuffered: what was read leaves no copy in the stream. */
	setvbuf(stream, NULL, _IONBF, 0);
	*length = fread(text, 1, *size - 1, stream);
	if (ferror(stream) || *length == *size - 1) {
		int reason = ferror(stream) ? EIO : EFBIG;
		secret_memory_free(text, *size);
		errno = reason;
		return NULL;
	}
	return text;
}

struct scanner {
	struct reader *reader;
	const char *name; /* of the source */
	const char *at;
	const char *end;
	unsigned int line;
	unsigned int long_string; /* line of the first string that ends on another line */
	bool broken;
};

static bool scanner_sees(const struct scanner *scanner, const char *text)
{
	size_t length = strlen(text);
	return (size_t)(scanner->end - scanner->at) >= length &&
	       memcmp(scanner->at, text, length) == 0;
}

static void scanner_advance(struct scanner *scanner, size_t count)
{
	for (; count > 0 && scanner->at < scanner->end; count--)
		if (*scanner->at++ == '\n')
			scanner->line++;
}

static void skip_line(struct scanner *scanner)
{
	while (scanner->at < scanner->end && *scanner->at != '\n')
		scanner->at++;
}

static void skip_block_comment(struct scanner *scanner)
{
	unsigned int start = scanner->line;
	scanner_advance(scanner, 2);
	while (scanner->at < scanner->end && !scanner_sees(scanner, "*/"))
		scanner_advance(scanner, 1);
	if (scanner->at == scanner->end) {
		scanner->broken = true;
		reader_file_error(scanner->reader, scanner->name, start,
				  "found a comment without end, expected */");
	}
	scanner_advance(scanner, 2);
}

/* The first string across lines is the likely place of a forgotten quote. */
static void end_string(struct scanner *scanner, unsigned int start)
{
	if (scanner->line != start && scanner->long_string == 0)
		scanner->long_string = start;
	if (scanner->at < scanner->end)
		return;
	scanner->broken = true;
	reader_file_error(scanner->reader, scanner->name,
			  scanner->long_string ? scanner->long_string : start,
			  "found a string without end, expected a closing quote");
}

static void skip_string(struct scanner *scanner)
{
	unsigned int start = scanner->line;
	scanner_advance(scanner, 1);
	while (scanner->at < scanner->end && *scanner->at != '"') {
		if (scanner_sees(scanner, "\\x00"))
			reader_file_error(scanner->reader, scanner->name, scanner->line,
					  "found \\x00 in a string, expected no NUL byte (a "
					  "secret with one can be written in h: notation)");
		scanner_advance(scanner, *scanner->at == '\\' ? 2 : 1);
	}
	end_string(scanner, start);
	scanner_advance(scanner, 1);
}

static void remember_line(struct scanner *scanner)
{
	struct source *source = reader_source(scanner->reader, scanner->name);
	if (!source)
		return;
	unsigned int *grown = reallocarray(source->lines, source->line_count + 1, sizeof(*grown));
	if (!grown)
		return;
	source->lines = grown;
	grown[source->line_count++] = scanner->line;
}

/* Whether libconfig can hold a number: an int, or with L at its end a long long; hex fills all
 * bits. */
static bool number_fits(const char *digits, bool negative, bool hex, bool is_long)
{
	errno = 0;
	unsigned long long value = strtoull(digits, NULL, hex ? 16 : 10);
	if (errno != 0)
		return false;
	if (hex)
		return is_long ? value <= INT64_MAX : value <= UINT32_MAX;
	unsigned long long limit = is_long ? INT64_MAX : INT32_MAX;
	return value <= limit + (negative ? 1 : 0);
}

static bool is_digit(char character, bool hex)
{
	return hex ? isxdigit((unsigned char)character) : isdigit((unsigned char)character);
}

static void scan_number(struct scanner *scanner)
{
	bool negative = *scanner->at == '-';
	if (*scanner->at == '-' || *scanner->at == '+')
		scanner->at++;
	bool hex = scanner_sees(scanner, "0x") || scanner_sees(scanner, "0X");
	if (hex)
		scanner->at += 2;
	const char *start = scanner->at;
	while (scanner->at < scanner->end && is_digit(*scanner->at, hex))
		scanner->at++;
	int length = (int)(scanner->at - start < FOUND_LIMIT ? scanner->at - start : FOUND_LIMIT);
	char next = scanner->at < scanner->end ? *scanner->at : ' ';
	if (!hex && (next == '.' || next == 'e' || next == 'E'))
		return; /* a floating-point number, which no key takes */
	char digits[FOUND_LIMIT + 1];
	snprintf(digits, sizeof(digits), "%.*s", length, start);
	if (number_fits(digits, negative, hex, next == 'L'))
		return;
	remember_line(scanner);
	reader_file_error(scanner->reader, scanner->name, scanner->line,
			  "found the number %s%s%s, expected one that fits 32 bits (in hex from "
			  "0x80000000 on)",
			  negative ? "-" : "", hex ? "0x" : "", digits);
}

static void skip_word(struct scanner *scanner)
{
	while (scanner->at < scanner->end &&
	       (isalnum((unsigned char)*scanner->at) || strchr("_-*", *scanner->at)))
		scanner->at++;
}

static void scan_token(struct scanner *scanner)
{
	unsigned char first = (unsigned char)*scanner->at;
	unsigned char second =
		scanner->at + 1 < scanner->end ? (unsigned char)scanner->at[1] : '\0';
	if (first == '#' || scanner_sees(scanner, "//"))
		skip_line(scanner);
	else if (scanner_sees(scanner, "/*"))
		skip_block_comment(scanner);
	else if (first == '"')
		skip_string(scanner);
	else if (isdigit(first) || ((first == '-' || first == '+') && isdigit(second)))
		scan_number(scanner);
	else if (isalpha(first) || first == '*')
		skip_word(scanner);
	else
		scanner_advance(scanner, 1);
}

bool config_scan(struct reader *reader, const char *name, const char *text, size_t length)
{
	struct scanner scanner = {
		.reader = reader, .name = name, .at = text, .end = text + length, .line = 1};
	const char *nul = memchr(text, '\0', length);
	if (nul) {
		scanner_advance(&scanner, (size_t)(nul - text));
		reader_file_error(reader, name, scanner.line,
				  "found a NUL byte, expected a text file");
		return false;
	}
	while (scanner.at < scanner.end)
		scan_token(&scanner);
	return !scanner.broken;
}
