"""How many steps a budget of minutes allows, by the pace of the steps taken last."""

CLOCKED = 25  # steps between two looks at the clock, at most
SLACK = 0.02  # of a run: a number of steps that is off by less is left, or the schedule would change at every look


class Budget:
    """The pace is that of the latter half of the steps: the first ones compile and warm up, and tell little.

    Another program may make the machine slower or faster at any time, so the number of steps may shrink and grow; never
    beyond what the recipe asks for.

    Args:
        seconds: of training that are allowed.
        steps: that the recipe asks for.
        step: that the run stands at: not 0 where it goes on from a checkpoint.
        spent: seconds of training up to there.
    """

    def __init__(self, seconds: float, steps: int, step: int = 0, spent: float = 0.0) -> None:
        self.seconds, self.wanted = seconds, steps
        self.looks = [(step, spent)]  # step and seconds, the oldest first
        self.next_look = step + CLOCKED

    def is_due(self, step: int) -> bool:
        """Whether the clock is to be looked at."""
        return step >= self.next_look

    def allowed(self, step: int, spent: float, steps: int) -> int:
        """How many steps the whole run is to have.

        Args:
            step: that the run stands at, at least one beyond the last look.
            spent: seconds of training up to there, the same in all processes.
            steps: how many it was to have until now.
        """
        while len(self.looks) > 1 and self.looks[1][0] <= step / 2:
            del self.looks[0]
        began, before = self.looks[0]
        self.looks.append((step, spent))
        pace = max(spent - before, 1e-9) / (step - began)
        most = min(self.wanted, step + max(0, int((self.seconds - spent) / pace)))
        if most > step and most < self.wanted and abs(most - steps) <= SLACK * steps:
            most = steps
        # Before half of what is left: where the schedule has nearly ended, growing comes too late.
        self.next_look = step + min(CLOCKED, max(1, (most - step) // 2))
        return most
