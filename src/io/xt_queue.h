/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The xtables NFQUEUE target as an nftables expression, for kernels built without nft_queue
 * (net/netfilter/nft_compat.c, xt_NFQUEUE.c). */
#ifndef KNOCKGW_IO_XT_QUEUE_H
#define KNOCKGW_IO_XT_QUEUE_H

#include "nft.h"
#include "ruleset.h"

/* Appends one NFQUEUE rule to each of these chains of an inet table, in one transaction. Returns
 * false with one line in error. */
bool xt_queue_install(const char *table, const struct queue_chain *chains, size_t count,
		      char error[static NFT_ERROR_SIZE]);

#endif
