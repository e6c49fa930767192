"""What a right configuration means: defaults, names, places, simulation, hash and warnings."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from gateway.config import load_config
from gateway.config.channel import Deadband
from gateway.config.host import Host
from gateway.errors import ConfigError
from tests.config.parts import HOST, WHOLE, Chip, Key, Post, parse, plugins


def _host(environ=None, hostname="pi", machine_id="ab" * 16):
    return Host({"HOME": "/home/pi", **(environ or {})}, hostname, machine_id)


def test_everything_that_is_said_is_in_the_configuration():
    config = parse(WHOLE, "/etc/gateway/gateway.yaml")
    air, door = config.devices
    assert (config.gateway.id, config.gateway.labels) == ("greenhouse-pi", {"site": "north", "floor": "two"})
    assert (air.id, air.driver, air.every_s, air.timeout_s) == ("air", Chip, 30.0, 2.0)
    assert (door.driver, door.every_s, door.timeout_s) == (Key, None, 5.0)
    assert (door.options.pin, door.options.bounce_s) == (17, 0.02)
    assert [(sink.id, sink.sink) for sink in config.sinks] == [("home", Post)]
    assert config.buffer.path == Path("/etc/gateway/log/events.db")
    assert (config.buffer.keep.for_s, config.buffer.keep.size_bytes_max) == (30 * 86400, 512_000_000)
    assert config.buffer.commit_within_s == 2.0
    assert config.files == (Path("/etc/gateway/gateway.yaml"),)
    assert config.warnings == ()


def test_every_declared_channel_has_an_entry():
    air, door = parse(WHOLE).devices
    assert set(air.channels) == {"temperature", "humidity"}
    assert set(door.channels) == {"state"}


def test_a_deadband_implies_a_heartbeat():
    channels = parse(WHOLE).devices[0].channels
    assert (channels["temperature"].deadband, channels["temperature"].heartbeat_s) == (Deadband(0.2), 300.0)
    assert (channels["humidity"].deadband, channels["humidity"].heartbeat_s) == (None, 3600.0)
    assert parse("devices: [{id: a, driver: chip}]").devices[0].channels["humidity"].heartbeat_s is None


def test_the_driver_says_how_often_where_the_yaml_is_silent():
    assert parse("devices: [{id: a, driver: chip}]").devices[0].every_s == 10.0


def test_what_the_log_keeps_and_gives_up():
    keep = parse("buffer: {keep: {for: 1h, size: 2MB, count: 5000, when_full: thin}}").buffer.keep
    assert keep.arguments == {
        "keep_for_s": 3600.0, "size_bytes_max": 2_000_000, "events_max": 5000, "when_full": "thin"
    }  # fmt: skip
    keep = parse("{}").buffer.keep
    assert (keep.events_max, keep.when_full) == (None, "evict")


@pytest.mark.parametrize("text", ["{}", "devices:\nsinks:\ngateway:\nbuffer:", "devices: []\nsinks: []"])
def test_sections_may_be_missing_or_empty(text):
    config = parse(text)
    assert (config.devices, config.sinks) == ((), ())
    assert config.buffer.keep.size_bytes_max == 512_000_000


@pytest.mark.parametrize(
    ("hostname", "gateway_id"),
    [
        ("Greenhouse", "greenhouse"), ("pi4.lan", "pi4"), ("My Pi!", "my-pi"), ("_x_", "x"), ("x" * 80, "x" * 64),
        ("raspberrypi", "raspberrypi-d2f9fa"), ("localhost.localdomain", "localhost-d2f9fa"), ("", "gateway-d2f9fa"),
    ],
)  # fmt: skip
def test_the_gateway_is_named_after_its_host(hostname, gateway_id):
    assert parse("{}", host=_host(hostname=hostname)).gateway.id == gateway_id


@pytest.mark.parametrize(
    ("environ", "text", "path"),
    [
        ({}, "{}", "/var/lib/gateway/events.db"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "{}", "/var/lib/a/events.db"),
        ({"STATE_DIRECTORY": "/var/lib/a"}, "buffer: {path: x.db}", "/etc/gateway/x.db"),
        ({}, "buffer: {path: ../x.db}", "/etc/x.db"),
        ({}, "buffer: {path: ~/x.db}", "/home/pi/x.db"),
        ({}, "buffer: {path: /srv/x.db}", "/srv/x.db"),
    ],
)
def test_the_log_lies_where_the_yaml_or_systemd_says(environ, text, path):
    assert parse(text, "/etc/gateway/gateway.yaml", host=_host(environ)).buffer.path == Path(path)


def test_a_relative_path_begins_beside_the_file_that_names_it(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/buffer.yaml").write_text("path: events.db\n")
    config = parse("buffer: !include more/buffer.yaml", tmp_path / "gateway.yaml")
    assert config.buffer.path == tmp_path / "more/events.db"
    assert config.files == (tmp_path / "gateway.yaml", tmp_path / "more/buffer.yaml")


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, "/home/pi/.local/state/gateway/greenhouse-pi-sim/events.db"),
        ({"XDG_STATE_HOME": "/state"}, "/state/gateway/greenhouse-pi-sim/events.db"),
        ({"XDG_STATE_HOME": "relative"}, "/home/pi/.local/state/gateway/greenhouse-pi-sim/events.db"),
        ({"STATE_DIRECTORY": "/var/lib/gateway"}, "/home/pi/.local/state/gateway/greenhouse-pi-sim/events.db"),
    ],
)
def test_a_simulation_has_a_name_and_a_log_of_its_own(environ, path):
    config = parse(WHOLE, simulate=True, host=_host(environ))
    assert config.gateway.id == "greenhouse-pi-sim"
    assert config.buffer.path == Path(path)


def test_a_long_id_stays_valid_in_a_simulation():
    gateway_id = parse(f"gateway: {{id: {'x' * 64}}}", simulate=True).gateway.id
    assert gateway_id == "x" * 60 + "-sim"


def test_a_simulated_device_has_a_signal_for_every_channel():
    air, door = parse(WHOLE, simulate=True).devices
    assert air.simulate is not None
    assert door.simulate is not None
    assert air.simulate["temperature"](0.0) == 22.0
    assert air.simulate["humidity"](5.0) == 40.0
    assert door.simulate["state"](5.0) is False


def test_a_device_may_stay_real():
    text = "devices: [{id: a, driver: chip, simulate: false}, {id: b, driver: key, pin: 1}]"
    first, second = parse(text, simulate=True).devices
    assert first.simulate is None
    assert second.simulate is not None


def test_without_simulation_every_device_is_real():
    assert [device.simulate for device in parse(WHOLE).devices] == [None, None]


def test_the_hash_is_that_of_the_meaning():
    shuffled = """
# a comment
buffer: {commit_within: 2000ms, keep: {size: 512000kB}, path: log/events.db}
sinks: [{url: "posts://broker.local", username: 'pi', id: home, sink: post}]
devices:
  - {driver: chip, id: air, timeout: 2s, every: 0.5m, simulate: false,
     channels: {humidity: {urgent: true, heartbeat: 60m}, temperature: {deadband: 2e-1, heartbeat: 5m}}}
  - {id: door, driver: key, pin: 0x11, pull: up}
gateway: {labels: {floor: two, site: north}, id: greenhouse-pi}
"""
    assert len(parse(WHOLE).hash) == 16
    assert parse(WHOLE).hash == parse(shuffled).hash


@pytest.mark.parametrize(
    ("old", "new"),
    [("pin: 17", "pin: 18"), ("every: 30s", "every: 31s"), ("north", "south"), ("512MB", "513MB"), ("0.2", "0.3"),
     ("id: home", "id: away"), ("broker.local", "broker.lan"), ("timeout: 2s", "timeout: 3s"), ("id: air", "id: luft")],
)  # fmt: skip
def test_another_meaning_has_another_hash(old, new):
    assert old in WHOLE
    assert parse(WHOLE).hash != parse(WHOLE.replace(old, new)).hash


def test_signals_count_only_in_a_simulation():
    other = WHOLE.replace("max: 26", "max: 27")
    assert parse(WHOLE).hash == parse(other).hash
    assert parse(WHOLE, simulate=True).hash != parse(other, simulate=True).hash


def test_a_sinks_caution_is_a_warning_at_its_key():
    config = parse("sinks:\n  - {id: a, sink: post, url: post://broker}")
    assert config.warnings == ("gateway.yaml:2:25 sinks[0].url: post:// is not encrypted",)


def test_a_configuration_never_changes():
    config = parse(WHOLE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hash = ""
    with pytest.raises(ValueError, match="frozen"):
        config.gateway.id = "x"


def test_a_file_is_loaded(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(WHOLE)
    assert load_config(file, plugins(), host=HOST).buffer.path == tmp_path / "log/events.db"


@pytest.mark.parametrize(
    ("name", "message"), [("none.yaml", "no such file"), (".", "this is a directory, expected a file")]
)
def test_a_file_that_cannot_be_read_is_a_problem(tmp_path, name, message):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / name, plugins(), host=HOST)
    assert [problem.message for problem in caught.value.problems] == [message]


def test_this_machine_has_a_name():
    host = Host.here()
    assert parse("{}", host=host).gateway.id == host.gateway_id()


def test_machines_differ_in_a_word_that_does_not_tell_their_id():
    one, other, none = (Host({}, "pi", machine_id).machine() for machine_id in ("ab" * 16, "cd" * 16, ""))
    assert one != other
    assert (len(one), none) == (16, "")
    assert one not in "ab" * 16
