package asynqexec

import "strings"

// A lane is a queue of its own. Its name closes the braces that asynq puts
// around a queue's name in Redis keys, which makes "<queue>" alone the hash tag:
// on a cluster the lanes of a queue share its slot, so that one script can look
// for an ID in all of them. No name of core.Queue can have a brace.
const (
	highLane  = "}high"
	lowLane   = "}low"
	laneCount = 3

	// The plain queue takes the middle of the scale, as compose.WithPriority does.
	highFrom = 8
	lowTo    = 3
)

// laneOf is the queue for a job of this priority, 0 for none.
func laneOf(queue string, priority int) string {
	switch {
	case priority >= highFrom:
		return queue + highLane
	case priority > 0 && priority <= lowTo:
		return queue + lowLane
	}
	return queue
}

// queueOf is the queue that a lane belongs to.
func queueOf(lane string) string {
	queue, _, _ := strings.Cut(lane, "}")
	return queue
}

// Lanes returns asynq's Config.Queues for servers that work queues with
// priorities: for each queue also its two lanes. A queue's weight is kept among
// the queues; of its starts the lane for priorities 8 to 10 gets six, the queue
// itself three and the lane for priorities 1 to 3 one, as long as jobs wait in
// each. With Config.StrictPriority a waiting job of a higher lane always starts
// first. Nil queues are the queue "default". Each lane costs the server one more
// call to Redis when it looks for work.
func Lanes(queues map[string]int) map[string]int {
	if len(queues) == 0 {
		queues = map[string]int{defaultQueue: 1}
	}
	all := make(map[string]int, laneCount*len(queues))
	for queue, weight := range queues {
		all[queue+highLane] = 6 * weight
		all[queue] = 3 * weight
		all[queue+lowLane] = weight
	}
	return all
}
