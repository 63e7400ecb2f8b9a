/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/packet.h"
#include "core/segment_build.h"

struct inject {
	int ipv4;
	int ipv6; /* -1 where the kernel has no IPv6 */
};

static int open_raw(int family, uint32_t mark)
{
	/* IPPROTO_RAW: the header is ours, and nothing is ever received. */
	int fd = socket(family, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0)
		return fd;
	int error = errno;
	close(fd);
	errno = error;
	return -1;
}

struct inject *inject_open(uint32_t mark)
{
	struct inject *inject = calloc(1, sizeof(*inject));

	if (inject == NULL)
		return NULL;
	inject->ipv4 = open_raw(AF_INET, mark);
	inject->ipv6 = open_raw(AF_INET6, mark);
	if (inject->ipv4 >= 0 && (inject->ipv6 >= 0 || errno == EAFNOSUPPORT))
		return inject;
	int error = errno;
	inject_close(inject);
	errno = error;
	return NULL;
}

void inject_close(struct inject *inject)
{
	if (inject == NULL)
		return;
	if (inject->ipv4 >= 0)
		close(inject->ipv4);
	if (inject->ipv6 >= 0)
		close(inject->ipv6);
	free(inject);
}

int inject_packet(struct inject *inject, const uint8_t *bytes, size_t length)
{
	struct sockaddr_in to4 = {.sin_family = AF_INET};
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
	const struct sockaddr *to = (const struct sockaddr *)&to4;
	socklen_t to_length = sizeof(to4);
	int fd = inject->ipv4;

	if (length >= 20 && bytes[0] >> 4 == 4) {
		memcpy(&to4.sin_addr, bytes + 16, 4);
	} else if (length >= 40 && bytes[0] >> 4 == 6) {
		memcpy(&to6.sin6_addr, bytes + 24, 16);
		to = (const struct sockaddr *)&to6;
		to_length = sizeof(to6);
		fd = inject->ipv6;
	} else {
		errno = EINVAL;
		return -1;
	}
	return sendto(fd, bytes, length, 0, to, to_length) == (ssize_t)length ? 0 : -1;
}

int inject_plan(struct inject *inject, const struct segment_plan *plan)
{
	uint8_t bytes[SEGMENT_HEADERS_MAX + INJECT_PAYLOAD_MAX];
	size_t length = segment_build(plan, bytes, sizeof(bytes));

	return inject_packet(inject, bytes, length);
}

int inject_segment(struct inject *inject, const struct tuple *tuple, uint32_t sequence,
		   uint32_t acknowledgement, uint8_t flags)
{
	const struct segment_plan plan = {
		.tuple = *tuple,
		.sequence = sequence,
		.acknowledgement = acknowledgement,
		.flags = flags,
		.hop_limit = 64,
		.dont_fragment = true,
	};

	return inject_plan(inject, &plan);
}
