# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Reads KTAP, the kernel's test output, and counts its results."""

import re

RESULT = re.compile(r"( *)(not ok|ok) (\d+)\b(.*)")
PLAN = re.compile(r"( *)1\.\.(\d+)")


class Results:
    """Counts tests at every depth. A result that closes a subtest stands for its parts and is not counted again."""

    def __init__(self):
        self.passed = 0
        self.failed = 0
        self.skipped = 0
        self._planned = {}  # depth: how many results its plan promised
        self._seen = {}  # depth: how many came
        self._failures = {}  # depth: how many of them failed
        self._problems = []

    def feed(self, line):
        if plan := PLAN.fullmatch(line.rstrip()):
            self._planned[len(plan[1])] = int(plan[2])
        elif result := RESULT.match(line):
            self._result(len(result[1]), result[2] == "ok", "# SKIP" in result[4])
        elif line.startswith("Bail out!"):
            self._problems.append(line)

    def _result(self, depth, passed, skipped):
        parts = [deeper for deeper in {*self._seen, *self._planned} if deeper > depth]
        failed_parts = sum(self._close(deeper) for deeper in parts)
        self._seen[depth] = self._seen.get(depth, 0) + 1
        if skipped:
            self.skipped += 1
        elif passed and not parts:
            self.passed += 1
        elif not passed and not failed_parts:
            # Also a parent that fails although all its parts passed.
            self.failed += 1
        if not passed:
            self._failures[depth] = self._failures.get(depth, 0) + 1

    def _close(self, depth):
        """Ends the list at this depth; returns how many of it failed."""
        planned, seen = self._planned.pop(depth, None), self._seen.pop(depth, 0)
        if planned is None:
            self._problems.append(f"{seen} test results came without a plan")
        elif planned != seen:
            self._problems.append(f"{planned} tests were planned and {seen} reported")
        return self._failures.pop(depth, 0)

    def problems(self):
        """Why these results are not those of a good run; to be called once, at the end."""
        if not self._seen and not self._planned:
            self._problems.append("no test reported anything")
        for depth in {*self._seen, *self._planned}:
            self._close(depth)
        return ([f"{self.failed} test(s) failed"] if self.failed else []) + self._problems
