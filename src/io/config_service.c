/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list services = ( { ... }, … ): servers that are hidden. */
#include <stdlib.h>

#include "config_reader.h"
#include "core/slots.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

enum {
	DEFAULT_DECOY_PORT = 9, /* discard, RFC 863: closed nearly everywhere */
	USUAL_WINDOW = 60000,   /* in the SYN+ACK of a server that uses window scaling */
};

/* A service while its group is being read. */
struct draft {
	struct service_config *service;
	struct places addresses;
	const config_setting_t *ports;
};

static void read_service_name(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	read_name(reader, setting, draft->service->service.name);
}

static void read_service_address(struct reader *reader, const config_setting_t *setting,
				 void *target)
{
	struct draft *draft = target;
	read_addresses(reader, setting, false, &draft->addresses);
}

/* One address for each family: there is one wire in front of the NAT. */
static void read_public_address(struct reader *reader, const config_setting_t *setting,
				void *target)
{
	struct service *service = &((struct draft *)target)->service->service;
	size_t count = value_count(reader, setting, "address");

	for (size_t i = 0; i < count; i++) {
		struct endpoint address = {0};
		if (!read_address(reader, value_at(setting, i), &address))
			continue;
		struct endpoint *public = &service->public[address.family == FAMILY_IPV6];
		if (public->family != 0)
			reader_error(reader, value_at(setting, i),
				     "found a second %s address, expected one for each family",
				     address.family == FAMILY_IPV6 ? "IPv6" : "IPv4");
		address.port = public->port;
		*public = address;
	}
}

static void read_public_port(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct service *service = &((struct draft *)target)->service->service;
	long long value;

	if (read_integer(reader, setting, 1, UINT16_MAX, &value))
		service->public[0].port = service->public[1].port = (uint16_t)value;
}

static void read_service_port(struct reader *reader, const config_setting_t *setting, void *target)
{
	(void)reader;
	struct draft *draft = target;
	draft->ports = setting;
}

static void read_service_secret(struct reader *reader, const config_setting_t *setting,
				void *target)
{
	struct service_config *service = ((struct draft *)target)->service;
	service->keys = read_keys(reader, setting, true, &service->service.key_count);
	service->service.keys = service->keys;
}

static void read_service_integrity(struct reader *reader, const config_setting_t *setting,
				   void *target)
{
	struct draft *draft = target;
	read_integrity(reader, setting, &draft->service->service.integrity);
}

static void read_reassemble(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	read_boolean(reader, setting, &draft->service->service.reassemble);
}

static void read_seconds(struct reader *reader, const config_setting_t *setting, uint16_t *seconds)
{
	long long value;
	if (read_integer(reader, setting, 1, UINT16_MAX, &value))
		*seconds = (uint16_t)value;
}

static void read_pending_timeout(struct reader *reader, const config_setting_t *setting,
				 void *target)
{
	struct draft *draft = target;
	read_seconds(reader, setting, &draft->service->service.pending_timeout);
}

static void read_reassemble_timeout(struct reader *reader, const config_setting_t *setting,
				    void *target)
{
	struct draft *draft = target;
	read_seconds(reader, setting, &draft->service->service.reassemble_timeout);
}

static void read_service_replay_window(struct reader *reader, const config_setting_t *setting,
				       void *target)
{
	struct service_config *service = ((struct draft *)target)->service;
	service->replay_window_given =
		read_replay_window(reader, setting, &service->service.replay_window);
}

static void read_schedule(struct reader *reader, const config_setting_t *setting, void *target)
{
	unsigned int value;
	if (read_choice(reader, setting, schedule_words, &value))
		((struct draft *)target)->service->schedule = (enum schedule)value;
}

static void read_reject(struct reader *reader, const config_setting_t *setting, void *target)
{
	unsigned int value;
	if (read_choice(reader, setting, reject_words, &value))
		((struct draft *)target)->service->reject = (enum reject)value;
}

static void read_decoy_port(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (read_integer(reader, setting, 1, UINT16_MAX, &value))
		((struct draft *)target)->service->decoy_port = (uint16_t)value;
}

static void read_backend_address(struct reader *reader, const config_setting_t *setting,
				 void *target)
{
	struct backend *backend = target;
	uint16_t port = backend->endpoint.port;
	if (read_address(reader, setting, &backend->endpoint))
		backend->endpoint.port = port;
}

static void read_backend_port(struct reader *reader, const config_setting_t *setting, void *target)
{
	long long value;
	if (read_integer(reader, setting, 1, UINT16_MAX, &value))
		((struct backend *)target)->endpoint.port = (uint16_t)value;
}

static void read_backend_weight(struct reader *reader, const config_setting_t *setting,
				void *target)
{
	long long value;
	if (read_integer(reader, setting, 1, UINT16_MAX, &value))
		((struct backend *)target)->weight = (uint16_t)value;
}

static void read_backend_state(struct reader *reader, const config_setting_t *setting, void *target)
{
	unsigned int value;
	if (read_choice(reader, setting, backend_state_words, &value))
		((struct backend *)target)->state = (enum backend_state)value;
}

static const struct field backend_fields[] = {
	{"address", read_backend_address, "a numeric IPv4 or IPv6 address"},
	{"port", read_backend_port, NULL},
	{"weight", read_backend_weight, NULL},
	{"state", read_backend_state, NULL},
};

/* The last of the backends so far. */
static void check_backend(struct reader *reader, const config_setting_t *group,
			  const struct service_config *service)
{
	const struct backend *last = &service->backends[service->backend_count - 1];
	char text[ENDPOINT_TEXT_SIZE];
	size_t family_count = 0;
	bool again = false;
	for (const struct backend *other = service->backends; other <= last; other++) {
		family_count += other->endpoint.family == last->endpoint.family;
		again = again ||
			(other < last && endpoint_equal(&other->endpoint, &last->endpoint));
	}
	if (last->endpoint.family == 0)
		return;
	if (again)
		reader_error(reader, group, "found %s again, expected each backend only once",
			     last->endpoint.port != 0
				     ? endpoint_format(&last->endpoint, text)
				     : endpoint_format_address(&last->endpoint, text));
	if (family_count == BACKENDS_LIMIT + 1)
		reader_error(reader, group, "found more than %d backends of one family",
			     BACKENDS_LIMIT);
}

static void read_backends(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct service_config *service = ((struct draft *)target)->service;
	size_t count = value_count(reader, setting, "backend { address = ...; }");
	service->backends = reader_allocate(reader, count, sizeof(*service->backends));
	for (size_t i = 0; service->backends && i < count; i++) {
		const config_setting_t *group = value_at(setting, i);
		struct backend *backend = &service->backends[service->backend_count++];
		backend->weight = 1;
		read_group(reader, group, backend_fields, COUNT_OF(backend_fields), backend);
		check_backend(reader, group, service);
	}
}

static void read_snat(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct draft *draft = target;
	read_boolean(reader, setting, &draft->service->snat);
}

static void read_service_health(struct reader *reader, const config_setting_t *setting,
				void *target)
{
	struct draft *draft = target;
	read_health(reader, setting, &draft->service->health);
}

static const struct field service_fields[] = {
	{"name", read_service_name, "a name for logs and counters"},
	{"address", read_service_address, "the address that clients connect to, or a list"},
	{"port", read_service_port, "the port that clients connect to, or a list"},
	{"public_address", read_public_address, NULL},
	{"public_port", read_public_port, NULL},
	{"secret", read_service_secret, "a secret or a list of secrets"},
	{"integrity", read_service_integrity, NULL},
	{"reassemble", read_reassemble, NULL},
	{"replay_window", read_service_replay_window, NULL},
	{"pending_timeout", read_pending_timeout, NULL},
	{"reassemble_timeout", read_reassemble_timeout, NULL},
	{"backends", read_backends, NULL},
	{"schedule", read_schedule, NULL},
	{"snat", read_snat, NULL},
	{"health", read_service_health, NULL},
	{"reject", read_reject, NULL},
	{"decoy_port", read_decoy_port, NULL},
};

static bool addresses_have_family(const struct places *addresses, uint8_t family)
{
	for (size_t i = 0; i < addresses->count; i++)
		if (addresses->list[i].prefix.base.family == family)
			return true;
	return false;
}

static bool has_backend(const struct service_config *service, uint8_t family)
{
	for (size_t i = 0; i < service->backend_count; i++)
		if (service->backends[i].endpoint.family == family)
			return true;
	return false;
}

static const char *family_name(uint8_t family)
{
	return family == FAMILY_IPV4 ? "IPv4" : "IPv6";
}

static void check_backend_families(struct reader *reader, const config_setting_t *group,
				   const struct draft *draft)
{
	static const uint8_t families[] = {FAMILY_IPV4, FAMILY_IPV6};
	const config_setting_t *backends = config_setting_get_member(group, "backends");

	for (size_t i = 0; i < draft->service->backend_count; i++) {
		uint8_t family = draft->service->backends[i].endpoint.family;
		if (family != 0 && draft->addresses.count > 0 &&
		    !addresses_have_family(&draft->addresses, family))
			reader_error(
				reader, value_at(backends, i),
				"found an %s backend, expected the service to have an %s address",
				family_name(family), family_name(family));
	}
	/* A backend without a valid address may be meant for any family. */
	bool known = draft->service->backend_count > 0 && !has_backend(draft->service, 0);
	for (size_t i = 0; known && i < COUNT_OF(families); i++)
		if (addresses_have_family(&draft->addresses, families[i]) &&
		    !has_backend(draft->service, families[i]))
			reader_warning(reader, backends,
				       "found no %s backend: authorised clients at the %s address "
				       "of the service get whatever listens there itself",
				       family_name(families[i]), family_name(families[i]));
}

static void check_integrity(struct reader *reader, const config_setting_t *group,
			    const struct service_config *service)
{
	const config_setting_t *integrity = config_setting_get_member(group, "integrity");
	if (service->service.reassemble && service->service.integrity == 0)
		reader_error(reader, config_setting_get_member(group, "reassemble"),
			     "found true without integrity, expected integrity = N, the bytes that "
			     "are to be reassembled");
	if (integrity && !service->service.reassemble)
		warn_of_long_check(reader, integrity, service->service.integrity);
	else if (integrity && service->service.integrity > USUAL_WINDOW)
		reader_warning(reader, integrity,
			       "found %u, which does not fit the window that a server usually "
			       "opens with, expected at most %d",
			       service->service.integrity, USUAL_WINDOW);
}

/* A public address for a family that the service does not have would never be used. */
static void check_public(struct reader *reader, const config_setting_t *group,
			 const struct draft *draft)
{
	const struct endpoint *public = draft->service->service.public;
	const config_setting_t *address = config_setting_get_member(group, "public_address");

	for (size_t i = 0; i < 2; i++)
		if (public[i].family != 0 && draft->addresses.count > 0 &&
		    !addresses_have_family(&draft->addresses, public[i].family))
			reader_error(
				reader, address,
				"found an %s address, expected the service to have an %s address",
				i == 1 ? "IPv6" : "IPv4", i == 1 ? "IPv6" : "IPv4");
	if (public[0].port != 0 && draft->ports && value_count(reader, draft->ports, "port") > 1)
		reader_error(
			reader, config_setting_get_member(group, "public_port"),
			"found one public port for several ports, expected a service for each");
}

/* What is about backends says nothing without any. */
static void check_backend_keys(struct reader *reader, const config_setting_t *group,
			       const struct service_config *service)
{
	static const char *const keys[] = {"snat", "health"};
	for (size_t i = 0; service->backend_count == 0 && i < COUNT_OF(keys); i++) {
		const config_setting_t *setting = config_setting_get_member(group, keys[i]);
		if (setting)
			reader_error(reader, setting,
				     "found no backends, expected some with this key");
	}
}

static bool serves_port(const struct service_config *service, uint16_t port)
{
	for (size_t i = 0; i < service->endpoint_count; i++)
		if (service->endpoints[i].port == port)
			return true;
	return false;
}

/* A backend without a port has those of the service, whether or not another one names them. */
static void check_backend_ports(struct reader *reader, const config_setting_t *group,
				const struct service_config *service)
{
	const config_setting_t *backends = config_setting_get_member(group, "backends");
	char text[ENDPOINT_TEXT_SIZE];

	for (size_t i = 0; i < service->backend_count; i++) {
		struct endpoint named = service->backends[i].endpoint;
		struct endpoint any = named;
		any.port = 0;
		if (named.port == 0 || !serves_port(service, named.port))
			continue;
		bool again = false;
		for (size_t k = 0; k < service->backend_count; k++)
			again = again || endpoint_equal(&service->backends[k].endpoint, &any);
		if (again)
			reader_error(reader, value_at(backends, i),
				     "found %s, to which the same address without a port "
				     "leads as well, expected each backend only once",
				     endpoint_format(&named, text));
	}
}

static void combine_endpoints(struct reader *reader, const struct draft *draft)
{
	struct service_config *service = draft->service;
	size_t count;
	const struct place *places = places_combine(reader, &draft->addresses, draft->ports,
						    &reader->protected_places, &count);
	service->endpoints = reader_allocate(reader, count, sizeof(*service->endpoints));
	for (size_t i = 0; service->endpoints && i < count; i++)
		service->endpoints[service->endpoint_count++] = places[i].prefix.base;
}

static void read_service(struct reader *reader, const config_setting_t *group,
			 struct service_config *service)
{
	struct draft draft = {.service = service};
	service->decoy_port = DEFAULT_DECOY_PORT;
	service->service.pending_timeout = DEFAULT_PENDING_TIMEOUT;
	service->service.reassemble_timeout = DEFAULT_REASSEMBLE_TIMEOUT;
	service->line = config_setting_source_line(group);
	read_group(reader, group, service_fields, COUNT_OF(service_fields), &draft);
	set_replay_window(service);
	if (draft.ports)
		combine_endpoints(reader, &draft);
	if (config_setting_is_group(group)) {
		check_backend_families(reader, group, &draft);
		check_public(reader, group, &draft);
		check_backend_keys(reader, group, service);
		check_backend_ports(reader, group, service);
		check_integrity(reader, group, service);
	}
	places_free(&draft.addresses);
}

void read_services(struct reader *reader, const config_setting_t *setting, void *target)
{
	struct config *config = target;
	size_t count = value_count(reader, setting, "service { name = ...; }");
	config->services = reader_allocate(reader, count, sizeof(*config->services));
	for (size_t i = 0; config->services && i < count; i++) {
		struct service_config *service = &config->services[config->service_count++];
		service->service.index = (uint32_t)i;
		service->service.failures = &config->failures;
		read_service(reader, value_at(setting, i), service);
	}
}

void service_config_free(struct service_config *service)
{
	keys_free(service->keys, service->service.key_count);
	free(service->endpoints);
	free(service->backends);
}
