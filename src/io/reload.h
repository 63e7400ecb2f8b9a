/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a running configuration to the next: what a reload reads, keeps and closes. */
#ifndef KNOCKGW_IO_RELOAD_H
#define KNOCKGW_IO_RELOAD_H

#include "generation.h"

enum { RELOAD_ERROR_SIZE = 512 };

/* Reads the configuration file of current again and makes the next generation of it. Every
 * diagnostic is logged. Keys that need a restart keep their values, with a warning for each.
 * Addresses and ports that are no longer in the file are carried on as retired: a service's stay
 * closed, an egress destination's connections are translated to their end. Nothing of current is
 * changed. Returns NULL with one line in error when the file is not valid. */
struct generation *reload_next(const struct generation *current,
			       char error[static RELOAD_ERROR_SIZE]);

/* Adds to config, as retired, what old has and config has not. Returns false with one line in
 * error. */
bool reload_retire(struct config *config, const struct config *old,
		   char error[static RELOAD_ERROR_SIZE]);

#endif
