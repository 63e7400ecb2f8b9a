/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Names of network interfaces, from libnfnetlink's cache. Thread safe. */
#ifndef KNOCKGW_IO_INTERFACES_H
#define KNOCKGW_IO_INTERFACES_H

#include <stdint.h>

struct interfaces;

enum { INTERFACE_TEXT_SIZE = 32 };

/* Returns NULL with errno set. */
struct interfaces *interfaces_open(void);
void interfaces_close(struct interfaces *interfaces);

/* Becomes readable when interfaces have changed: then call interfaces_catch. */
int interfaces_fd(const struct interfaces *interfaces);
void interfaces_catch(struct interfaces *interfaces);

/* Writes the name of interface index, or its number when it is not known, and returns name. */
char *interfaces_name(struct interfaces *interfaces, uint32_t index,
		      char name[static INTERFACE_TEXT_SIZE]);

#endif
