package work_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	workexec "github.com/goairlock/airlock/executors/work"
	"github.com/goairlock/airlock/integration/trial"
)

// everywhere lists what must hold on every Redis.
var everywhere = []struct {
	behaviour string
	opts      workexec.Options
	check     func(*testEnv)
}{
	{"a batch is one script for each 1000 and keeps its order", workexec.Options{}, batchIsOneScript},
	{"large payloads are cut into chunks", workexec.Options{}, largePayloadsAreCutIntoChunks},
	{"one intent takes the library's own round trips", workexec.Options{}, oneIntentTakesTheLibrarysRoundTrips},
	{"names are announced again to a Redis that has lost them", workexec.Options{}, namesAreKeptKnown},
	{"a batch of many queues is stored in each", workexec.Options{}, batchOfManyQueues},
	{"queues of any name collide with nothing", workexec.Options{}, queueNamesCollideWithNothing},
	{"a key of another type leaves no marker and no lock behind", workexec.Options{}, wrongTypesLeaveNothingBehind},
	{"what is stored is what was asked for", workexec.Options{}, whatIsStored},
	{"arguments are exact through schedule and retries", workexec.Options{}, exactArguments},
	{"plain arguments reach handlers that were there before", workexec.Options{PlainArgs: true}, plainArguments},
	{"each intent has an outcome of its own", workexec.Options{}, outcomesAreTold},
	{"the same intent again is no second job", workexec.Options{}, sameIntentAgain},
	{"an ID lives for its window, counted from when the job is due", workexec.Options{}, idLivesForItsWindow},
	{"a delay is never early", workexec.Options{}, promise(trial.DelayIsNeverEarly)},
	{"a backoff is never early", workexec.Options{}, promise(trial.BackoffIsNeverEarly)},
	{"a time-out is kept, and none is none", workexec.Options{}, promise(trial.TimeoutsAreExact)},
	{"a deadline is kept", workexec.Options{}, func(w *testEnv) { trial.DeadlinesAreKept(w.Trial, slots) }},
	{"max attempts count runs, beyond the library's limit too", workexec.Options{}, maxAttempts},
	{"a snooze costs no attempt", workexec.Options{}, snoozes},
	{"a panic and a Goexit are failed attempts", workexec.Options{}, promise(trial.PanicsAreFailures)},
	{"an error that is not UTF-8 is stored", workexec.Options{}, errorsThatAreNotUTF8},
	{"a message that cannot be understood is dead", workexec.Options{}, poisonIsDead},
	{"garbage in every list and set is buried and holds nothing up", workexec.Options{}, garbageIsBuried},
	{"a key that is no list holds nothing up", workexec.Options{}, listsOfAnotherTypeHoldNothingUp},
	{"a name that another pool does not know is brought back", workexec.Options{}, unknownNamesAreBroughtBack},
	{"a job whose fetch was not answered is put back at the end", workexec.Options{}, strandedJobsArePutBack},
	{"a worker that stops puts back what it cannot wait for", workexec.Options{}, stopPutsBack},
	{"a worker that stops begins no further job", workexec.Options{}, stopBeginsNothing},
	{"a handler that ignores the end is named", workexec.Options{}, stuckHandlersAreNamed},
	{"a registered pool stops in the same way", workexec.Options{}, registeredPoolsStop},
	{"a unique key holds until its job has finished", workexec.Options{}, uniqueUntilFinished},
	{"a unique key is leaked by no native worker and no deletion", workexec.Options{}, uniqueIsLeakedByNobody},
	{"a unique key holds in a pool that nobody knows yet", workexec.Options{}, uniqueInANewPool},
	{"a unique key and an ID hold at the same time", workexec.Options{}, promise(trial.UniqueAndID)},
	{"locks are released, of rewritten jobs too", workexec.Options{}, locksAreReleased},
	{"one of many racing for a unique key wins", workexec.Options{}, promise(trial.UniqueRace)},
	{"lanes rank jobs", workexec.Options{Lanes: true}, lanesRank},
	{"an ID and a unique key count across lanes", workexec.Options{Lanes: true}, idsAcrossLanes},
	{"a native handler works our job", workexec.Options{}, nativeHandlerWorksOurJob},
	{"a native producer feeds our handler", workexec.Options{}, nativeProducerFeedsOurHandler},
	{"queues may have namespaces of their own", workexec.Options{}, queuesHaveNamesOfTheirOwn},
	{"concurrency is that of all queues", workexec.Options{}, concurrencyIsOfAllQueues},
	{"an answer counts after the time is up", workexec.Options{}, lateAnswersCount},
	{"a native job keeps the library's limit and schedule", workexec.Options{}, nativeJobsKeepTheLibrarysLimit},
	{"native handlers work next to ours", workexec.Options{}, nativeHandlersBesideOurs},
	{"middleware that refuses is a failure", workexec.Options{}, middlewareThatRefusesIsAFailure},
	{"a context that is done sends nothing", workexec.Options{}, doneContextSendsNothing},
	{"the library's client sees queue, state and payload", workexec.Options{}, clientSees},
}

// promise is a check of what every executor promises.
func promise(check func(*trial.Trial)) func(*testEnv) {
	return func(w *testEnv) { check(w.Trial) }
}

// checkEverywhere runs everything on the Redis that open connects to.
func checkEverywhere(t *testing.T, real bool, open func(t *testing.T) *redis.Pool) {
	env := func(t *testing.T, n int, opts workexec.Options) *testEnv {
		w := setup(t, open(t), fmt.Sprintf("ns%d-%d", n, time.Now().UnixNano()), opts)
		w.real = real
		return w
	}
	// Alone, for all users of a Redis share its scripts.
	t.Run("a lost script cache costs no intent", func(t *testing.T) { lostScriptCache(env(t, -1, workexec.Options{})) })
	for i, c := range everywhere {
		t.Run(c.behaviour, func(t *testing.T) {
			t.Parallel()
			c.check(env(t, i, c.opts))
		})
	}
}

func TestOnEmbeddedRedis(t *testing.T) {
	t.Parallel()
	checkEverywhere(t, false, embedded)
}
