/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection is ended by its ct mark: it becomes a refused one, and the rules answer each further
 * segment of either side with an RST, with numbers that the receiver must accept. So that nobody
 * has to wait for that, both sides are made to send one: a SYN on a connection that is established
 * is answered with an ACK (RFC 9293, 3.10.7.4). To the client it comes as SYN+ACK, which conntrack
 * of the NATs in between lets through in that direction. */
#include "kick.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "conntrack.h"
#include "core/packet.h"
#include "core/prefix.h"
#include "inject.h"
#include "ruleset.h"

/* So many connections are ended between two words to the service manager. */
enum { TOLD_EACH = 1000 };

/* What is to be ended. */
struct order {
	const struct config *config;
	const char *service;
	struct prefix *ends; /* with port 0: any */
	size_t end_count;
	struct conntrack_entry *found;
	size_t found_count;
	size_t room;
	bool short_of_memory;
};

static bool is_of_service(const struct order *order, const struct endpoint *destination)
{
	for (size_t i = 0; i < order->config->service_count; i++) {
		const struct service_config *service = &order->config->services[i];
		if (strcmp(service->service.name, order->service) != 0)
			continue;
		for (size_t k = 0; k < service->endpoint_count; k++)
			if (endpoint_equal(&service->endpoints[k], destination))
				return true;
	}
	return false;
}

static bool is_end(const struct prefix *wanted, const struct endpoint *endpoint)
{
	return prefix_holds_address(wanted, endpoint) &&
	       (wanted->base.port == 0 || wanted->base.port == endpoint->port);
}

static bool is_meant(const struct order *order, const struct conntrack_entry *entry)
{
	if (!is_of_service(order, &entry->original.destination) ||
	    entry->state < TCP_CONNTRACK_SYN_RECV || entry->state > TCP_CONNTRACK_LAST_ACK)
		return false;
	for (size_t i = 0; i < order->end_count; i++)
		if (is_end(&order->ends[i], &entry->original.source) ||
		    is_end(&order->ends[i], &entry->reply.source))
			return true;
	return order->end_count == 0;
}

static void note(void *context, const struct conntrack_entry *entry)
{
	struct order *order = context;

	if (!is_meant(order, entry) || order->short_of_memory)
		return;
	if (order->found_count == order->room) {
		size_t room = order->room > 0 ? 2 * order->room : 64;
		struct conntrack_entry *grown =
			reallocarray(order->found, room, sizeof(*order->found));
		order->short_of_memory = grown == NULL;
		if (grown == NULL)
			return;
		order->found = grown;
		order->room = room;
	}
	order->found[order->found_count++] = *entry;
}

/* A SYN to a server on this host would come to the daemon as one of a client. */
static bool is_local(const struct endpoint *address)
{
	struct sockaddr_in6 own6 = {.sin6_family = AF_INET6};
	struct sockaddr_in own4 = {.sin_family = AF_INET};
	bool ipv4 = address->family == FAMILY_IPV4;
	int fd = socket(ipv4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool local;

	if (fd < 0)
		return true;
	memcpy(&own4.sin_addr, address->address, sizeof(own4.sin_addr));
	memcpy(&own6.sin6_addr, address->address, sizeof(own6.sin6_addr));
	local = bind(fd, ipv4 ? (const struct sockaddr *)&own4 : (const struct sockaddr *)&own6,
		     ipv4 ? sizeof(own4) : sizeof(own6)) == 0;
	close(fd);
	return local;
}

/* Makes both sides send a segment. */
static void poke(struct inject *inject, const struct conntrack_entry *entry)
{
	struct tuple to_client = tuple_reverse(&entry->original);

	inject_segment(inject, &to_client, 0, 0, TCP_SYN | TCP_ACK);
	if (!is_local(&entry->reply.source))
		inject_segment(inject, &entry->original, 0, 0, TCP_SYN);
}

/* Whether the rules would take its segments for those of a refused connection to a decoy. */
static bool looks_decoyed(const struct config *config, const struct conntrack_entry *entry)
{
	for (size_t i = 0; i < config->service_count; i++)
		if (config->services[i].decoy_port == entry->reply.source.port)
			return true;
	return false;
}

static bool end_one(const struct order *order, const struct marks *marks,
		    struct conntrack *conntrack, struct inject *inject,
		    const struct conntrack_entry *entry)
{
	/* No rule sees what a flowtable forwards. Without its entry it is not forwarded any more,
	 * and what comes then belongs to no connection. */
	if ((entry->status & IPS_OFFLOAD) != 0 || looks_decoyed(order->config, entry))
		return conntrack_delete(conntrack, &entry->original) == 0;
	if (conntrack_mark(conntrack, &entry->original, marks->refused, marks->mask) != 0)
		return errno == ENOENT;
	poke(inject, entry);
	return true;
}

static bool end_all(struct order *order, uint64_t *kicked)
{
	struct marks marks = marks_from_mask(order->config->mark);
	struct conntrack *conntrack = conntrack_open();
	struct inject *inject = inject_open(marks.refused);
	bool fine = conntrack != NULL && inject != NULL &&
		    conntrack_list(conntrack, marks.verified, marks.mask, note, order) == 0 &&
		    conntrack_list(conntrack, marks.pending, marks.mask, note, order) == 0;

	if (order->short_of_memory)
		errno = ENOMEM;
	fine = fine && !order->short_of_memory;
	for (size_t i = 0; fine && i < order->found_count; i++) {
		fine = end_one(order, &marks, conntrack, inject, &order->found[i]);
		*kicked += fine;
		/* A long order is no main thread that hangs. */
		if (i % TOLD_EACH == TOLD_EACH - 1)
			sd_notify(0, "WATCHDOG=1");
	}
	int failure = errno;
	inject_close(inject);
	conntrack_close(conntrack);
	errno = failure;
	return fine;
}

static bool has_service(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->service_count; i++)
		if (strcmp(config->services[i].service.name, name) == 0)
			return true;
	return false;
}

static bool read_end(struct prefix *end, const char *text)
{
	if (endpoint_parse(&end->base, text))
		end->length = (uint8_t)(8 * family_address_length(end->base.family));
	else if (!prefix_parse(end, text))
		return false;
	/* More than one address may have been meant by that: better ask again. */
	return !prefix_clear_host_bits(end);
}

bool kick(const struct config *config, const char *service, const char *const *ends,
	  size_t end_count, uint64_t *kicked, char error[static KICK_ERROR_SIZE])
{
	struct order order = {.config = config, .service = service, .end_count = end_count};
	bool fine = false;

	*kicked = 0;
	if (!has_service(config, service)) {
		snprintf(error, KICK_ERROR_SIZE, "no service is or was named \"%.100s\"", service);
		return false;
	}
	order.ends = calloc(end_count + 1, sizeof(*order.ends));
	if (order.ends == NULL) {
		snprintf(error, KICK_ERROR_SIZE, "out of memory");
		return false;
	}
	for (size_t i = 0; i < end_count; i++) {
		if (read_end(&order.ends[i], ends[i]))
			continue;
		snprintf(error, KICK_ERROR_SIZE,
			 "found \"%.100s\", expected a client or backend: ADDRESS, "
			 "ADDRESS:PORT or ADDRESS/LENGTH, nothing set behind LENGTH bits",
			 ends[i]);
		free(order.ends);
		return false;
	}
	fine = end_all(&order, kicked);
	if (!fine)
		snprintf(error, KICK_ERROR_SIZE, "after %llu connections: %s",
			 (unsigned long long)*kicked, strerror(errno));
	free(order.found);
	free(order.ends);
	return fine;
}
