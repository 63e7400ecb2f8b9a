/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/replay.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"
#include "io/capture.h"
#include "io/config.h"
#include "io/service_rows.h"
#include "print_json.h"

static const char USAGE[] =
	"Usage: knockctl replay --config F [--summary] CAPTURE...\n"
	"Judges the packets of captures as knockgw would with that configuration, and prints a "
	"JSON\n"
	"object a line for each packet that the daemon would be asked about. Needs no privileges.\n"
	"\n"
	"  --config F  configuration with the services\n"
	"  --summary   print one object with what came of all connections instead\n"
	"\n"
	"Captures: pcap or pcapng; Ethernet, raw IP or Linux cooked. A packet that the capture "
	"holds\n"
	"only in part is judged by what is there. Replay protection is applied to services that "
	"set\n"
	"replay_window: else one connection that was captured in two places would be refused.\n";

struct session {
	const char *config;
	bool summary;
	struct replay *replay;
	struct guards *guards;
	size_t cut; /* packets */
};

static bool print_decision(const struct captured_packet *captured, const struct tuple *tuple,
			   const char *kind, const struct decision *decision)
{
	char source[ENDPOINT_TEXT_SIZE];
	char destination[ENDPOINT_TEXT_SIZE];
	double time = (double)captured->seconds + (double)captured->microseconds / 1e6;
	const struct service *service = decision->service;

	return print_json(json_pack(
		"{sf ss si ss si ss ss so ss ss ss}", "time", time, "src",
		endpoint_format_address(&tuple->source, source), "sport", tuple->source.port, "dst",
		endpoint_format_address(&tuple->destination, destination), "dport",
		tuple->destination.port, "kind", kind, "service", service->name, "key",
		decision->key != NULL ? json_string(decision->key->name) : json_null(), "mode",
		service->integrity > 0 ? "integrity" : "auth", "verdict",
		verdict_word(decision->verdict), "reason", reason_word(decision->reason)));
}

static bool judge(struct session *session, const struct captured_packet *captured)
{
	struct packet packet;
	struct segment segment;
	struct decision decision;

	if (!replay_read(&packet, &segment, captured->bytes, captured->length))
		return true;
	struct tuple tuple = segment.tuple;
	const char *kind = replay_kind(&segment);
	struct moment now = {
		.steady = (uint64_t)(captured->seconds * 1000 + captured->microseconds / 1000),
		.wall = captured->seconds,
	};
	if (!replay_segment(session->replay, &segment, now, &decision) || session->summary)
		return true;
	return print_decision(captured, &tuple, kind, &decision);
}

static int replay_file(struct session *session, const char *path)
{
	char error[CAPTURE_ERROR_SIZE];
	struct captured_packet captured;
	struct capture *capture = capture_open(path, error);
	int more = 0;
	bool printed = true;

	if (capture == NULL) {
		complain("replay", "%s", error);
		return STATUS_FAILED;
	}
	while (printed && (more = capture_next(capture, &captured, error)) > 0) {
		session->cut += captured.cut;
		printed = judge(session, &captured);
	}
	capture_close(capture);
	if (more < 0)
		complain("replay", "%s: %s", path, error);
	return printed && more >= 0 ? STATUS_FINE : STATUS_FAILED;
}

static bool print_summary(const struct session *session)
{
	struct replay_summary summary = replay_summary(session->replay);

	return print_json(json_pack(
		"{sI sI sI sI sI}", "connections", (json_int_t)summary.connections, "opened",
		(json_int_t)summary.opened, "pending", (json_int_t)summary.pending, "refused_syn",
		(json_int_t)summary.refused_syn, "refused_data", (json_int_t)summary.refused_data));
}

static int run(struct session *session, const struct config *config, int count, char **paths)
{
	/* Nobody attacks the tables of a program that reads a file. */
	static const uint8_t no_key[16];
	struct service_table *services = service_table_of_config(config);
	int status = STATUS_FINE;

	session->guards = guards_new(config->max_flows, no_key);
	session->replay = services != NULL ? replay_new(services, config->max_flows) : NULL;
	if (session->replay == NULL || session->guards == NULL) {
		complain("replay", "out of memory");
		status = STATUS_FAILED;
	} else {
		replay_use_guards(session->replay, session->guards);
	}
	for (int i = 0; i < count && status == STATUS_FINE; i++)
		status = replay_file(session, paths[i]);
	/* Also of what came before the place where a capture is damaged. */
	if (session->replay != NULL && session->summary && !print_summary(session))
		status = STATUS_FAILED;
	if (fflush(stdout) != 0)
		status = STATUS_FAILED;
	if (session->cut > 0)
		complain("replay",
			 "%zu packets were captured only in part (snaplen): what is missing may "
			 "change what came of them",
			 session->cut);
	replay_free(session->replay);
	guards_free(session->guards);
	service_table_free(services);
	return status;
}

static int parse_options(int argc, char **argv, struct session *session)
{
	static const struct option known[] = {
		{"config", required_argument, NULL, 'c'},
		{"summary", no_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "c:sh", known, NULL)) != -1) {
		switch (option) {
		case 'c':
			session->config = optarg;
			break;
		case 's':
			session->summary = true;
			break;
		case 'h':
			fputs(USAGE, stdout);
			return -1;
		default:
			return STATUS_USAGE;
		}
	}
	if (session->config == NULL)
		return complain("replay", "--config is missing; try --help");
	return optind < argc ? STATUS_FINE : complain("replay", "no capture was named; try --help");
}

int replay_main(int argc, char **argv)
{
	struct session session = {0};
	struct diagnostics diagnostics = {0};
	int status = parse_options(argc, argv, &session);

	if (status != STATUS_FINE)
		return status < 0 ? STATUS_FINE : status;
	struct config *config = config_load_offline(session.config, &diagnostics);
	diagnostics_print(&diagnostics, stderr);
	diagnostics_free(&diagnostics);
	if (config == NULL)
		return STATUS_USAGE;
	for (size_t i = 0; i < config->service_count; i++)
		if (!config->services[i].replay_window_given)
			config->services[i].service.replay_window = 0;
	status = run(&session, config, argc - optind, argv + optind);
	config_free(config);
	return status;
}
