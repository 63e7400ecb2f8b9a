/* SPDX-License-Identifier: GPL-2.0-or-later */
/* knockgw: the gateway daemon. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build-config.h"
#include "core/odds.h"
#include "io/config.h"
#include "io/daemon.h"
#include "io/offload.h"
#include "io/privileges.h"
#include "io/ruleset.h"
#include "io/ruleset_keeper.h"

#define DEFAULT_CONFIG SYSCONFDIR "/knockgw/knockgw.conf"

/* Exit statuses, as documented in knockgw(8). */
enum { STATUS_FINE = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

enum action {
	ACTION_RUN,
	ACTION_CHECK,
	ACTION_PRINT_RULESET,
	ACTION_REMOVE_RULESET,
	ACTION_HELP,
	ACTION_VERSION,
};

struct options {
	const char *config;
	enum action action;
	bool foreground;
};

static void print_usage(FILE *stream)
{
	fputs("Usage: knockgw [--config FILE] [--foreground | --check | --print-ruleset]\n"
	      "       knockgw --remove-ruleset\n"
	      "Hides TCP services from everyone who does not hold their secret.\n"
	      "\n"
	      "  -c, --config FILE    read FILE instead of " DEFAULT_CONFIG "\n"
	      "  -f, --foreground     stay in the foreground, log to standard error\n"
	      "      --check          check the configuration, print the odds of a guess, exit\n"
	      "      --print-ruleset  print the nftables ruleset for the configuration and exit\n"
	      "      --remove-ruleset remove the nftables table that a stopped knockgw has left\n"
	      "  -h, --help           print this help and exit\n"
	      "  -V, --version        print the version and exit\n"
	      "\n"
	      "Exit status: 0 fine, 1 failed while running, 2 wrong usage or configuration.\n",
	      stream);
}

static bool parse_options(int argc, char **argv, struct options *options)
{
	enum { OPTION_CHECK = 256, OPTION_PRINT_RULESET, OPTION_REMOVE_RULESET };
	static const struct option known[] = {
		{"config", required_argument, NULL, 'c'},
		{"foreground", no_argument, NULL, 'f'},
		{"check", no_argument, NULL, OPTION_CHECK},
		{"print-ruleset", no_argument, NULL, OPTION_PRINT_RULESET},
		{"remove-ruleset", no_argument, NULL, OPTION_REMOVE_RULESET},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{0},
	};
	int option;

	*options = (struct options){.config = DEFAULT_CONFIG};
	while ((option = getopt_long(argc, argv, "c:fhV", known, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->config = optarg;
			break;
		case 'f':
			options->foreground = true;
			break;
		case OPTION_CHECK:
			options->action = ACTION_CHECK;
			break;
		case OPTION_PRINT_RULESET:
			options->action = ACTION_PRINT_RULESET;
			break;
		case OPTION_REMOVE_RULESET:
			options->action = ACTION_REMOVE_RULESET;
			break;
		case 'h':
			options->action = ACTION_HELP;
			break;
		case 'V':
			options->action = ACTION_VERSION;
			break;
		default:
			fputs("Try 'knockgw --help'.\n", stderr);
			return false;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "knockgw: unexpected argument '%s'; try 'knockgw --help'\n",
			argv[optind]);
		return false;
	}
	return true;
}

/* Says what is wrong with the file and returns NULL, or warns and returns what it says. status:
 * what to end with then. A service manager tries again unless the file is wrong. */
static struct config *load(const char *path, int *status)
{
	struct diagnostics diagnostics = {0};
	struct config *config = config_load(path, &diagnostics);

	*status = diagnostics.memory_short ? STATUS_FAILED : STATUS_USAGE;
	diagnostics_print(&diagnostics, stderr);
	diagnostics_free(&diagnostics);
	return config;
}

static int print_ruleset(const struct config *config)
{
	ruleset_write(stdout, config, true);
	return fflush(stdout) == 0 ? STATUS_FINE : STATUS_FAILED;
}

static int remove_ruleset(void)
{
	char error[NFT_ERROR_SIZE];

	if (ruleset_keeper_remove(error))
		return STATUS_FINE;
	fprintf(stderr, "knockgw: table inet " RULESET_TABLE " is not removed: %s\n", error);
	return STATUS_FAILED;
}

/* How strong what was configured is. */
static int print_odds(const struct config *config)
{
	char line[ODDS_LINE_SIZE];

	for (size_t i = 0; i < config->service_count; i++)
		puts(odds_line(&config->services[i].service, line));
	return fflush(stdout) == 0 ? STATUS_FINE : STATUS_FAILED;
}

/* What other rules of this host do to these connections; only root can see that. */
static void warn_of_offload(const struct config *config)
{
	char text[OFFLOAD_TEXT_SIZE];

	if (offload_find(config, text) > 0)
		fprintf(stderr, "knockgw: warning: offload %s\n", text);
}

/* A reload reads the file again, maybe from another folder than the daemon was started in. Returns
 * NULL when memory is short. */
static char *absolute_path(const char *path)
{
	char *folder = path[0] == '/' ? NULL : getcwd(NULL, 0);
	char *absolute = NULL;

	if (folder == NULL)
		return strdup(path);
	if (asprintf(&absolute, "%s/%s", folder, path) < 0)
		absolute = NULL;
	free(folder);
	return absolute;
}

static int run_daemon(const struct options *options)
{
	struct background background = {0};
	struct background *detached = options->foreground ? NULL : &background;
	char *path = absolute_path(options->config);

	if (path == NULL || (detached != NULL && !background_detach(detached))) {
		perror("knockgw: cannot start");
		free(path);
		return STATUS_FAILED;
	}
	int status;
	struct config *config = load(path, &status);
	free(path);
	if (config == NULL)
		return status;
	return daemon_run(config, detached) ? STATUS_FINE : STATUS_FAILED;
}

static int run(const struct options *options)
{
	int status;

	if (options->action == ACTION_RUN)
		return run_daemon(options);
	struct config *config = load(options->config, &status);
	if (config == NULL)
		return status;
	status = STATUS_FINE;
	if (options->action == ACTION_PRINT_RULESET) {
		status = print_ruleset(config);
	} else if (options->action == ACTION_CHECK) {
		warn_of_offload(config);
		status = print_odds(config);
	}
	config_free(config);
	privileges_allow_inspection();
	return status;
}

static int act(const struct options *options)
{
	switch (options->action) {
	case ACTION_HELP:
		print_usage(stdout);
		return STATUS_FINE;
	case ACTION_REMOVE_RULESET:
		return remove_ruleset();
	case ACTION_VERSION:
		puts(PACKAGE_STRING);
		return STATUS_FINE;
	default:
		return run(options);
	}
}

/* libnftables ends the program itself, with 2, when memory is short. To a service manager that
 * would say that the file is wrong. */
static void correct_status(int status, void *ours)
{
	if (status == STATUS_USAGE && !*(const bool *)ours)
		_exit(STATUS_FAILED);
}

int main(int argc, char **argv)
{
	static bool ours; /* the status: main has come to its end */
	struct options options;
	int status = STATUS_USAGE;

	on_exit(correct_status, &ours);
	if (parse_options(argc, argv, &options))
		status = act(&options);
	ours = true;
	return status;
}
