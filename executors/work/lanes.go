package workexec

import (
	"strings"

	"github.com/goairlock/airlock/adapter"
)

// A lane is a job name of its own: the library ranks names, not jobs. No task has
// a ! in its name.
const (
	highLane  = "!high"
	lowLane   = "!low"
	laneCount = 3
)

// laneOf returns the job name for a task with this priority, 0 for none.
func laneOf(task string, priority int) string {
	switch adapter.LaneOf(priority) {
	case adapter.LaneHigh:
		return task + highLane
	case adapter.LaneLow:
		return task + lowLane
	}
	return task
}

// taskOf returns the task that a job name belongs to.
func taskOf(name string) string {
	return strings.TrimSuffix(strings.TrimSuffix(name, highLane), lowLane)
}

// lane is a job name and its share of the starts.
type lane struct {
	name   string
	weight int
}

// lanesOf returns the job names under which a worker takes a task.
func lanesOf(task string, lanes bool) []lane {
	if !lanes {
		return []lane{{task, 1}}
	}
	return []lane{{task + highLane, 6}, {task, 3}, {task + lowLane, 1}}
}
