package natsexec

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/nats-io/nats.go/jetstream"
)

func TestWhichSubjectsCoverWhich(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		patterns, want string
		covered        bool
	}{
		{"JOBS.>", "JOBS.job.>", true}, {">", "JOBS.job.>", true}, {"JOBS.job.>", "JOBS.job.>", true}, {"JOBS.*.>", "JOBS.job.>", true},
		{"JOBS.at.> JOBS.job.>", "JOBS.job.>", true}, {"*.job.>", "JOBS.job.>", true},
		{"JOBS.job.*", "JOBS.job.>", false}, {"JOBS.job", "JOBS.job.>", false}, {"JOBS.job.*.>", "JOBS.job.>", false},
		{"JOBS.jobs.>", "JOBS.job.>", false}, {"JOBS.job.mail.>", "JOBS.job.>", false}, {"", "JOBS.job.>", false},
	} {
		if got := covered(tc.want, strings.Fields(tc.patterns)); got != tc.covered {
			t.Errorf("%q covers %s: %v", tc.patterns, tc.want, got)
		}
	}
}

// No two lanes of any queues share a consumer, and every consumer's name is one.
func TestEachLaneHasAConsumerOfItsOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, queue := range []string{"default", "high", "low", "mail", "mail-high", "mail_high", "mail-low", strings.Repeat("q", 64)} {
		for _, lane := range lanes {
			name := durableOf(queue, lane.kind)
			if seen[name] || strings.ContainsAny(name, ".*> ") {
				t.Errorf("consumer %q", name)
			}
			seen[name] = true
		}
	}
}

func TestAReasonIsOneLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"card expired": "card expired", "a\r\nNats-Msg-Id: x": "a  Nats-Msg-Id: x", " \t blanks \n": "blanks", "a\x00b\x7fc": "a b c",
		"bad \xff bytes": "bad \ufffd bytes", "": "",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	long := oneLine(strings.Repeat("ä", 1000))
	if len(long) > longestReason || !utf8.ValidString(long) || !strings.HasSuffix(long, "…") {
		t.Errorf("%d bytes: %q", len(long), long)
	}
}

func TestWhatLosesJobsIsNamed(t *testing.T) {
	t.Parallel()
	fits := jetstream.StreamConfig{Name: "JOBS", Subjects: []string{"JOBS.>"}, Retention: jetstream.WorkQueuePolicy, Duplicates: 1}
	if wrong := misfits(fits, true); len(wrong) > 0 {
		t.Fatalf("%v", wrong)
	}
	for want, change := range map[string]func(*jetstream.StreamConfig){
		"persist_mode":      func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
		"sealed":            func(c *jetstream.StreamConfig) { c.Sealed = true },
		"mirror":            func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{Name: "ELSE"} },
		"subject transform": func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} },
		"allow_msg_counter": func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true },
		"duplicate window":  func(c *jetstream.StreamConfig) { c.Duplicates = 0 },
	} {
		cfg := fits
		change(&cfg)
		wrong := misfits(cfg, true)
		if len(wrong) != 1 || !strings.Contains(wrong[0].Error(), want) {
			t.Errorf("%s: %v", want, wrong)
		}
	}
}
