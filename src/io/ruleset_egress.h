/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The egress role's part of the ruleset: see io/ruleset.h. */
#ifndef KNOCKGW_IO_RULESET_EGRESS_H
#define KNOCKGW_IO_RULESET_EGRESS_H

#include "ruleset.h"

/* Whether some new connections go out without a daemon (on_failure = "pass"). Only then connections
 * are marked, and need connection tracking. */
bool ruleset_egress_may_pass(const struct config *config);

/* What stands before the digit in the names of all sets of destinations: a set cannot change its
 * flags, so one of prefixes has another name. */
const char *ruleset_set_kind(const struct config *config);

/* Writes a set of destination prefixes, those that are wanted: NAME, ruleset_set_kind, 4 or 6. */
void ruleset_write_prefix_set(FILE *stream, const struct config *config, uint8_t family,
			      const char *name, bool (*wanted)(const struct egress_config *egress));

/* Writes a rule for each family: statement for what goes to (address "daddr", port "dport") or
 * comes from ("saddr", "sport") what is in the set of prefixes of that name. */
void ruleset_write_branch(FILE *stream, const struct config *config, const char *set,
			  const char *address, const char *port, const char *statement);

/* Writes rules that send ICMP errors to the chain target, as many as cannot fill a queue. */
void ruleset_write_errors(FILE *stream, const char *target);

/* Writes a chain CHAIN_PORT ("sport" or "dport", the client's) that goes on to CHAIN_0, CHAIN_1, …
 * by flow_shard. */
void ruleset_write_share(FILE *stream, const char *chain, const char *port, unsigned int count);

/* Whether a transaction from the table installed (its text, or NULL: whatever is there) to what
 * config asks for makes sets of prefixes. The kernel fills such a set when its transaction has
 * taken effect already (nft_set_commit_update comes after the new generation): in that moment the
 * rules find nothing in it. */
bool ruleset_egress_needs_hold(const struct config *config, const char *installed);

/* Writes rules that drop what goes to the destinations (address "daddr", port "dport") or comes
 * from them ("saddr", "sport"), by plain comparison, without a set. */
void ruleset_write_hold(FILE *stream, const struct config *config, const char *address,
			const char *port);

/* Writes the sets and chains of the egress role into an open table. held: what belongs to the
 * destinations is dropped, by rules that need no set. */
void ruleset_write_egress(FILE *stream, const struct config *config, const struct marks *marks,
			  bool held);

#endif
