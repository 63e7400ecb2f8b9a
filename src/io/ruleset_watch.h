/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Notices that somebody else changed table inet knockgw: a firewall that was reloaded with "flush
 * ruleset", a hand that slipped. Without the table the hidden ports are as open as the rest of the
 * firewall leaves them. */
#ifndef KNOCKGW_IO_RULESET_WATCH_H
#define KNOCKGW_IO_RULESET_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ruleset_watch;

enum { RULESET_WATCH_WHO_SIZE = 64 };

/* Listens to what the kernel tells about changes of rules in this network namespace. Returns NULL
 * with errno set. */
struct ruleset_watch *ruleset_watch_open(void);
void ruleset_watch_close(struct ruleset_watch *watch);

/* To poll for reading. */
int ruleset_watch_fd(const struct ruleset_watch *watch);

/* Reads what there is. Returns whether our table was changed, and then the name of the program that
 * did it, as the kernel knows it, "unknown" when it cannot be told. True as well when the kernel
 * had more to tell than there was room for. *others becomes true when there are new rules in other
 * tables. */
bool ruleset_watch_changed(struct ruleset_watch *watch, char who[static RULESET_WATCH_WHO_SIZE],
			   bool *others);

/* Forgets what there is to read: call it after changing the table oneself. */
void ruleset_watch_forget(struct ruleset_watch *watch);

/* What a datagram of nfnetlink says. Pure; length bytes are there, aligned as netlink headers must
 * be. */
struct ruleset_change {
	bool ours;                        /* it is about our table */
	bool others;                      /* it is about a new rule in another one */
	char who[RULESET_WATCH_WHO_SIZE]; /* empty when it does not say */
};
void ruleset_watch_parse(const uint8_t *bytes, size_t length, struct ruleset_change *change);

#endif
