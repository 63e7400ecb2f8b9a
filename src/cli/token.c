/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/token.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "io/privileges.h"
#include "io/secret_file.h"
#include "token_input.h"

static const char USAGE[] =
	"Usage: knockctl token --address A --port P [--tsval HEX]\n"
	"                      [--payload-file F | --payload-hex H] [--secret-file F]\n"
	"       knockctl token --batch\n"
	"Prints the initial sequence number of a SYN to that address and port as 8 hex digits.\n"
	"\n"
	"  --address A       destination as the receiver sees it, IPv4 or IPv6\n"
	"  --port P          destination port\n"
	"  --tsval HEX       TSval of the SYN; left out: a SYN without timestamps\n"
	"  --payload-file F  integrity mode, over all bytes of F\n"
	"  --payload-hex H   integrity mode, over these bytes\n"
	"  --secret-file F   the secret is the content of F\n"
	"  --batch           read lines 'family dst port tsval_hex secret_hex payload_hex',\n"
	"                    separated by tabs, and print a number for each\n"
	"\n"
	"Without --secret-file the secret is taken from the environment variable KNOCK_SECRET:\n"
	"plain text, h:HEXDIGITS, f:FILE or r:LENGTH:BYTES.\n";

struct request {
	struct endpoint destination;
	bool has_port;
	uint32_t tsval;
	struct payload payload;
	bool integrity;
	const char *secret_file;
	bool batch;
};

static uint32_t isn_of(const struct secret *secret, const struct endpoint *destination,
		       uint32_t tsval, const struct payload *payload, bool integrity)
{
	if (!integrity)
		return token_auth(secret, destination, tsval);
	return token_integrity(secret, destination, tsval,
			       token_payload_hash(secret, payload->bytes, payload->length));
}

static void warn_truncated(const char *where)
{
	fprintf(stderr,
		"knockctl token: warning: %s: the secret is longer than %d bytes, the rest is "
		"ignored\n",
		where, SECRET_SIZE);
}

static bool secret_of_file(struct secret *secret, const char *path)
{
	char error[512];
	bool truncated = false;

	if (!secret_file_read(secret, path, privileges_group(NULL), &truncated, error,
			      sizeof(error))) {
		complain("token", "%s", error);
		return false;
	}
	if (truncated)
		warn_truncated(path);
	return true;
}

static bool secret_of_text(struct secret *secret, const char *text)
{
	struct secret_text parsed;
	const char *error = NULL;
	bool truncated = false;

	if (!secret_text_parse(&parsed, text, strlen(text), &error)) {
		complain("token", "KNOCK_SECRET: %s", error);
		return false;
	}
	if (parsed.notation == SECRET_FILE)
		return secret_of_file(secret, parsed.value);
	if (!secret_from_text(secret, &parsed, &truncated, &error)) {
		complain("token", "KNOCK_SECRET: %s", error);
		return false;
	}
	if (truncated)
		warn_truncated("KNOCK_SECRET");
	return true;
}

static bool secret_of_environment(struct secret *secret)
{
	char *text = getenv("KNOCK_SECRET");

	if (text == NULL) {
		complain("token", "no secret: set KNOCK_SECRET or give --secret-file");
		return false;
	}
	bool known = secret_of_text(secret, text);
	/* Nor shall /proc/PID/environ show it any longer than it must. */
	secret_wipe(text, strlen(text));
	return known;
}

static int finish_output(void)
{
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return STATUS_FINE;
	complain("token", "standard output: %s", strerror(errno));
	return STATUS_FAILED;
}

/* One line of --batch. Returns false after a complaint. */
static bool answer_line(char *line, size_t length, unsigned long number)
{
	struct token_line parsed;
	const char *error = token_line_parse(&parsed, line, length);

	if (error != NULL) {
		complain("token", "line %lu: %s", number, error);
		return false;
	}
	if (parsed.secret_truncated) {
		char where[32];
		snprintf(where, sizeof(where), "line %lu", number);
		warn_truncated(where);
	}
	printf("%08x\n", isn_of(&parsed.secret, &parsed.destination, parsed.tsval, &parsed.payload,
				parsed.payload.length > 0));
	secret_wipe(&parsed.secret, sizeof(parsed.secret));
	free(parsed.payload.bytes);
	return true;
}

/* Ends at the first bad line, so that line n of the output always belongs to line n of the input.
 */
static bool answer_lines(char **line, size_t *room)
{
	ssize_t length;

	for (unsigned long number = 1; (length = getline(line, room, stdin)) >= 0; number++) {
		bool header = number == 1 && strncmp(*line, "family\t", 7) == 0;
		bool fine = header || answer_line(*line, (size_t)length, number);
		secret_wipe(*line, (size_t)length);
		if (!fine)
			return false;
	}
	return true;
}

static int run_batch(void)
{
	/* Buffers of our own can be wiped; the longest line fits, so getline never moves it. */
	static char input[65536];
	size_t room = 262144;
	char *line = malloc(room);

	if (line == NULL) {
		complain("token", "out of memory");
		return STATUS_FAILED;
	}
	setvbuf(stdin, input, _IOFBF, sizeof(input));
	int status = answer_lines(&line, &room) ? STATUS_FINE : STATUS_USAGE;
	free(line);
	secret_wipe(input, sizeof(input));
	if (ferror(stdin)) {
		complain("token", "standard input: %s", strerror(errno));
		status = STATUS_FAILED;
	}
	int written = finish_output();
	return status == STATUS_FINE ? written : status;
}

enum {
	OPTION_ADDRESS,
	OPTION_PORT,
	OPTION_TSVAL,
	OPTION_FILE,
	OPTION_HEX,
	OPTION_SECRET_FILE,
	OPTION_SECRET,
	OPTION_BATCH,
	OPTION_HELP
};

static bool take_payload(struct request *request, int option)
{
	const char *error;

	if (request->integrity) {
		complain("token", "two payloads were given, expected one");
		return false;
	}
	if (option == OPTION_FILE)
		error = payload_read_file(&request->payload, optarg);
	else if (*optarg == '\0')
		error = "expected 1 to 65535 bytes; leave it out for authentication mode";
	else
		error = payload_parse_hex(&request->payload, optarg);
	if (error != NULL)
		complain("token", "%s: %s", option == OPTION_FILE ? optarg : "--payload-hex",
			 error);
	request->integrity = true;
	return error == NULL;
}

static bool take_option(struct request *request, int option)
{
	struct endpoint *destination = &request->destination;
	uint16_t port = destination->port;

	switch (option) {
	case OPTION_ADDRESS:
		if (!endpoint_parse_address(destination, optarg)) {
			complain("token", "--address: found '%s', expected an IPv4 or IPv6 address",
				 optarg);
			return false;
		}
		destination->port = port;
		return true;
	case OPTION_PORT:
		request->has_port = number_parse_port(&destination->port, optarg);
		if (!request->has_port)
			complain("token", "--port: found '%s', expected 1 to 65535", optarg);
		return request->has_port;
	case OPTION_TSVAL:
		if (number_parse_hex32(&request->tsval, optarg))
			return true;
		complain("token", "--tsval: found '%s', expected up to 8 hex digits", optarg);
		return false;
	case OPTION_FILE:
	case OPTION_HEX:
		return take_payload(request, option);
	case OPTION_SECRET_FILE:
		request->secret_file = optarg;
		return true;
	case OPTION_SECRET:
		/* Otherwise taken for a short form of --secret-file, with the secret as the name.
		 */
		complain("token", "everybody can read a secret on the command line; "
				  "set KNOCK_SECRET or give --secret-file");
		return false;
	default:
		request->batch = true;
		return true;
	}
}

static int check_request(const struct request *request, int argc)
{
	if (request->batch)
		return argc == 2 ? STATUS_FINE
				 : complain("token", "--batch goes with no other option");
	if (request->destination.family == 0)
		return complain("token", "--address is missing; try --help");
	if (!request->has_port)
		return complain("token", "--port is missing; try --help");
	return STATUS_FINE;
}

/* Returns an exit status, or -1 when all is said. */
static int parse_options(int argc, char **argv, struct request *request)
{
	static const struct option known[] = {
		{"address", required_argument, NULL, OPTION_ADDRESS},
		{"port", required_argument, NULL, OPTION_PORT},
		{"tsval", required_argument, NULL, OPTION_TSVAL},
		{"payload-file", required_argument, NULL, OPTION_FILE},
		{"payload-hex", required_argument, NULL, OPTION_HEX},
		{"secret-file", required_argument, NULL, OPTION_SECRET_FILE},
		{"secret", required_argument, NULL, OPTION_SECRET},
		{"batch", no_argument, NULL, OPTION_BATCH},
		{"help", no_argument, NULL, OPTION_HELP},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == OPTION_HELP) {
			fputs(USAGE, stdout);
			return -1;
		}
		if (option == '?' || !take_option(request, option))
			return STATUS_USAGE;
	}
	return optind < argc ? complain("token", "unexpected argument '%s'", argv[optind])
			     : check_request(request, argc);
}

static int run_once(const struct request *request)
{
	struct secret secret;
	bool known = request->secret_file != NULL ? secret_of_file(&secret, request->secret_file)
						  : secret_of_environment(&secret);

	if (known)
		printf("%08x\n", isn_of(&secret, &request->destination, request->tsval,
					&request->payload, request->integrity));
	secret_wipe(&secret, sizeof(secret));
	return known ? finish_output() : STATUS_USAGE;
}

int token_main(int argc, char **argv)
{
	struct request request = {0};
	int status = parse_options(argc, argv, &request);

	if (status == STATUS_FINE)
		status = request.batch ? run_batch() : run_once(&request);
	free(request.payload.bytes);
	return status < 0 ? STATUS_FINE : status;
}
