/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long a blind guess takes: the strength that the 32 bits of an ISN give. */
#ifndef KNOCKGW_CORE_ODDS_H
#define KNOCKGW_CORE_ODDS_H

#include <stddef.h>
#include <stdint.h>

#include "service.h"

/* One guess in so many hits, on average: 2^32 in authentication mode, 2^16 in integrity mode (where
 * a SYN that hits opens nothing before the payload check), divided by the number of keys. */
double odds_guesses(const struct service *service);

/* The expected time until guesses at that rate hit, in seconds. Infinite for a rate of 0. */
double odds_seconds(const struct service *service, double guesses_per_second);

enum { ODDS_TEXT_SIZE = 32, ODDS_LINE_SIZE = 384 };

/* What one core judges in a second, about: how fast the gateway lets anybody guess whom nothing
 * holds. See docs/performance.md. */
enum { ODDS_GATEWAY_RATE = 300000 };

/* Writes one line about a service: what a blind guess hits, and how long it takes at the rates that
 * its limits (struct failure_rules) give. Returns text. */
char *odds_line(const struct service *service, char text[static ODDS_LINE_SIZE]);

/* Writes a time as people say it, two digits of it: "4.9 days", "136 years". Returns text. */
char *odds_duration(double seconds, char text[static ODDS_TEXT_SIZE]);

#endif
