"""Groups, from pairs that belong together."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)


class Groups(Generic[Member]):
    """Groups that grow by pairs; one member stands for each.

    Example:
        >>> groups = Groups([("46", "53"), ("53", "60")])
        >>> groups.of("60"), groups.of("1")
        ('46', '1')
    """

    def __init__(self, pairs: Iterable[tuple[Member, Member]] = ()) -> None:
        self._above: dict[Member, Member] = {}
        for stays, goes in pairs:
            self.join(stays, goes)

    def join(self, stays: Member, goes: Member) -> None:
        """Make one group of two; what stood for the first stands for both."""
        first, second = self.of(stays), self.of(goes)
        if first != second:
            self._above[second] = first

    def of(self, member: Member) -> Member:
        """What stands for the group of a member; itself, where it was never joined."""
        while (over := self._above.get(member, member)) != member:
            # Halving the way up keeps long chains from being walked again and again.
            self._above[member] = self._above.get(over, over)
            member = over
        return member
