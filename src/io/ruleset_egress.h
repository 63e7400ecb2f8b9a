/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The egress role's part of the ruleset: see io/ruleset.h. */
#ifndef KNOCKGW_IO_RULESET_EGRESS_H
#define KNOCKGW_IO_RULESET_EGRESS_H

#include "ruleset.h"

/* Whether some new connections go out without a daemon (on_failure = "pass"). Only then connections
 * are marked, and need connection tracking. */
bool ruleset_egress_may_pass(const struct config *config);

/* Writes the sets and chains of the egress role into an open table. */
void ruleset_write_egress(FILE *stream, const struct config *config, const struct marks *marks);

#endif
