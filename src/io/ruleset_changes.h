/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has to be told to nftables so that one table becomes another. Pure text.
 *
 * Only what differs is touched: an element or chain that stays is never away, not even for the
 * moment in which a transaction takes effect, and a set keeps what packets have put into it. */
#ifndef KNOCKGW_IO_RULESET_CHANGES_H
#define KNOCKGW_IO_RULESET_CHANGES_H

#include <stdbool.h>
#include <stdio.h>

/* Takes two tables as ruleset_write writes them and writes commands for one transaction to
 * commands. Base chains are never deleted, since that would drop what waits in any queue of the
 * network namespace: those that are not wanted are emptied. *result becomes the text of the table
 * after the transaction, to be freed, which is to be the next old. The first command changes
 * nothing but fails where somebody else has removed the table. Returns false when memory is short.
 * Two sets, maps or base chains of the same name must have the same head (type, flags, size, hook):
 * that cannot be changed in place. */
bool ruleset_changes(const char *old, const char *new, FILE *commands, char **result);

/* Of two tables: *result becomes the old one with those chains of the new one that it lacks, and
 * with the sets and maps that these may ask, empty; NULL when it lacks no chain. Nothing leads to
 * these chains yet. Make them in a transaction of their own, ahead of the one that does: a packet
 * goes by the rules that were there when it entered a base chain, but by the elements that are
 * there when it looks them up. One that is under way when a transaction takes effect may thus be
 * sent to a chain that is new, and for which it has no rules. Returns false when memory is short.
 */
bool ruleset_additions(const char *old, const char *new, char **result);

/* Whether a table of that text has a chain. */
bool ruleset_has_chain(const char *text, const char *name);

#endif
