/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Finds what a command names. */
#include <stdlib.h>
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

/* ADDRESS, ADDRESS:PORT or, for IPv6, [ADDRESS]:PORT; without a port it is 0. */
static bool parse_endpoint(const char *text, struct endpoint *endpoint)
{
	char address[ENDPOINT_TEXT_SIZE];
	const char *colon = strrchr(text, ':');
	bool bracketed = text[0] == '[';
	unsigned long port;
	char *end;

	if (endpoint_parse_address(endpoint, text))
		return true;
	if (colon == NULL || (size_t)(colon - text) >= sizeof(address) ||
	    (bracketed && colon[-1] != ']'))
		return false;
	snprintf(address, sizeof(address), "%.*s", (int)(colon - text) - 2 * bracketed,
		 text + bracketed);
	port = strtoul(colon + 1, &end, 10);
	if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port == 0 || port > UINT16_MAX ||
	    !endpoint_parse_address(endpoint, address) ||
	    bracketed != (endpoint->family == FAMILY_IPV6))
		return false;
	endpoint->port = (uint16_t)port;
	return true;
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
	if (!parse_endpoint(text, &wanted)) {
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
