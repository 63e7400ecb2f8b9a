/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "outlets.h"

bool outlets_open(struct outlets *outlets, const struct config *config)
{
	outlets->control = control_open(config);
	if (outlets->control == NULL && config->control_given)
		return false;
	if (!metrics_wanted(config))
		return true;
	outlets->metrics = metrics_open(config);
	return outlets->metrics != NULL;
}

bool outlets_start(const struct outlets *outlets, struct event_base *base,
		   const struct daemon_interface *daemon)
{
	return (outlets->control == NULL || control_start(outlets->control, base, daemon)) &&
	       (outlets->metrics == NULL || metrics_start(outlets->metrics, base, daemon));
}

void outlets_close(struct outlets *outlets)
{
	control_stop(outlets->control);
	metrics_stop(outlets->metrics);
}
