/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the commands of knockctl share. Each command is a function in a file of its own. */
#ifndef KNOCKGW_CLI_CLI_H
#define KNOCKGW_CLI_CLI_H

#include <stdbool.h>

/* Exit statuses, as documented in knockctl(8). */
enum { STATUS_FINE = 0, STATUS_FAILED = 1, STATUS_USAGE = 2 };

/* argv[0] is the command's name. Each returns an exit status. */
int token_main(int argc, char **argv);
int genkey_main(int argc, char **argv);
int flows_main(int argc, char **argv);
int replay_main(int argc, char **argv);
int status_main(int argc, char **argv);
int services_main(int argc, char **argv);
int backends_main(int argc, char **argv);
int stats_main(int argc, char **argv);
int monitor_main(int argc, char **argv);
int reload_main(int argc, char **argv);
int kick_main(int argc, char **argv);
int drain_main(int argc, char **argv);
int undrain_main(int argc, char **argv);

/* Prints "knockctl COMMAND: …" as one line to standard error and returns STATUS_USAGE. */
__attribute__((format(printf, 2, 3))) int complain(const char *command, const char *format, ...);

#endif
