// SPDX-License-Identifier: ISC
/* Completion of words and options in shells: scripts for standard output, made from the table of verbs. */
#pragma once

void ia_completion_bash(void);
void ia_completion_zsh(void);
