//go:build realservers

package chaos_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A ledger is a file to which one process adds lines. A line is one write, so it is
// there whole also if the process is killed afterwards.
type ledger struct{ file *os.File }

func openLedger(path string) (*ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	return &ledger{file}, err
}

// write adds what happened to a job. A ledger that cannot be written ends the process,
// since a test without it would prove nothing.
func (l *ledger) write(what, id string, attempt int) {
	if _, err := fmt.Fprintf(l.file, "%s %s %d %d\n", what, id, attempt, time.Now().UnixNano()); err != nil {
		panic(err)
	}
}

// An entry is a line of a ledger.
type entry struct {
	what, id string
	attempt  int
	at       time.Time
	process  string // the name of the file
}

// readLedgers returns the entries of all ledgers in dir.
func readLedgers(t *testing.T, dir string) []entry {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.ledger"))
	must(t, err)
	var all []entry
	for _, path := range paths {
		file, err := os.Open(path)
		must(t, err)
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) != 4 {
				continue // the process is writing it
			}
			attempt, err := strconv.Atoi(fields[2])
			must(t, err)
			ns, err := strconv.ParseInt(fields[3], 10, 64)
			if err != nil {
				continue
			}
			all = append(all, entry{fields[0], fields[1], attempt, time.Unix(0, ns), strings.TrimSuffix(filepath.Base(path), ".ledger")})
		}
		must(t, lines.Err())
		must(t, file.Close())
	}
	return all
}

// An outage is a time in which a process or the server could not do its part.
type outage struct {
	process  string // "" is the server
	from, to time.Time
}

// answerTime is how long before an outage a run may have ended and its answer still be
// on the way.
const answerTime = 5 * time.Second

// explains reports whether the outage may be why a run's result was not recorded.
func (o outage) explains(began, ended entry) bool {
	return (o.process == "" || o.process == ended.process) &&
		!o.to.Before(began.at) && !o.from.After(ended.at.Add(answerTime))
}

// A result counts what became of the jobs of one cell.
type result struct {
	tried, accepted, ran int
	lost                 []string // accepted, and no run has ended well
	phantom              []string // ran, and no producer tried it
	explained            int      // runs after success, with a cause
	unexplained          []string
	recovery             time.Duration // the longest time from the end of a server's outage to the next start of a job
}

// judge compares the ledgers. If the queue does not recognise an intent that is sent
// again, that explains a second run as well.
func judge(entries []entry, outages []outage, resends bool) result {
	var r result
	tried, accepted, doubled := map[string]bool{}, map[string]bool{}, map[string]bool{}
	begins, ends, runs := map[string][]entry{}, map[string][]entry{}, map[string][]entry{}
	for _, e := range entries {
		switch e.what {
		case "try":
			tried[e.id] = true
		case "accepted":
			accepted[e.id] = true
		case "unknown":
			doubled[e.id] = resends
		case "begin":
			begins[e.id] = append(begins[e.id], e)
		case "end":
			ends[e.id] = append(ends[e.id], e)
		}
		if e.what == "end" || e.what == "fail" {
			runs[e.id] = append(runs[e.id], e)
		}
	}
	r.tried, r.accepted, r.ran = len(tried), len(accepted), len(ends)
	for id := range accepted {
		if len(ends[id]) == 0 {
			r.lost = append(r.lost, id)
		}
	}
	for id := range begins {
		if !tried[id] {
			r.phantom = append(r.phantom, id)
		}
	}
	for id, all := range ends {
		for _, ended := range all[1:] {
			if doubled[id] || causeOf(begins[id], runs[id], outages) {
				r.explained++
			} else {
				r.unexplained = append(r.unexplained, fmt.Sprintf("%s in attempt %d of %s", id, ended.attempt, ended.process))
			}
		}
	}
	for _, o := range outages {
		if o.process == "" {
			r.recovery = max(r.recovery, firstStartAfter(entries, o.to))
		}
	}
	return r
}

// causeOf reports whether an outage explains that the result of one of a job's runs was
// not recorded, or was recorded by half.
func causeOf(begins, runs []entry, outages []outage) bool {
	for _, ended := range runs {
		began := ended
		for _, b := range begins {
			if b.process == ended.process && b.attempt == ended.attempt {
				began = b
			}
		}
		for _, o := range outages {
			if o.explains(began, ended) {
				return true
			}
		}
	}
	return false
}

func firstStartAfter(entries []entry, at time.Time) time.Duration {
	first := time.Duration(0)
	for _, e := range entries {
		if wait := e.at.Sub(at); e.what == "begin" && wait > 0 && (first == 0 || wait < first) {
			first = wait
		}
	}
	return first
}
