/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of the ruleset share. Nobody else includes this. */
#ifndef KNOCKGW_IO_RULESET_INTERNAL_H
#define KNOCKGW_IO_RULESET_INTERNAL_H

#include "ruleset.h"

struct ip_family {
	const char *digit;
	const char *header;
	const char *type;
	uint8_t family;
};

/* IPv4 and IPv6. */
extern const struct ip_family ip_families[2];

#define FOR_EACH_FAMILY(row) \
	for (const struct ip_family *row = ip_families; row < ip_families + 2; row++)

#define FOR_EACH_SERVICE(config, row)                               \
	for (const struct service_config *row = (config)->services; \
	     row < (config)->services + (config)->service_count; row++)

#define SYN_ONLY "tcp flags & (fin | syn | rst | ack) == syn"

/* What an element of a set or map says about one endpoint of a service. */
typedef void (*element_writer)(FILE *stream, const struct service_config *service,
			       const struct endpoint *endpoint);

/* ADDRESS . PORT */
void ruleset_write_endpoint(FILE *stream, const struct service_config *service,
			    const struct endpoint *endpoint);

/* One set or map over the endpoints of those services that wanted() names. */
void ruleset_write_collection(FILE *stream, const struct config *config,
			      const struct ip_family *family, const char *kind, const char *name,
			      const char *value_type,
			      bool (*wanted)(const struct service_config *, uint8_t),
			      element_writer write_element);

/* wanted(): every service. */
bool ruleset_every_service(const struct service_config *service, uint8_t family);

/* ruleset_backend.c: verified connections to one of several backends. */

/* Whether a service has backends for that family, whatever their state. */
bool ruleset_has_backends(const struct service_config *service, uint8_t family);
/* Whether nobody gets in at addresses of that family, whoever asks. */
bool ruleset_is_shut(const struct service_config *service, uint8_t family);
void ruleset_write_backends(FILE *stream, const struct config *config, const struct marks *marks);

/* ruleset_decoy.c: refused packets go to a port that is really closed. */

/* A service port together with the port that answers in its place. */
struct decoy_pair {
	uint16_t port;
	uint16_t decoy;
};

struct decoy_pairs {
	struct decoy_pair *list;
	size_t count;
};

/* All distinct pairs; the list is to be freed. When memory is short it is empty: the ruleset then
 * names chains that do not exist, and the kernel refuses it. */
struct decoy_pairs ruleset_decoy_pairs(const struct config *config);
void ruleset_write_decoys(FILE *stream, const struct config *config,
			  const struct decoy_pairs *pairs);
void ruleset_write_answers(FILE *stream, const struct decoy_pairs *pairs,
			   const struct marks *marks);

/* ruleset_protect.c: who is asked, and what comes of the answer. */
void ruleset_write_protect(FILE *stream, const struct config *config, const struct marks *marks);

#endif
