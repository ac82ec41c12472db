// SPDX-License-Identifier: ISC
/* Hands each notification (NOTIFY) to the part of the worker that it concerns.  Worker thread. */
#pragma once

#include "sql/db.h"
#include "worker/client_id_releases.h"
#include "worker/config_sync.h"
#include "worker/device_sync.h"
#include "worker/listen_check.h"
#include "worker/psk_sync.h"
#include "worker/status_events.h"

/* The parts, borrowed. */
struct ia_notification_targets {
    struct ia_config_sync *config;
    struct ia_device_sync *devices;
    struct ia_psk_sync *psks;
    struct ia_status_events *events;
    struct ia_releases *releases;
    struct ia_listen_check *listening;
};

/* Take all notifications that have arrived. */
void ia_notifications_take(struct ia_db *db, const struct ia_notification_targets *to);
