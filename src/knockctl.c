/* SPDX-License-Identifier: GPL-2.0-or-later */
/* knockctl: the tool beside the gateway daemon. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "build-config.h"
#include "cli/cli.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *description;
} commands[] = {
	{"status", status_main, "Show how the daemon is doing"},
	{"services", services_main, "List services and egress destinations"},
	{"backends", backends_main, "List the backends of all services"},
	{"flows", flows_main, "List the connections that the egress role translates"},
	{"stats", stats_main, "Show packets by service, key, reason, verdict and queue"},
	{"reload", reload_main, "Have the daemon read its configuration again"},
	{"drain", drain_main, "Send no new connections to a backend"},
	{"undrain", undrain_main, "Send new connections to a drained backend again"},
	{"kick", kick_main, "End established connections of a service"},
	{"monitor", monitor_main, "Show events as they happen"},
	{"token", token_main, "Print the initial sequence number that a secret makes"},
	{"genkey", genkey_main, "Print a fresh random secret"},
	{"replay", replay_main, "Judge the packets of a capture as the daemon would"},
};

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

int complain(const char *command, const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "knockctl %s: ", command);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return STATUS_USAGE;
}

static void print_usage(FILE *stream)
{
	fputs("Usage: knockctl COMMAND [OPTIONS]\n\nCommands:\n", stream);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(stream, "  %-8s %s\n", commands[i].name, commands[i].description);
	fputs("\n'knockctl help COMMAND' or 'knockctl COMMAND --help' tells more; "
	      "'knockctl --version' prints the version.\n",
	      stream);
}

static int run_command(const char *name, int argc, char **argv)
{
	char title[64];

	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(name, commands[i].name) != 0)
			continue;
		/* getopt puts this in front of its complaints. */
		snprintf(title, sizeof(title), "knockctl %s", name);
		argv[0] = title;
		return commands[i].run(argc, argv);
	}
	fprintf(stderr, "knockctl: there is no command '%s'; try 'knockctl --help'\n", name);
	return STATUS_USAGE;
}

static int help(int argc, char **argv)
{
	char option[] = "--help";
	char *arguments[] = {NULL, option, NULL};

	if (argc > 1)
		return run_command(argv[1], 2, arguments);
	print_usage(stdout);
	return STATUS_FINE;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_usage(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "help") == 0)
		return help(argc - 1, argv + 1);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help(1, argv);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("knockctl " PACKAGE_VERSION);
		return STATUS_FINE;
	}
	return run_command(argv[1], argc - 1, argv + 1);
}
