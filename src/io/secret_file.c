/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bits of the mode that must not be set: all but reading by the group that is allowed to. */
static mode_t excess(const struct stat *status, gid_t group)
{
	mode_t forbidden = S_IRWXG | S_IRWXO;

	if (group != (gid_t)-1 && status->st_gid == group)
		forbidden &= ~(mode_t)S_IRGRP;
	return status->st_mode & forbidden;
}

static bool acceptable(int fd, const char *path, gid_t group, char *error, size_t error_size)
{
	struct stat status;

	if (fstat(fd, &status) != 0) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		return false;
	}
	if (!S_ISREG(status.st_mode)) {
		snprintf(error, error_size, "%s: expected a regular file", path);
		return false;
	}
	if (excess(&status, group) != 0) {
		snprintf(error, error_size,
			 "%s: mode is %04o, expected a file for its owner alone (0600), or 0640 "
			 "with "
			 "the group of the user that knockgw runs as",
			 path, (unsigned int)(status.st_mode & 07777));
		return false;
	}
	return true;
}

/* Reads until the buffer is full or the file ends. Returns the length or -1 with errno. */
static ssize_t read_all(int fd, uint8_t *buffer, size_t size)
{
	size_t length = 0;

	while (length < size) {
		ssize_t got = read(fd, buffer + length, size - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		length += (size_t)got;
	}
	return (ssize_t)length;
}

bool secret_file_read(struct secret *secret, const char *path, gid_t group, bool *truncated,
		      char *error, size_t error_size)
{
	/* One byte more than fits tells whether the file is longer. */
	uint8_t buffer[SECRET_SIZE + 1];
	/* Not blocking: a FIFO would otherwise hang the start. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0) {
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
		return false;
	}
	if (!acceptable(fd, path, group, error, error_size)) {
		close(fd);
		return false;
	}
	ssize_t length = read_all(fd, buffer, sizeof(buffer));
	if (length < 0)
		snprintf(error, error_size, "%s: %s", path, strerror(errno));
	else if (length == 0)
		snprintf(error, error_size, "%s: the file is empty, expected a secret", path);
	else
		secret_from_bytes(secret, buffer, (size_t)length, truncated);
	close(fd);
	secret_wipe(buffer, sizeof(buffer));
	return length > 0;
}
