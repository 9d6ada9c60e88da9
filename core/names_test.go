package core_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/goairlock/airlock/core"
)

// The rules of names as the design gives them.
var (
	taskRule   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:/+-]{1,126}$`)
	queueRule  = regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`)
	headerRule = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
)

func goodTask(s string) bool {
	for i, token := range strings.Split(s, ".") {
		if token == "" && i > 0 || strings.HasPrefix(s, ".") {
			return false
		}
	}
	return taskRule.MatchString(s) && !strings.HasSuffix(s, "\n")
}

func goodQueue(s string) bool { return len(s) <= 64 && queueRule.MatchString(s) }

func goodHeaderKey(s string) bool {
	return len(s) <= 128 && headerRule.MatchString(s) && !strings.HasPrefix(strings.ToLower(s), "airlock-")
}

// checkName says whether core agrees with the rules about s in every role.
func checkName(t *testing.T, s string) {
	t.Helper()
	_, err := core.DeclareTask[int](s).Intent(1)
	if goodTask(s) != (err == nil) {
		t.Errorf("task name %q: %v", s, err)
	} else if err != nil {
		wantInvalid(t, err, "task name")
	}
	_, err = plain.Intent("", core.Queue(s))
	if goodQueue(s) != (err == nil) {
		t.Errorf("queue name %q: %v", s, err)
	} else if err != nil {
		wantInvalid(t, err, "queue name", "test.plain")
	}
	_, err = plain.Intent("", core.Header(s, canary))
	if goodHeaderKey(s) != (err == nil) {
		t.Errorf("header key %q: %v", s, err)
	} else if err != nil {
		wantInvalid(t, err, "header key", "test.plain")
	}
}

var someNames = []string{
	"", "a", "ab", "_a", "a_", "-a", "a-", ".a", "a.", "a..b", "a.b", "a.b.c", "..", "a/b:c+d-e_f.g", "A.B", "mail", "mail-out", "mail_out",
	"mail--out", "mail-_out", "mail_-out", "Mail", "mail.out", "a b", "a\n", "a\nb", "ab\n", "a\x00b", "ä", "aä", "a*b", "a>b", "{a}", "a,b", "a;b", `a"b`,
	"Airlock-", "airlock-x", "AIRLOCK-ID", "Airlock", "Airloc-x", "X-Airlock-", "traceparent", "Nats-Msg-Id", "a\xffb", "\xff\xff", "\u009b2J",
	strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a", 126), strings.Repeat("a", 127), strings.Repeat("a", 128), strings.Repeat("a", 129),
	strings.Repeat("a.", 63), strings.Repeat("a.", 63) + "a", strings.Repeat("ä", 100), strings.Repeat("a", 10000),
}

func TestNamesKeepTheirRules(t *testing.T) {
	t.Parallel()
	for _, s := range someNames {
		checkName(t, s)
	}
	for c := range 256 {
		for _, format := range []string{"%", "a%", "%a", "a%b"} {
			checkName(t, strings.Replace(format, "%", string([]byte{byte(c)}), 1))
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range someNames {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkName(t, s)
		id := regexp.MustCompile(`^[!-~]{1,200}$`).MatchString(s)
		if _, err := plain.Intent("", core.ID(s)); id != (err == nil) {
			t.Errorf("ID %q: %v", s, err)
		}
		unique := len(s) >= 1 && len(s) <= 255 && strings.ToValidUTF8(s, "") == s && !regexp.MustCompile(`[\x00-\x1f\x7f]`).MatchString(s)
		if _, err := plain.Intent("", core.Unique(s)); unique != (err == nil) {
			t.Errorf("unique key %q: %v", s, err)
		}
	})
}

func TestErrorsShowNamesReadably(t *testing.T) {
	t.Parallel()
	_, err := plain.Intent("", core.Queue("\x1b[31m\u009b\"quoted\"\u202e"+strings.Repeat("é", 500)))
	wantInvalid(t, err, `"?[31m??quoted??é`, `…"`)
	if n := len(err.Error()); n > 300 {
		t.Errorf("%d bytes: %v", n, err)
	}
}

func TestIDsAndUniqueKeysKeepTheirRules(t *testing.T) {
	t.Parallel()
	for id, good := range map[string]bool{
		"": false, "a": true, "order/7:paid": true, strings.Repeat("x", 200): true, strings.Repeat("x", 201): false,
		"a b": false, " ": false, "ä": false, "a\n": false, "\x7f": false,
	} {
		in, err := plain.Intent("", core.ID(id))
		if good != (err == nil) || good && (in.ID != id || !in.ChosenID()) {
			t.Errorf("ID %q: %v, %v", id, in, err)
		}
	}
	for key, good := range map[string]bool{
		"": false, "a": true, "ein Schlüssel": true, strings.Repeat("x", 255): true, strings.Repeat("x", 256): false,
		"a\tb": false, "\x7f": false, "a\xff": false, "\x00": false,
	} {
		if _, err := plain.Intent("", core.Unique(key)); good != (err == nil) {
			t.Errorf("unique key %q: %v", key, err)
		}
	}
}
