# SPDX-License-Identifier: ISC
"""Reserved names (iot_auth.reserved_name): no device or app can take one, so that a tenant's certificate cannot lock the password user of
that name out of its client id."""


def test_a_reserved_name_is_no_device_id(site):
    fleet = site.fleet(client_id_templates=["*"])
    broker = site.broker()
    site.assert_refused("identity_invalid", broker, fleet.issue("admin"), client_id="sensor-1")
    assert site.registry.devices() == []


def test_a_reserved_name_is_no_client_id(site):
    fleet = site.fleet(client_id_templates=["*"])
    broker = site.broker()
    site.assert_refused("client_id_mismatch", broker, fleet.issue("sensor-1"), client_id="admin")
    assert site.connect(broker, fleet.issue("sensor-1"), client_id="administrator").connected


def test_a_change_of_the_list_is_in_force_within_a_second(site):
    fleet = site.fleet()
    broker = site.broker()
    device = fleet.issue("admin")
    site.assert_refused("identity_invalid", broker, device)
    site.registry.query("DELETE FROM iot_auth.reserved_name WHERE name = 'admin'")
    site.connect_within(1.0, broker, device)
    site.registry.query("INSERT INTO iot_auth.reserved_name (name) VALUES ('console')")
    site.assert_refused_soon("identity_invalid", broker, fleet.issue("console"))


def test_a_live_session_outlives_the_reservation_of_its_client_id(site):
    fleet = site.fleet(client_id_templates=["*"])
    broker = site.broker()
    client = site.connect(broker, fleet.issue("sensor-1"), client_id="console")
    site.registry.query("INSERT INTO iot_auth.reserved_name (name) VALUES ('console')")
    site.assert_refused_soon("client_id_mismatch", broker, fleet.issue("sensor-2"), client_id="console")
    assert client.connected
