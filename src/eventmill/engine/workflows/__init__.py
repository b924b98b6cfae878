"""Workflows, purely: what happens to one → where it is next, and what a commit writes of that.

The life of a workflow, from a command to its end:

1. A command returns `self.update(…).begin(Transfer.withdraw)`. Its turn (`deciding`) makes the next
   `Progress` (`moving`): run number 1 of step `withdraw` is outstanding. One commit writes the state
   (`$state`, if it changed), the history line with the whole progress (`$step`), and a timer row
   `$step/…` (`rows`): from now on the step will run, whatever happens to this node.
2. When that commit is durable, `runtime.workflows.runner` starts the step, on a copy of the state, with
   a context whose keys are made of the run's number. Commands that come now wait; queries do not.
3. What the step returns comes back as the turn of a built-in command, `$outcome`: checked against the
   run's number and attempt, so what comes late or twice does nothing. The same kind of commit follows:
   state, history, next run, and the timer row of the next step in the place of the last one's.
4. A step that failed is outstanding again, later: its next attempt is the same row, due after a backoff.
   When its policy is spent, its failover step comes next, or the workflow fails: everything that was
   begun and has a compensation is undone in reverse order, each undoing a run like any other.
5. `pause`, `wait_for` and the time limit of the whole are timer rows too (`$pause/…`, `$wait/…`,
   `$deadline/…`), due at their time-outs. A wait that a step returned is due at once: what it waits for
   may have come while the step ran, so it looks back first (`waits`). `end` removes what is left of them.
6. However it ends, the same commit sends `$orphaned` to the children that it started and that are not
   known to have ended; they are terminated, unless they are over or being undone.

If the process dies, the rows are still there: whoever holds the shard next reads them and starts what
is outstanding (step 2). No user code is replayed; what runs again is at most the interrupted step.
"""
