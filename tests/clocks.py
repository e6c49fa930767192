"""A clock that stands still until a test moves it."""

from gateway.clock import NS_PER_S


class ManualClock:
    """Implements `gateway.clock.Clock`; wall and boot time move together, and can be stepped apart."""

    def __init__(self, wall_s=1_800_000_000.0, mono_s=100.0):
        self._wall_ns, self._mono_ns = round(wall_s * NS_PER_S), round(mono_s * NS_PER_S)
        self._boots = 1
        self.is_synced = True

    @property
    def boot_id(self):
        return f"boot-{self._boots}"

    def wall_ns(self):
        return self._wall_ns

    def mono_ns(self):
        return self._mono_ns

    def synced(self):
        return self.is_synced

    def pass_s(self, seconds):
        self._wall_ns += round(seconds * NS_PER_S)
        self._mono_ns += round(seconds * NS_PER_S)

    def step_wall_s(self, seconds):
        self._wall_ns += round(seconds * NS_PER_S)

    def reboot(self, off_s=30.0):
        self._boots += 1
        self._wall_ns += round(off_s * NS_PER_S)
        self._mono_ns = 5 * NS_PER_S
