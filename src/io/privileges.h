/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon may do to the system: its user and its capabilities. */
#ifndef KNOCKGW_IO_PRIVILEGES_H
#define KNOCKGW_IO_PRIVILEGES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "config.h"

enum { PRIVILEGES_ERROR_SIZE = 512 };

/* The group that files with secrets may be readable by: that of the user the daemon becomes.
 * (gid_t)-1 when there is no such user. Takes the name of knockgw.conf's "user" or NULL for the
 * default. */
gid_t privileges_group(const char *user);

/* Nothing of this process may end up in a core file or be read by ptrace: it holds secrets. */
void privileges_forbid_dumps(void);

/* For leak checkers, which look at the process from outside at its end; nothing in a build without
 * them. Call it when the secrets are gone. */
void privileges_allow_inspection(void);

/* Makes the state directory and the folder of the control socket and gives them to the user that
 * privileges_drop will make of root. Where that fails, whoever needs the folder says so. */
void privileges_prepare(const struct config *config);

/* Whether this process may do what knockgw is for; else false, with one line in error. */
bool privileges_suffice(char error[static PRIVILEGES_ERROR_SIZE]);

/* Becomes config->user (as root only) and keeps CAP_NET_ADMIN and CAP_NET_RAW of all capabilities,
 * in all sets; no exec can gain any. Call it before any thread exists. Logs what it did. Returns
 * false with one line in error. */
bool privileges_drop(const struct config *config, char error[static PRIVILEGES_ERROR_SIZE]);

/* Whether the kernel lets this process use a network capability: CAP_NET_ADMIN, CAP_NET_RAW. */
bool privileges_hold(unsigned int capability);

#endif
