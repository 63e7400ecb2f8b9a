/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Backends by name. */
#include <stdio.h>
#include <string.h>

#include "config.h"

static struct service_config *find_service(struct config *config, const char *name)
{
	for (size_t i = 0; i < config->service_count; i++)
		if (!config->services[i].retired &&
		    strcmp(config->services[i].service.name, name) == 0)
			return &config->services[i];
	return NULL;
}

/* Compares numbers and not texts: IPv6 addresses can be written in several ways. */
static bool is_meant(const struct backend *backend, const struct endpoint *wanted)
{
	const struct endpoint *own = &backend->endpoint;

	return own->family == wanted->family &&
	       memcmp(own->address, wanted->address, sizeof(own->address)) == 0 &&
	       (wanted->port == 0 || wanted->port == own->port);
}

struct backend *config_find_backend(struct config *config, const char *name, const char *text,
				    char *error, size_t size)
{
	struct service_config *service = find_service(config, name);
	struct backend *found = NULL;
	struct endpoint wanted;
	size_t count = 0;

	if (service == NULL) {
		snprintf(error, size, "no service is named \"%s\"", name);
		return NULL;
	}
	if (!endpoint_parse(&wanted, text)) {
		snprintf(error, size,
			 "found \"%s\", expected the address of a backend, ADDRESS or "
			 "ADDRESS:PORT",
			 text);
		return NULL;
	}
	for (size_t i = 0; i < service->backend_count; i++) {
		if (!is_meant(&service->backends[i], &wanted))
			continue;
		found = &service->backends[i];
		count++;
	}
	if (count == 1)
		return found;
	snprintf(error, size, "service \"%s\" has %s backend %s%s", name,
		 count == 0 ? "no" : "more than one", text,
		 count == 0 ? "" : ", expected ADDRESS:PORT");
	return NULL;
}

char *backend_format(const struct backend *backend, char text[static ENDPOINT_TEXT_SIZE])
{
	if (backend->endpoint.port == 0)
		return endpoint_format_address(&backend->endpoint, text);
	return endpoint_format(&backend->endpoint, text);
}
