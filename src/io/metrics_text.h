/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef KNOCKGW_IO_METRICS_TEXT_H
#define KNOCKGW_IO_METRICS_TEXT_H

#include <event2/buffer.h>

#include "view.h"

/* Writes all metrics in the text format of Prometheus (version 0.0.4). Returns false when memory
 * was short. */
bool metrics_write(struct evbuffer *output, const struct view *view);

#endif
