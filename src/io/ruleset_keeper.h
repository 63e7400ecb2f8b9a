/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keeps table inet knockgw what the configuration wants: installs it, changes it, puts it back when
 * somebody else has changed it. With manage_ruleset = false it does nothing. */
#ifndef KNOCKGW_IO_RULESET_KEEPER_H
#define KNOCKGW_IO_RULESET_KEEPER_H

#include <event2/event.h>
#include <stdbool.h>

#include "config.h"
#include "nft.h"
#include "ruleset.h"

struct ruleset_keeper;

/* What log lines about a table that stays say. */
#define RULESET_TO_REMOVE "to_remove=\"knockgw --remove-ruleset\""

/* Installs the table. config must live until ruleset_keeper_update takes another one. Logs the
 * reason and returns NULL when that fails. */
struct ruleset_keeper *ruleset_keeper_start(struct event_base *base, const struct config *config);

/* Changes the table to what config wants, which may be the same one with other states of its
 * backends. Returns false with one line in error; then everything is as before. */
bool ruleset_keeper_update(struct ruleset_keeper *keeper, const struct config *config,
			   char error[static NFT_ERROR_SIZE]);

/* Changes the table to what the states of the backends are now: right after what else the event
 * loop has to do, so that many changes at once cost one transaction. Where that fails it logs the
 * reason and tries again, less and less often, until it or a later update succeeds. */
void ruleset_keeper_follow(struct ruleset_keeper *keeper);

/* After an update that failed: installs the table anew if it is not whole any more, and tries again
 * until it is. */
void ruleset_keeper_mend(struct ruleset_keeper *keeper);

/* How packets get to the daemon: "native" queue statements or "xtables" targets; "unmanaged" when
 * the table is not ours. */
const char *ruleset_keeper_word(const struct ruleset_keeper *keeper);

/* The table stays: with nobody behind the queues all ports are closed, and translated connections,
 * which untranslated segments would break, wait for the next start. NULL is fine. */
void ruleset_keeper_stop(struct ruleset_keeper *keeper);

/* Takes away the table that an earlier daemon left. Returns false with one line in error. */
bool ruleset_keeper_remove(char error[static NFT_ERROR_SIZE]);

#endif
