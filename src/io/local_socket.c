/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "local_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128 };

static bool fail(char error[static LOCAL_SOCKET_ERROR_SIZE], const char *path, const char *what)
{
	snprintf(error, LOCAL_SOCKET_ERROR_SIZE, "%s: %s", path, what);
	return false;
}

static void make_folder(const char *path)
{
	char folder[108];
	const char *slash = strrchr(path, '/');

	snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path), path);
	/* When it cannot be made, bind() says so. */
	if (folder[0] != '\0')
		(void)mkdir(folder, 0755);
}

static struct sockaddr_un address_of(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return address;
}

/* A full queue of a live daemon (EAGAIN) counts as an answer, too. */
static bool somebody_listens(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool answered = fd < 0 ||
			connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ||
			(errno != ECONNREFUSED && errno != ENOENT);

	if (fd >= 0)
		close(fd);
	return answered;
}

/* Makes way for our socket, unless somebody needs what is there. */
static bool clear_path(const struct sockaddr_un *address,
		       char error[static LOCAL_SOCKET_ERROR_SIZE])
{
	const char *path = address->sun_path;
	struct stat status;

	if (lstat(path, &status) != 0)
		return errno == ENOENT || fail(error, path, strerror(errno));
	if (!S_ISSOCK(status.st_mode))
		return fail(error, path, "exists and is no socket, expected another path");
	if (somebody_listens(address))
		return fail(error, path, "another daemon listens there, expected another path");
	if (unlink(path) != 0 && errno != ENOENT)
		return fail(error, path, strerror(errno));
	return true;
}

/* The mode comes with the file, so that nothing has to be done by a path that others might change
 * meanwhile. */
static bool bind_with_mode(int fd, const struct sockaddr_un *address, mode_t mode)
{
	mode_t before = umask(0777 & ~mode);
	bool bound = bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
	int failure = errno;

	umask(before);
	errno = failure;
	return bound;
}

static bool set_owner(const struct local_socket_options *options,
		      char error[static LOCAL_SOCKET_ERROR_SIZE])
{
	if ((options->owner == (uid_t)-1 && options->group == (gid_t)-1) ||
	    lchown(options->path, options->owner, options->group) == 0)
		return true;
	snprintf(
		error, LOCAL_SOCKET_ERROR_SIZE,
		"%s: cannot be given to the configured owner and group: %s; start knockgw as root, "
		"or add the group to SupplementaryGroups= of its unit",
		options->path, strerror(errno));
	return false;
}

bool local_socket_open(struct local_socket *made, const struct local_socket_options *options,
		       char error[static LOCAL_SOCKET_ERROR_SIZE])
{
	struct sockaddr_un address = address_of(options->path);
	struct stat status;

	*made = (struct local_socket){.fd = -1};
	make_folder(options->path);
	if (!clear_path(&address, error))
		return false;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || !bind_with_mode(fd, &address, options->mode)) {
		fail(error, options->path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	bool ready = set_owner(options, error);
	if (ready && (listen(fd, BACKLOG) != 0 || lstat(options->path, &status) != 0))
		ready = fail(error, options->path, strerror(errno));
	if (!ready) {
		close(fd);
		unlink(options->path);
		return false;
	}
	made->fd = fd;
	made->device = status.st_dev;
	made->inode = status.st_ino;
	snprintf(made->path, sizeof(made->path), "%s", options->path);
	return true;
}

void local_socket_close(struct local_socket *made)
{
	struct stat status;

	if (made->fd < 0)
		return;
	close(made->fd);
	if (lstat(made->path, &status) == 0 && status.st_dev == made->device &&
	    status.st_ino == made->inode)
		unlink(made->path);
	made->fd = -1;
}

/* Supplementary groups (SO_PEERGROUPS, Linux 4.13): the call tells how many there are. */
static bool has_group(int fd, gid_t group)
{
	socklen_t size = 0;
	gid_t *groups = NULL;
	bool found = false;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) == 0 || errno != ERANGE)
		return false;
	groups = malloc(size);
	if (groups != NULL && getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
		for (size_t i = 0; i < size / sizeof(*groups); i++)
			found = found || groups[i] == group;
	free(groups);
	return found;
}

bool local_peer_get(struct local_peer *peer, int fd, gid_t group)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	*peer = (struct local_peer){.uid = (uid_t)-1};
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0 ||
	    size != sizeof(credentials))
		return false;
	peer->uid = credentials.uid;
	peer->pid = credentials.pid;
	peer->allowed = credentials.uid == 0 || credentials.uid == geteuid();
	if (group != (gid_t)-1)
		peer->allowed = peer->allowed || credentials.gid == group || has_group(fd, group);
	return true;
}
