/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cli.h"
#include "io/config.h"
#include "show.h"

static const char USAGE[] =
	"Usage: knockctl status [--socket PATH] [--json]\n"
	"Shows how the daemon is doing.\n"
	"\n" CONTROL_OPTIONS_USAGE "\n"
	"Queues: WAITING packets have no verdict yet; DROPPED ones found the queue full, SOCKET "
	"ones\n"
	"the socket of the queue; ERRORS are verdicts that the kernel did not take.\n";

static json_int_t number(const json_t *object, const char *member)
{
	return json_integer_value(json_object_get(object, member));
}

static const char *text(const json_t *object, const char *member)
{
	const char *value = json_string_value(json_object_get(object, member));

	return value != NULL ? value : "-";
}

/* 93784 seconds: "1 d 02:03:04". */
static void print_duration(json_int_t seconds)
{
	if (seconds >= 86400)
		printf("%lld d ", (long long)(seconds / 86400));
	printf("%02lld:%02lld:%02lld", (long long)(seconds / 3600 % 24),
	       (long long)(seconds / 60 % 60), (long long)(seconds % 60));
}

static void print_time(json_int_t seconds)
{
	time_t moment = (time_t)seconds;
	struct tm parts;
	char written[64] = "-";

	if (localtime_r(&moment, &parts) != NULL)
		strftime(written, sizeof(written), "%Y-%m-%d %H:%M:%S %Z", &parts);
	fputs(written, stdout);
}

static void print_restart(const json_t *keys)
{
	if (json_array_size(keys) == 0)
		return;
	fputs("                changed, but wait for a restart:", stdout);
	for (size_t i = 0; i < json_array_size(keys); i++)
		printf("%s %s", i > 0 ? "," : "", json_string_value(json_array_get(keys, i)));
	putchar('\n');
}

static void print_configuration(const json_t *configuration)
{
	const json_t *age = json_object_get(configuration, "file_age_s");

	printf("configuration:  %s, read ", text(configuration, "file"));
	print_time(number(configuration, "loaded"));
	if (json_is_integer(age)) {
		fputs(", file changed ", stdout);
		print_duration(json_integer_value(age));
		fputs(" ago", stdout);
	}
	putchar('\n');
	if (!json_is_integer(age))
		puts("                the file is gone, or cannot be read by the daemon");
	else if (json_is_true(json_object_get(configuration, "changed_since")))
		puts("                the file has changed since: knockctl reload takes it over");
	print_restart(json_object_get(configuration, "needs_restart"));
	if (json_is_true(json_object_get(configuration, "last_reload_failed")))
		puts("                the last reload failed: knockgw --check tells why");
}

static void print_status(const json_t *objects)
{
	static const struct column queues[] = {
		{"QUEUES", "role", false},          {"WAITING", "waiting", true},
		{"PACKETS", "packets", true},       {"DROPPED", "dropped", true},
		{"SOCKET", "socket_dropped", true}, {"ERRORS", "verdict_errors", true},
	};
	const json_t *status = json_array_get(objects, 0);

	printf("knockgw:        %s, process %lld, up ", text(status, "version"),
	       (long long)number(status, "pid"));
	print_duration(number(status, "uptime_s"));
	putchar('\n');
	print_configuration(json_object_get(status, "configuration"));
	printf("ruleset:        %s\n", text(status, "ruleset"));
	printf("services:       %lld, connections that wait for their payload check: %lld\n",
	       (long long)number(status, "services"), (long long)number(status, "pending"));
	printf("egress:         %lld, connections translated: %lld of at most %lld\n",
	       (long long)number(status, "egress"), (long long)number(status, "flows"),
	       (long long)number(status, "max_flows"));
	const json_t *guess = json_object_get(status, "blind_guess");
	if (json_is_object(guess))
		printf("guessing:       %s\n", text(guess, "odds"));
	printf("log:            level %s, lines suppressed: %lld\n", text(status, "log_level"),
	       (long long)number(status, "log_lines_suppressed"));
	putchar('\n');
	print_table(json_object_get(status, "queues"), queues, sizeof(queues) / sizeof(queues[0]));
}

int status_main(int argc, char **argv)
{
	static const struct show show = {"status", USAGE, print_status, 0, 0};

	return show_main(argc, argv, &show);
}
