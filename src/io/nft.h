/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Puts the ruleset into the kernel: libnftables for all that can be said as text, libnftnl for the
 * xtables NFQUEUE target where the kernel has no queue statement. */
#ifndef KNOCKGW_IO_NFT_H
#define KNOCKGW_IO_NFT_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"

struct nft;

enum { NFT_ERROR_SIZE = 512 };

/* Returns NULL when libnftables cannot start. */
struct nft *nft_open(void);
void nft_close(struct nft *nft);

/* Whether the kernel has the queue statement. */
bool nft_native_queue(const struct nft *nft);

/* Whether there is a table of ours in the kernel, and whether it is known to do what it should:
 * with empty queue chains it does not, and what they should ask about is closed. */
bool nft_present(const struct nft *nft);
bool nft_whole(const struct nft *nft);

/* Replaces table inet knockgw by what config asks for, in one transaction. Without the queue
 * statement the queue chains are filled in a second one; until then they are empty, and so every
 * port is closed. Connections of the egress role with prefixes wait until the kernel has filled
 * its sets. Packets that wait in queues of this network namespace are dropped. Returns false
 * with one line in error; then nothing has changed or, after the first transaction, the table is
 * there but not whole. */
bool nft_install(struct nft *nft, const struct config *config, char error[static NFT_ERROR_SIZE]);

/* Turns the table that is installed into what config asks for, in one transaction in which nothing
 * that stays is touched; no packet is lost, but for a moment of the egress role when it gets its
 * first prefix. Returns false with one line in error; then what the
 * table does has not changed. It also fails when somebody else removed the table. One that is not
 * whole is installed anew. */
bool nft_update(struct nft *nft, const struct config *config, char error[static NFT_ERROR_SIZE]);

/* Removes the table; that it is not there is no error. */
bool nft_remove(struct nft *nft, char error[static NFT_ERROR_SIZE]);

#endif
