package workexec

import "strings"

// A lane is a job name of its own: the library ranks names, not jobs. No task has
// a ! in its name.
const (
	highLane  = "!high"
	lowLane   = "!low"
	laneCount = 3

	// The plain name takes the middle of the scale, as compose.WithPriority does.
	highFrom = 8
	lowTo    = 3
)

// laneOf is the job name for a task with this priority, 0 for none.
func laneOf(task string, priority int) string {
	switch {
	case priority >= highFrom:
		return task + highLane
	case priority > 0 && priority <= lowTo:
		return task + lowLane
	}
	return task
}

// taskOf is the task that a job name belongs to.
func taskOf(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, highLane), lowLane)
}

// lane is a job name and the library's JobOptions.Priority for it.
type lane struct {
	name   string
	weight uint
}

// lanesOf are the job names under which a worker takes a task.
func lanesOf(task string, lanes bool) []lane {
	if !lanes {
		return []lane{{task, 1}}
	}
	return []lane{{task + highLane, 6}, {task, 3}, {task + lowLane, 1}}
}
