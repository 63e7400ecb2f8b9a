/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "control_client.h"
#include "core/flow.h"
#include "core/splice.h"
#include "io/config.h"
#include "io/state.h"
#include "io/worker.h"
#include "print_json.h"

#define DEFAULT_DIRECTORY "/var/lib/knockgw"

static const char USAGE[] =
	"Usage: knockctl flows [--state-directory D] [--socket PATH] [--json]\n"
	"Lists the connections that the egress role translates, from the files in which it keeps\n"
	"them. Works whether or not the daemon runs; root only, as these files are.\n"
	"\n"
	"  --state-directory D  where the files are (default: where the daemon says that they "
	"are;\n"
	"                       when it does not run, " DEFAULT_DIRECTORY ")\n"
	"  --socket PATH        control.socket of knockgw.conf (default " CONTROL_SOCKET ")\n"
	"  --json               print a JSON object a line instead of a table\n"
	"\n"
	"CLIENT and SERVER are the addresses on the wire, behind NAT; with integrity > 0 those "
	"that\n"
	"the client knows. ISN is the client's initial sequence number, TOKEN the one on the wire\n"
	"(00000000: not sent yet). EXPIRES is when the entry is forgotten if no segment comes; a "
	"half-made\n"
	"connection (collecting, connecting, delivering) is reset before, after collect_timeout "
	"or\n"
	"connect_timeout.\n";

struct listing {
	bool json;
	bool titled;
	bool printed;
};

static void print_title(struct listing *listing)
{
	if (!listing->json && !listing->titled)
		printf("%-13s %-28s %-28s %-8s  %-8s  %9s\n", "STATE", "CLIENT", "SERVER", "ISN",
		       "TOKEN", "EXPIRES");
	listing->titled = true;
}

/* What both kinds of flows have to say. */
struct row {
	const struct tuple *tuple;
	const char *mode;
	const char *state;
	uint32_t isn;
	uint32_t token;
	uint64_t remaining;
};

static void print_row(const struct row *row)
{
	char client[ENDPOINT_TEXT_SIZE];
	char server[ENDPOINT_TEXT_SIZE];

	printf("%-13s %-28s %-28s %08x  %08x  %7llu s\n", row->state,
	       endpoint_format(&row->tuple->source, client),
	       endpoint_format(&row->tuple->destination, server), row->isn, row->token,
	       (unsigned long long)(row->remaining / 1000));
}

static json_t *hex(uint32_t number)
{
	char text[9];

	snprintf(text, sizeof(text), "%08x", number);
	return json_string(text);
}

static bool print_object(const struct row *row)
{
	const struct tuple *tuple = row->tuple;
	char client[ENDPOINT_TEXT_SIZE];
	char server[ENDPOINT_TEXT_SIZE];

	return print_json(json_pack(
		"{ss ss ss si ss si so so sf}", "mode", row->mode, "state", row->state, "client",
		endpoint_format_address(&tuple->source, client), "client_port", tuple->source.port,
		"server", endpoint_format_address(&tuple->destination, server), "server_port",
		tuple->destination.port, "isn", hex(row->isn), "token", hex(row->token),
		"expires_s", (double)row->remaining / 1000));
}

static void print_any(struct listing *listing, const struct row *row)
{
	print_title(listing);
	if (listing->json)
		listing->printed = print_object(row) && listing->printed;
	else
		print_row(row);
}

static void print_flow(void *context, const struct tuple *tuple, const void *value,
		       uint64_t remaining)
{
	const struct flow *flow = value;
	const struct row row = {tuple,
				"auth",
				flow_state_word(flow),
				flow->syn.isn,
				flow->syn.isn + flow->syn.delta,
				remaining};

	print_any(context, &row);
}

static void print_splice(void *context, const struct tuple *tuple, const void *value,
			 uint64_t remaining)
{
	const struct splice_flow *flow = value;
	const struct row row = {tuple,       "integrity", splice_state_word(flow), flow->client_isn,
				flow->token, remaining};

	print_any(context, &row);
}

static int list(const char *directory, bool json)
{
	struct listing listing = {.json = json, .printed = true};
	char error[STATE_ERROR_SIZE];

	if (!state_read(directory, STATE_FLOWS, worker_now(), print_flow, &listing, error) ||
	    !state_read(directory, STATE_INTEGRITY, worker_now(), print_splice, &listing, error)) {
		complain("flows", "%s", error);
		return STATUS_FAILED;
	}
	print_title(&listing);
	if (fflush(stdout) != 0 || !listing.printed) {
		complain("flows", "cannot write to standard output");
		return STATUS_FAILED;
	}
	return STATUS_FINE;
}

/* Where a running daemon keeps its files. Returns NULL when none answers; else to free(). */
static char *directory_of_daemon(const char *socket)
{
	const struct control_options options = {.socket = socket};
	int status;
	json_t *answer = control_collect(&options, "flows", "status", true, &status);
	const json_t *object = json_array_get(answer, 0);
	const char *found = json_string_value(json_object_get(object, "state_directory"));
	char *directory = found != NULL ? strdup(found) : NULL;

	json_decref(answer);
	return directory;
}

static int list_default(const char *socket, bool json)
{
	char *directory = directory_of_daemon(socket);
	int status = list(directory != NULL ? directory : DEFAULT_DIRECTORY, json);

	free(directory);
	return status;
}

int flows_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"state-directory", required_argument, NULL, 'd'},
		{"socket", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *directory = NULL;
	const char *socket = CONTROL_SOCKET;
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			directory = optarg;
			break;
		case 's':
			socket = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			fputs(USAGE, stdout);
			return STATUS_FINE;
		default:
			return STATUS_USAGE;
		}
	}
	if (optind < argc)
		return complain("flows", "unexpected argument '%s'", argv[optind]);
	return directory != NULL ? list(directory, json) : list_default(socket, json);
}
