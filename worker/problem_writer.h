// SPDX-License-Identifier: ISC
/* Writes what is wrong with a row of the configuration into its `problem` column, by the outbox, and into the log.
 * Worker thread. */
#pragma once

#include "config/snapshot_builder.h"
#include "worker/outbox.h"
#include "worker/sink.h"

struct ia_problem_writer {
    struct ia_outbox *outbox;
    const struct ia_sink *sink;
    const struct ia_rows *rows; /* that the snapshot is built from */
};

/* The callbacks for ia_builder_build; valid for as long as `writer`. */
struct ia_row_problems ia_problem_writer_callbacks(const struct ia_problem_writer *writer);
