package core_test

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goairlock/airlock/core"
)

func TestGeneratedIDsAreUUIDsOfVersion7(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	synctest.Test(t, func(t *testing.T) {
		last := ""
		for range 300 {
			in := must(plain.Intent(""))(t)
			if !form.MatchString(in.ID) || in.ChosenID() {
				t.Fatalf("got %s", in.ID)
			}
			ms, err := strconv.ParseInt(strings.ReplaceAll(in.ID, "-", "")[:12], 16, 64)
			if err != nil || ms != time.Now().UnixMilli() {
				t.Fatalf("%s holds the time %d, want %d", in.ID, ms, time.Now().UnixMilli())
			}
			if in.ID <= last {
				t.Fatalf("%s does not sort after %s, a millisecond before", in.ID, last)
			}
			last = in.ID
			time.Sleep(time.Millisecond)
		}
	})
}

func TestGeneratedIDsAreUnique(t *testing.T) {
	t.Parallel()
	const workers, each = 8, 125_000
	task := core.DeclareTask[[]byte]("id.unique").Codec(core.Raw)
	ids := make([][]string, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			ids[w] = make([]string, each)
			for i := range each {
				in, err := task.Intent(nil)
				if err != nil {
					t.Error(err)
					return
				}
				ids[w][i] = in.ID
			}
		})
	}
	wg.Wait()
	seen := make(map[string]struct{}, workers*each)
	for _, list := range ids {
		for _, id := range list {
			seen[id] = struct{}{}
		}
	}
	if len(seen) != workers*each {
		t.Errorf("%d of %d are unique", len(seen), workers*each)
	}
}

func TestDerivedIDsFollowFromTheirParts(t *testing.T) {
	t.Parallel()
	child := must(core.DeclareTask[string]("id.child").Intent("args", core.Queue("mail")))(t)
	derived := child.DeriveID("parent", 0)
	const golden = "6bc5cca3-7806-84f8-acf8-99e6ff0c832a"
	if derived.ID != golden || derived.ChosenID() || string(derived.Payload()) != `"args"` || derived.Options.Queue != "mail" {
		t.Errorf("got %s, want %s: a release must not change it", derived.ID, golden)
	}
	if again := must(core.DeclareTask[string]("id.child").Intent("args"))(t).DeriveID("parent", 0); again.ID != golden {
		t.Errorf("the same parts give %s", again.ID)
	}
	other := func(task, args, parent string, occurrence int) string {
		return must(core.DeclareTask[string](task).Intent(args))(t).DeriveID(parent, occurrence).ID
	}
	seen := map[string]string{golden: "the first"}
	for name, id := range map[string]string{
		"parent": other("id.child", "args", "parent2", 0), "task": other("id.child2", "args", "parent", 0), "payload": other("id.child", "args2", "parent", 0),
		"occurrence": other("id.child", "args", "parent", 1), "occurrence 10": other("id.child", "args", "parent", 10), "negative": other("id.child", "args", "parent", -1),
		"parts shifted": other("d.child", "args", "parenti", 0), "no parent": other("id.child", "args", "", 0), "raw": must(core.DeclareTask[[]byte]("id.child").Codec(core.Raw).Intent([]byte("args")))(t).DeriveID("parent", 0).ID,
	} {
		if seen[id] != "" {
			t.Errorf("%s gives the ID of %s", name, seen[id])
		}
		seen[id] = name
	}
	if chosen := must(plain.Intent("", core.ID("mine")))(t).DeriveID("parent", 0); chosen.ID != "mine" {
		t.Errorf("a chosen ID became %s", chosen.ID)
	}
}

func TestIDTakesVisibleASCIIOfAnyLength(t *testing.T) {
	t.Parallel()
	task := core.DeclareTask[int]("check.id")
	for n := 1; n <= 40; n++ {
		good := strings.Repeat("~!", n)[:n]
		if _, err := task.Intent(1, core.ID(good)); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		for at := range n {
			for c := range 256 {
				visible := c > ' ' && c < 0x7f
				_, err := task.Intent(1, core.ID(good[:at]+string([]byte{byte(c)})+good[at+1:]))
				if visible != (err == nil) {
					t.Fatalf("byte %#x at %d of %d: %v", c, at, n, err)
				}
			}
		}
	}
}
