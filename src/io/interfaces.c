/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "interfaces.h"

#include <libnfnetlink/libnfnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(INTERFACE_TEXT_SIZE >= IF_NAMESIZE, "an interface name must fit");

struct interfaces {
	struct nlif_handle *cache;
	pthread_mutex_t lock;
};

struct interfaces *interfaces_open(void)
{
	struct interfaces *interfaces = calloc(1, sizeof(*interfaces));

	if (interfaces == NULL)
		return NULL;
	pthread_mutex_init(&interfaces->lock, NULL);
	interfaces->cache = nlif_open();
	if (interfaces->cache == NULL || nlif_query(interfaces->cache) < 0) {
		interfaces_close(interfaces);
		return NULL;
	}
	return interfaces;
}

void interfaces_close(struct interfaces *interfaces)
{
	if (interfaces == NULL)
		return;
	if (interfaces->cache != NULL)
		nlif_close(interfaces->cache);
	pthread_mutex_destroy(&interfaces->lock);
	free(interfaces);
}

int interfaces_fd(const struct interfaces *interfaces)
{
	return nlif_fd(interfaces->cache);
}

void interfaces_catch(struct interfaces *interfaces)
{
	pthread_mutex_lock(&interfaces->lock);
	nlif_catch(interfaces->cache);
	pthread_mutex_unlock(&interfaces->lock);
}

char *interfaces_name(struct interfaces *interfaces, uint32_t index,
		      char name[static INTERFACE_TEXT_SIZE])
{
	pthread_mutex_lock(&interfaces->lock);
	int known = nlif_index2name(interfaces->cache, index, name);
	pthread_mutex_unlock(&interfaces->lock);
	if (known < 0)
		snprintf(name, INTERFACE_TEXT_SIZE, "%u", index);
	return name;
}
