/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Detaching from the terminal: the parent waits until the daemon serves, so that a script or an
 * init system that starts it in the background gets a true exit status. */
#ifndef KNOCKGW_IO_BACKGROUND_H
#define KNOCKGW_IO_BACKGROUND_H

#include <stdbool.h>

/* The child's end of what the parent waits for. */
struct background {
	int ready;
};

/* Forks; the parent never returns but exits with 0 once background_ready was called, or with the
 * status of the child when that ended before. The child returns true; false when forking failed.
 * Call it before any thread exists and before secrets are read: their memory is wiped on fork. */
bool background_detach(struct background *background);

/* Lets the parent go, and leaves the terminal's file descriptors. */
void background_ready(struct background *background);

#endif
