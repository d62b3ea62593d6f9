"""What a viewer's server allows."""

import dataclasses
import pathlib

from brainjax.types import ConfigError

MIB = 2**20
_LEAST_MINUTES = 2  # a page gives a sign each minute, see assets/1_server.js


@dataclasses.dataclass(frozen=True)
class Options:
    """Limits and addresses.

    Attributes:
        host: address to listen at; whoever can reach it can use the viewer and open the scans it offers.
        port: 0 takes a free one.
        names: further names under which the page may be asked for, such as that of a proxy.
        scans: files and folders whose scans the page offers; the first is opened at once.
        upload_mib: largest file that may be uploaded.
        unpacked_mib: how much it may hold, as files of NIfTI and as float32 in memory.
        idle_minutes: after so long without a sign of the page its session is deleted; 2 or more.
        sessions: at most, at the same time.
    """

    host: str = "127.0.0.1"
    port: int = 8050
    names: tuple[str, ...] = ()
    scans: tuple[pathlib.Path, ...] = ()
    upload_mib: float = 512
    unpacked_mib: float = 512
    idle_minutes: float = 30
    sessions: int = 8

    def __post_init__(self) -> None:
        """Raises ConfigError for what cannot work."""
        for name in ("upload_mib", "unpacked_mib", "sessions"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)}: give a number above 0")
        if not self.idle_minutes >= _LEAST_MINUTES:
            raise ConfigError(
                f"idle_minutes={self.idle_minutes}: give at least {_LEAST_MINUTES}; open pages give a sign each minute"
            )
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"port={self.port}: give 1 to 65535, or 0 for a free one")

    @property
    def upload(self) -> int:
        """Bytes of an uploaded file, at most."""
        return int(self.upload_mib * MIB)

    @property
    def unpacked(self) -> int:
        """Bytes that it may hold, at most."""
        return int(self.unpacked_mib * MIB)
