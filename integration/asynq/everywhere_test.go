package asynq_test

import (
	"fmt"
	"testing"

	asynqexec "github.com/goairlock/airlock/executors/asynq"
	"github.com/goairlock/airlock/integration/trial"
)

// everywhere lists the behaviours that are the same on every kind of Redis.
var everywhere = []struct {
	behaviour string
	opts      *asynqexec.Options
	check     func(*testEnv)
}{
	{"a batch is one pipeline for each 1000 and keeps its order", nil, batchIsOnePipeline},
	{"one intent takes the library's own round trips", nil, oneIntentTakesTheLibrarysRoundTrips},
	{"queues are announced again to a Redis that has lost them", nil, queuesAreAnnouncedAgain},
	{"a batch of many queues is stored in each", nil, batchOfManyQueues},
	{"what is stored is what was asked for", nil, whatIsStored},
	{"each intent has an outcome of its own", nil, outcomesAreReported},
	{"the same intent again is no second job", nil, sameIntentAgain},
	{"an ID outlives its job for the window", nil, idOutlivesItsJob},
	{"an ID ends with its job where the window says so", &asynqexec.Options{IDWindow: -1}, idEndsWithItsJob},
	{"an archived job keeps its ID", nil, archivedJobKeepsItsID},
	{"a delay is never early", nil, promise(trial.DelayIsNeverEarly)},
	{"a backoff is never early", nil, promise(trial.BackoffIsNeverEarly)},
	{"a time-out is kept to the millisecond, and none is none", nil, promise(trial.TimeoutsAreExact)},
	{"a deadline is kept", nil, deadlines},
	{"max attempts count runs", nil, maxAttempts},
	{"a snooze costs no attempt, also in the last one", nil, snoozes},
	{"a panic and a Goexit are failed attempts", nil, promise(trial.PanicsAreFailures)},
	{"an error that is not UTF-8 is stored", nil, errorsThatAreNotUTF8},
	{"an unknown task is parked and blocks nobody, also in its last attempt", nil, unknownTaskIsParked},
	{"a message that cannot be understood is archived", nil, poisonIsArchived},
	{"hostile messages block nobody", nil, hostileMessagesBlockNobody},
	{"messages that cannot be decoded are archived", nil, unreadableMessagesAreArchived},
	{"a unique key holds until its job has finished", nil, uniqueUntilFinished},
	{"a unique key is released by a native worker", nil, uniqueReleasedByNativeWorker},
	{"a unique key and an ID hold together", nil, promise(trial.UniqueAndID)},
	{"locks of finished jobs are swept", nil, locksAreSwept},
	{"one of many racing for a unique key wins", nil, promise(trial.UniqueRace)},
	{"lanes rank jobs", &asynqexec.Options{Lanes: true}, lanesRank},
	{"an ID and a unique key count across lanes", &asynqexec.Options{Lanes: true}, idsAcrossLanes},
	{"a native handler works our job", nil, nativeHandlerWorksOurJob},
	{"a native producer feeds our handler", nil, nativeProducerFeedsOurHandler},
	{"native handlers work next to ours", nil, nativeHandlersNextToOurs},
	{"native options reach asynq", nil, nativeOptionsReachAsynq},
	{"a context that is done sends nothing", nil, doneContextSendsNothing},
	{"asynq's Inspector sees queue, state and payload", nil, inspectorSees},
}

// promise runs a check that every executor on Redis must pass.
func promise(check func(*trial.Trial)) func(*testEnv) {
	return func(w *testEnv) { check(w.Trial) }
}

// checkEverywhere runs everything on the Redis that open connects to.
func checkEverywhere(t *testing.T, open func(t *testing.T, namespace string) connect) {
	// Alone, for all users of a Redis share its scripts.
	t.Run("a lost script cache costs no intent and no round trip", func(t *testing.T) {
		lostScriptCache(setup(t, open(t, "flushed:"), nil))
	})
	for i, c := range everywhere {
		t.Run(c.behaviour, func(t *testing.T) {
			t.Parallel()
			c.check(setup(t, open(t, fmt.Sprintf("ns%d:", i)), c.opts))
		})
	}
}

func TestOnEmbeddedRedis(t *testing.T) {
	t.Parallel()
	checkEverywhere(t, func(t *testing.T, _ string) connect { return embedded(t) })
}
