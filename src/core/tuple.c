/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tuple.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

char *endpoint_format_address(const struct endpoint *endpoint, char text[static ENDPOINT_TEXT_SIZE])
{
	int family = endpoint->family == FAMILY_IPV4 ? AF_INET : AF_INET6;

	if (inet_ntop(family, endpoint->address, text, ENDPOINT_TEXT_SIZE) == NULL)
		text[0] = '\0';
	return text;
}

char *endpoint_format(const struct endpoint *endpoint, char text[static ENDPOINT_TEXT_SIZE])
{
	char address[ENDPOINT_TEXT_SIZE];

	endpoint_format_address(endpoint, address);
	if (endpoint->family == FAMILY_IPV4)
		snprintf(text, ENDPOINT_TEXT_SIZE, "%.46s:%u", address, endpoint->port);
	else
		snprintf(text, ENDPOINT_TEXT_SIZE, "[%.46s]:%u", address, endpoint->port);
	return text;
}

bool endpoint_parse_address(struct endpoint *endpoint, const char *text)
{
	*endpoint = (struct endpoint){0};
	if (inet_pton(AF_INET, text, endpoint->address) == 1)
		endpoint->family = FAMILY_IPV4;
	else if (inet_pton(AF_INET6, text, endpoint->address) == 1)
		endpoint->family = FAMILY_IPV6;
	return endpoint->family != 0;
}

bool endpoint_parse(struct endpoint *endpoint, const char *text)
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
