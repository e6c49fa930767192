"""`!secret name`: a file of that name, out of the configuration's sight.

systemd puts it into $CREDENTIALS_DIRECTORY (`LoadCredential=`, `SetCredentialEncrypted=`); elsewhere it lies in
`secrets/` beside the YAML file. The value travels as pydantic's `SecretStr`, so neither an error nor a dump shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from gateway.config.text import Unreadable, decode, read_bytes

SECRET_BYTES_MAX = 64 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_READABLE_BY_OTHERS = 0o044


class Secrets:
    """Where secrets lie for one configuration file."""

    def __init__(self, file: str, environ: Mapping[str, str]) -> None:
        """`file` is the YAML file that the service was started with."""
        given = environ.get("CREDENTIALS_DIRECTORY")
        self._credentials = Path(given) if given else None
        self._beside = Path(file).parent / "secrets"

    def __call__(self, name: str) -> tuple[SecretStr, str | None]:
        """The secret without its last newline, and a caution where others can read its file.

        Raises:
            Unreadable: no such secret, no permission, empty, or no text.
        """
        if not _NAME.fullmatch(name):
            raise Unreadable(f"found {name!r} as the name of a secret, expected letters, digits, '.', '_' and '-'")
        file = self._file(name)
        try:
            text = decode(read_bytes(file, SECRET_BYTES_MAX))
        except Unreadable as reason:
            # Only what is wrong with the file itself is said; a message about its bytes would show some of them.
            why = reason.message if reason.line == reason.column == 1 and "byte " not in reason.message else "no text"
            raise Unreadable(f"cannot read secret {name!r} from {file}: {why}") from None
        value = text.removesuffix("\n").removesuffix("\r")
        if not value:
            raise Unreadable(f"secret {name!r} is empty: write it into {file}")
        return SecretStr(value), self._caution(file)

    def _file(self, name: str) -> Path:
        places = [folder / name for folder in (self._credentials, self._beside) if folder]
        for place in places:
            if _exists(place):
                return place
        looked = " and ".join(map(str, places))
        raise Unreadable(
            f"secret {name!r} is missing: looked for {looked}; write it into a file of that name, readable by you alone"
        )

    def _caution(self, file: Path) -> str | None:
        # systemd hands credentials out on a private file system; the group bits seen there are those of an ACL's mask.
        if file.parent == self._credentials or not file.stat().st_mode & _READABLE_BY_OTHERS:
            return None
        return f"others can read {file}: run `chmod 600 {file}`"


def _exists(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # no permission to look into the folder: reading says so
        return True
