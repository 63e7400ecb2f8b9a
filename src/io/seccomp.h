/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The filter of system calls that the daemon serves with. */
#ifndef KNOCKGW_IO_SECCOMP_H
#define KNOCKGW_IO_SECCOMP_H

#include <stdbool.h>

enum { SECCOMP_ERROR_SIZE = 128 };

/* Puts the filter on all threads of this process, and on those it starts later. From then on:
 *  - what starting to serve, serving, reloading and stopping need is allowed;
 *  - what only an intruder would call (exec, fork, ptrace, bpf, another user, …) ends the process
 *    by SIGSYS, after a line event=forbidden-system-call on standard error. Ports are closed then;
 *  - every other call fails with EPERM: a C library of tomorrow that tries something new must not
 *    lock out a site. Both show in the kernel's audit log with the number of the call.
 * A build with sanitizers allows what their run-time libraries need on top, exec included.
 * Needs no_new_privs, and threads that do not block SIGSYS. Returns false with one line in error.
 */
bool seccomp_confine(char error[static SECCOMP_ERROR_SIZE]);

#endif
