"""Disjoint groups, built from pairs that belong together."""

from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)


class Groups(Generic[Member]):
    """Disjoint groups that are merged by pairs; one member represents each group.

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
        """Merges the groups of two members; the representative of the first then represents both."""
        first, second = self.of(stays), self.of(goes)
        if first != second:
            self._above[second] = first

    def of(self, member: Member) -> Member:
        """The representative of a member's group: the member itself, if it was never joined."""
        while (over := self._above.get(member, member)) != member:
            # Halving the path keeps chains short.
            self._above[member] = self._above.get(over, over)
            member = over
        return member
