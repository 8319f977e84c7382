"""What every space and every score must keep, checked on yours: `check_space(SPACE)`, `check_score(SCORE)`.

Both give the list of broken promises, one line each; an empty list is what you want. In pytest each promise makes
a test of its own:

    @pytest.mark.parametrize("promise", SPACE_PROMISES)
    def test_my_space_keeps(promise: str) -> None:
        assert check_space(SPACE, only=promise, depth=(1, 2)) == []
"""

from __future__ import annotations

from nasplat.conformance.scores import SCORE_PROMISES, check_score
from nasplat.conformance.spaces import SPACE_PROMISES, check_space

__all__ = ["SCORE_PROMISES", "SPACE_PROMISES", "check_score", "check_space"]
