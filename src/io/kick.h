/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ends established connections of a service at once. */
#ifndef KNOCKGW_IO_KICK_H
#define KNOCKGW_IO_KICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

enum { KICK_ERROR_SIZE = 256 };

/* Ends the connections of a service, also of one that a reload has taken out of the file: those to
 * the addresses and ports that are its own. With ends only those of which one end is among them:
 * addresses or prefixes of clients or backends, or addresses with a port. Returns false with one
 * line in error when a word makes no sense, and then nothing was ended, or when the kernel does not
 * answer. kicked: how many were ended. */
bool kick(const struct config *config, const char *service, const char *const *ends,
	  size_t end_count, uint64_t *kicked, char error[static KICK_ERROR_SIZE]);

#endif
