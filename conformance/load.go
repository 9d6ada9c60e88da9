package conformance

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/goairlock/airlock/core"
)

// loads draws the options with which jobs are loaded.
type loads struct {
	sync.Mutex
	rand *rand.Rand
}

// value draws the value of a header, mostly one that is easily damaged.
func (l *loads) value() string {
	text := fmt.Sprintf("%x", l.rand.Uint64())
	switch l.rand.IntN(6) {
	case 0:
		return "  " + text + "\t "
	case 1:
		return "Grüße, 世界 " + text
	case 2:
		return `"\'<&>%20;=,` + text
	case 3:
		return text + strings.Repeat("-", 300)
	case 4:
		return ""
	}
	return text
}

// load gives some of a check's jobs harmless options that the executor honours, so
// that jobs with different options are next to each other in nearly every call. What
// a run gets of them is compared like everything else (see sentForms). brief says
// that the job succeeds immediately: then it may have limits too, which it does not
// reach.
func (s *subject) load(in core.Intent, brief bool) core.Intent {
	p := s.p
	if p.check.bare {
		return in
	}
	p.loads.Lock()
	defer p.loads.Unlock()
	chance := func(percent int) bool { return p.loads.rand.IntN(100) < percent }
	if !chance(50) {
		return in
	}
	var opts []core.Option
	may := func(name core.OptionName) bool {
		return s.honours(name) && (name == core.OptionHeader || !in.Has(name)) && chance(60)
	}
	if may(core.OptionHeader) && in.Headers().Len() < 20 {
		for i := range 1 + p.loads.rand.IntN(2) {
			opts = append(opts, core.Header(fmt.Sprintf("Load-%d", i), p.loads.value()))
		}
	}
	if brief && may(core.OptionTimeout) {
		opts = append(opts, core.Timeout(farther(s.caps.Options[core.OptionTimeout], time.Hour+time.Duration(p.loads.rand.IntN(3600))*time.Second)))
	}
	if brief && may(core.OptionDeadline) {
		if d := farther(s.caps.Options[core.OptionDeadline], farAway+time.Duration(p.loads.rand.IntN(1000))*time.Hour); d > farAway/2 {
			opts = append(opts, core.Deadline(time.Now().Add(d)))
		}
	}
	if brief && may(core.OptionMaxAttempts) {
		if n := 30 + p.loads.rand.IntN(30); s.caps.Options[core.OptionMaxAttempts].Most == 0 || n <= s.caps.Options[core.OptionMaxAttempts].Most {
			opts = append(opts, core.MaxAttempts(n))
		}
	}
	loaded, err := in.With(opts...)
	if err != nil || s.caps.Check(loaded) != nil {
		return in // they cannot be combined with those that it has
	}
	return loaded
}

// farAway is longer than any check waits, also in a bubble.
const farAway = 30 * 365 * 24 * time.Hour

// farther returns d, or the longest time that the executor takes of an option.
func farther(c core.Claim, d time.Duration) time.Duration {
	if c.Longest > 0 {
		d = min(d, c.Longest)
	}
	return d
}
