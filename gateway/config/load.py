"""From a YAML file to a `Config`, or to a `ConfigError` with everything that is wrong with it.

1. `yaml` reads the file and its includes into nodes, `secret` fetches what `!secret` names.
2. Each part is judged by its model: `gateway` and `buffer` here, `devices` by their drivers, `sinks` by their sinks,
   `rules` by what they compile to.
3. What only shows when all is seen: ids and pins used twice.

Nothing stops at the first problem. What the machine gives (environment, host name) is an argument.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.config.claims import caution_shared_claims
from gateway.config.devices import Devices, check_ids
from gateway.config.findings import Findings, keys_of, split
from gateway.config.host import Host, simulated_id
from gateway.config.model import BufferConfig, Config, DeviceConfig, GatewayConfig, HttpConfig, SinkConfig, SinkEntry
from gateway.config.nodes import MapNode, Node, Place, ScalarNode
from gateway.config.nodes import Path as NodePath
from gateway.config.secret import Secrets
from gateway.config.sentences import unknown_key
from gateway.config.text import Unreadable, read_bytes
from gateway.config.yaml import FAST_PARSER, read_document
from gateway.errors import ConfigError, PluginError, Problem
from gateway.options import Options
from gateway.plugins import Plugins

if TYPE_CHECKING:
    from gateway.action import NotifierConfig
    from gateway.rules.model import RuleConfig

SECTIONS = ("gateway", "devices", "sinks", "rules", "notify", "buffer", "http")

_HASH_DIGITS = 16


def load_config(path: Path, plugins: Plugins, *, simulate: bool = False, host: Host | None = None) -> Config:
    """The configuration in the file `path`. `host` is this machine unless a test says otherwise.

    With `simulate` the gateway's id ends in `-sim`, the log is one of its own, and devices get signals.

    Raises:
        ConfigError: the file cannot be used; holds every problem.
    """
    try:
        content = read_bytes(path)
    except Unreadable as reason:
        raise ConfigError([Problem(str(path), reason.line, reason.column, "", reason.message)]) from None
    return parse_config(content, str(path), plugins, simulate=simulate, host=host)


def parse_config(
    text: str | bytes,
    file: str,
    plugins: Plugins,
    *,
    simulate: bool = False,
    host: Host | None = None,
    parser: Any = FAST_PARSER,
) -> Config:
    """The configuration in a text. `file` names it in messages; includes and relative paths begin beside it.

    Raises:
        ConfigError: as for `load_config`.
    """
    host = host or Host.here()
    document = read_document(text, file, Secrets(file, host.environ), parser)
    findings = Findings(document)
    sections = _sections(findings, document.root)
    identity = _gateway(findings, sections, host)
    devices = Devices(findings, plugins, simulate=simulate).read(sections.get("devices"))
    sinks = _sinks(findings, plugins, sections.get("sinks"), identity)
    buffer = _buffer(findings, sections, host, file)
    http = _http(findings, sections)
    notify = _notify(findings, sections)
    rules = _rules(findings, sections, devices, sinks, notifier=notify is not None)
    findings.raise_if_wrong()
    if identity is None or buffer is None:
        raise AssertionError("a part without a problem is there")
    if simulate:
        identity = identity.model_copy(update={"id": simulated_id(identity.id)})
        buffer = buffer.model_copy(update={"path": host.simulated_log_path(identity.id)})
    return Config(
        gateway=identity,
        devices=devices,
        sinks=sinks,
        buffer=buffer,
        hash=_hash(identity, devices, sinks, buffer, http, notify, rules),
        files=tuple(dict.fromkeys(map(Path, document.files))),
        warnings=findings.warnings(),
        places={".".join(path): _place(sections, path, file) for path in (("gateway", "id"), ("buffer", "path"))},
        http=http,
        rules=rules,
        notify=notify,
    )


def _sections(findings: Findings, root: Node | None) -> Mapping[str, Node]:
    expected = f"a mapping with {', '.join(SECTIONS[:-1])} and {SECTIONS[-1]}"
    top = findings.mapping(root, (), expected)
    if top is None:
        return {}
    for key, place in top.keys.items():
        if key not in SECTIONS:
            findings.problem(place, (key,), unknown_key(key, SECTIONS))
    return top.nodes


def _section(findings: Findings, sections: Mapping[str, Node], name: str) -> MapNode:
    """The section as a mapping; an empty one where the YAML is silent."""
    section = findings.mapping(sections.get(name), (name,), "a mapping")
    return section or MapNode(Place("", 1, 1), {}, {})


def _place(sections: Mapping[str, Node], path: tuple[str, str], file: str) -> Place:
    """Where that key stands; where the YAML is silent, where its section does, or else the file begins."""
    section = sections.get(path[0])
    if not isinstance(section, MapNode):
        return Place(file, 1, 1)
    written = section.nodes.get(path[1])
    return written.place if written else section.place


def _gateway(findings: Findings, sections: Mapping[str, Node], host: Host) -> GatewayConfig | None:
    section = _section(findings, sections, "gateway")
    return findings.check(GatewayConfig, section, ("gateway",), defaults={"id": host.gateway_id()})


def _buffer(findings: Findings, sections: Mapping[str, Node], host: Host, file: str) -> BufferConfig | None:
    section = _section(findings, sections, "buffer")
    buffer = findings.check(BufferConfig, section, ("buffer",), defaults={"path": host.log_path()})
    if buffer is None:
        return None
    written = section.nodes.get("path")
    return buffer.model_copy(update={"path": host.located(buffer.path, written.place.file if written else file)})


def _http(findings: Findings, sections: Mapping[str, Node]) -> HttpConfig | None:
    section = findings.mapping(sections.get("http"), ("http",), "a mapping with `listen`")
    http = findings.check(HttpConfig, section, ("http",)) if section is not None else None
    if http is not None and section is not None and not http.is_local:
        sentence = (
            "whoever reaches this address can read status and metrics, without a password or encryption: "
            "127.0.0.1 is for this machine alone"
        )
        findings.caution(section.keys["listen"], ("http", "listen"), sentence)
    return http


def _notify(findings: Findings, sections: Mapping[str, Node]) -> NotifierConfig | None:
    if "notify" not in sections:
        return None
    from gateway.action import NotifierConfig  # noqa: PLC0415 - as in `_rules`

    section = findings.mapping(sections["notify"], ("notify",), "a mapping with `url`")
    return findings.check(NotifierConfig, section, ("notify",)) if section is not None else None


def _rules(
    findings: Findings,
    sections: Mapping[str, Node],
    devices: Sequence[DeviceConfig],
    sinks: Sequence[SinkConfig],
    *,
    notifier: bool,
) -> tuple[RuleConfig, ...]:
    if "rules" not in sections:
        return ()
    from gateway.config.rules import read_rules  # noqa: PLC0415 - who writes no rules does not pay for them

    devices_node, sinks_node = sections.get("devices"), sections.get("sinks")
    return read_rules(findings, sections["rules"], devices, devices_node, sinks, sinks_node, notifier=notifier)


def _sinks(
    findings: Findings, plugins: Plugins, node: Node | None, identity: GatewayConfig | None
) -> tuple[SinkConfig, ...]:
    entries = findings.entries(node, ("sinks",), "a sink: a mapping with `id` and `sink`")
    check_ids(findings, entries, "sink")
    read = [(_sink(findings, plugins, entry, path), entry, path) for entry, path in entries]
    sinks = [(sink, entry, path) for sink, entry, path in read if sink is not None]
    if identity is not None:
        caution_shared_claims(findings, sinks, identity.id)
    return tuple(sink for sink, _, _ in sinks)


def _sink(findings: Findings, plugins: Plugins, node: MapNode, path: NodePath) -> SinkConfig | None:
    common, own = split(node, SinkEntry)
    entry = findings.check(SinkEntry, common, path)
    name = common.nodes.get("sink")
    if not isinstance(name, ScalarNode) or not isinstance(name.value, str):
        return None
    try:
        sink = plugins.sink(name.value)
    except PluginError as error:
        findings.problem(name.place, (*path, "sink"), str(error))
        return None
    options = findings.check(sink.Options, own, path, also_known=keys_of(SinkEntry))
    if options is None:
        return None
    for key, sentence in sink.cautions(options):
        findings.caution(own.keys.get(key, node.place), (*path, key), sentence)
    findings.caution_open_secrets(options, own, path)
    return SinkConfig(entry.id, sink, options, entry.events) if entry else None


def _hash(
    identity: GatewayConfig,
    devices: tuple[DeviceConfig, ...],
    sinks: tuple[SinkConfig, ...],
    buffer: BufferConfig,
    http: HttpConfig | None,
    notify: NotifierConfig | None,
    rules: tuple[RuleConfig, ...],
) -> str:
    """The meaning of a configuration in 16 hex digits. pydantic dumps every secret as the same stars."""
    meaning = {
        "gateway": _dump(identity),
        "devices": [_device_meaning(device) for device in devices],
        "sinks": [_sink_meaning(sink) for sink in sinks],
        "buffer": _dump(buffer),
        **({} if http is None else {"http": _dump(http)}),
        **({} if notify is None else {"notify": _dump(notify)}),
        **({"rules": [rule.model_dump(mode="json", fallback=str) for rule in rules]} if rules else {}),
    }
    canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_DIGITS]


def _sink_meaning(sink: SinkConfig) -> dict[str, Any]:
    meaning = {"id": sink.id, "sink": sink.sink.name, "options": _dump(sink.options)}
    return meaning | {"events": _dump(sink.events)}


def _device_meaning(device: DeviceConfig) -> dict[str, Any]:
    simulate = device.simulate
    return {
        "id": device.id,
        "driver": device.driver.name,
        "options": _dump(device.options),
        "every_s": device.every_s,
        "timeout_s": device.timeout_s,
        "channels": {name: _dump(channel) for name, channel in device.channels.items()},
        "simulate": None if simulate is None else {name: repr(signal) for name, signal in simulate.items()},
    }


def _dump(options: Options) -> dict[str, Any]:
    return options.model_dump(mode="json", fallback=str)
