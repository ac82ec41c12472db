// SPDX-License-Identifier: ISC
/* BASIC_AUTH and extended authentication: Mosquitto's questions, and the sessions that begin with the answers. */
#pragma once

int ia_on_basic_auth(int event, void *event_data, void *userdata);
int ia_on_ext_auth_start(int event, void *event_data, void *userdata);
int ia_on_ext_auth_continue(int event, void *event_data, void *userdata);
