# SPDX-License-Identifier: ISC
"""Reserved names (iot_auth.reserved_name): no device or app can take one, so that a tenant's certificate cannot lock out the password user
of that name."""

