/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Integrity mode for unmodified clients in the ruleset: see io/ruleset.h. */
#ifndef KNOCKGW_IO_RULESET_SPLICE_H
#define KNOCKGW_IO_RULESET_SPLICE_H

#include "ruleset.h"

/* Whether some egress destination has integrity > 0. */
bool ruleset_splice_wanted(const struct config *config);

/* Writes its sets and chains into an open table. In the packet mark, MARK_PENDING tells the daemon
 * that a packet comes from a server's side, MARK_VERIFIED tells these chains that a packet is the
 * daemon's own. held: as with ruleset_write_egress. */
void ruleset_write_splice(FILE *stream, const struct config *config, const struct marks *marks,
			  bool held);

#endif
