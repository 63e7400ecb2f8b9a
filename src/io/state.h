/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The flow tables of the egress workers, in files that outlive the daemon: after a crash or an
 * upgrade the next one goes on with the same connections. Authentication mode and integrity mode
 * have tables of their own. */
#ifndef KNOCKGW_IO_STATE_H
#define KNOCKGW_IO_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/table.h"

struct state;

enum { STATE_ERROR_SIZE = 320 };

/* What a table holds: struct flow in "flows-N", struct splice_flow in "integrity-N". */
enum state_kind { STATE_FLOWS, STATE_INTEGRITY };

/* Opens or makes the files of count workers, each with room for capacity flows, in a directory that
 * is made if need be. Flows that an earlier daemon left are taken over, also when it had another
 * number of workers or another size. A file that is foreign or damaged is logged and renamed, and
 * its table starts empty. now: milliseconds of CLOCK_BOOTTIME. Returns NULL with one line in error.
 */
struct state *state_open(const char *directory, enum state_kind kind, unsigned int count,
			 uint32_t capacity, uint64_t now, char error[static STATE_ERROR_SIZE]);
void state_close(struct state *state);

/* The table of a worker. Lives as long as state. */
struct table *state_table(const struct state *state, unsigned int worker);

/* A number that is another one after each boot, when CLOCK_BOOTTIME begins again. */
uint64_t state_boot_number(void);

/* The name of a worker's file: "flows-0". */
enum { STATE_NAME_SIZE = 32 };
char *state_file_name(char name[static STATE_NAME_SIZE], enum state_kind kind, unsigned int worker,
		      const char *suffix);

/* Takes over the contents of a file, of any capacity (see table_attach). Returns NULL and points
 * *why at a static sentence when they are no table of flows, or damaged. */
struct table *state_attach(enum state_kind kind, void *memory, size_t size, uint64_t boot,
			   uint64_t now, const char **why);

/* Calls back for every flow in the files of a directory, which a daemon may be writing to. Changes
 * nothing. Returns false with one line in error. That there are no files is one for STATE_FLOWS
 * only. */
bool state_read(const char *directory, enum state_kind kind, uint64_t now,
		void (*found)(void *context, const struct tuple *tuple, const void *flow,
			      uint64_t remaining),
		void *context, char error[static STATE_ERROR_SIZE]);

#endif
