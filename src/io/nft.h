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

/* Replaces table inet knockgw by what config asks for, in one transaction. Without the queue
 * statement the queue chains are filled in a second one; until then they are empty, and so every
 * port is closed. Packets that wait in queues of this network namespace are dropped. Returns false
 * with one line in error; then nothing has changed or, after the first transaction, all ports
 * are closed if there was a table before; if there was none, it was removed again. */
bool nft_install(struct nft *nft, const struct config *config, char error[static NFT_ERROR_SIZE]);

/* Turns the table that is installed into what config asks for, in one transaction in which nothing
 * that stays is touched; no packet is lost. Returns false with one line in error; then what the
 * table does has not changed. It also fails when somebody else removed the table. */
bool nft_update(struct nft *nft, const struct config *config, char error[static NFT_ERROR_SIZE]);

/* Removes the table; that it is not there is no error. */
bool nft_remove(struct nft *nft, char error[static NFT_ERROR_SIZE]);

#endif
