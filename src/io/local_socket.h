/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unix stream sockets to listen on, and who is at the other end. */
#ifndef KNOCKGW_IO_LOCAL_SOCKET_H
#define KNOCKGW_IO_LOCAL_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

enum { LOCAL_SOCKET_ERROR_SIZE = 320 };

struct local_socket {
	int fd;
	char path[108];
	dev_t device; /* which file it is, so that only our own is removed */
	ino_t inode;
};

struct local_socket_options {
	const char *path;
	uid_t owner; /* -1: leave it */
	gid_t group; /* -1: leave it */
	mode_t mode;
};

/* Makes a listening, non-blocking socket. Its last folder is made when it is missing. What a dead
 * daemon left is replaced; a socket on which somebody listens, and a file that is no socket, are
 * not. Nobody can connect before owner and mode are set. Returns false with one line in error. */
bool local_socket_open(struct local_socket *made, const struct local_socket_options *options,
		       char error[static LOCAL_SOCKET_ERROR_SIZE]);

/* Closes it and removes its file, if that is still ours. */
void local_socket_close(struct local_socket *made);

/* The process at the other end, as of its connect(). */
struct local_peer {
	uid_t uid;
	pid_t pid;
	bool allowed;
};

/* Allowed are root, the user that this process runs as, and members of group (-1: no group).
 * Returns false when the kernel does not tell. */
bool local_peer_get(struct local_peer *peer, int fd, gid_t group);

#endif
