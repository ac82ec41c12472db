// SPDX-License-Identifier: ISC
/* Reports what is wrong with configuration rows: in the row's `problem` column and in the log.  Worker thread. */
#pragma once

#include "worker/outbox.h"
#include "worker/sink.h"
#include "worker/snapshot_builder.h"

/* All borrowed. */
struct ia_row_report {
    struct ia_outbox *outbox;
    const struct ia_sink *sink;
    const struct ia_rows *rows; /* that the snapshot is built from */
};

/* The callbacks for ia_builder_build, which refer to `report`. */
struct ia_row_problems ia_row_report_problems(struct ia_row_report *report);
