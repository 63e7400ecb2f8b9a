/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the configuration to the tables that the engines look things up in. */
#ifndef KNOCKGW_IO_SERVICE_ROWS_H
#define KNOCKGW_IO_SERVICE_ROWS_H

#include "config.h"
#include "core/service.h"

/* All services by their endpoints. The table points into config. Returns NULL when memory is short.
 */
struct service_table *service_table_of_config(const struct config *config);

#endif
