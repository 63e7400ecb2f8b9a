/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules of other tables that offload connections to a flowtable. The kernel forwards those before
 * any hook of ours: pending connections would not be checked, and egress connections not
 * translated. */
#ifndef KNOCKGW_IO_OFFLOAD_H
#define KNOCKGW_IO_OFFLOAD_H

#include <libnftnl/rule.h>
#include <stdbool.h>

#include "config.h"

enum { OFFLOAD_TEXT_SIZE = 512 };

/* Whether a rule offloads connections that config needs to see: it has a "flow add", and before
 * that does not ask for the ct mark of verified connections. Pure. */
bool offload_is_careless(const struct nftnl_rule *rule, const struct config *config);

/* Looks at the rules of this network namespace, at none where no such connection is configured.
 * Returns 1 with key="value" pairs in text that name a careless rule and what is expected, 0
 * without one, or -1 with errno set: EPERM without CAP_NET_ADMIN. */
int offload_find(const struct config *config, char text[static OFFLOAD_TEXT_SIZE]);

#endif
